"""Runs of consecutive words found in documents: hashes of all windows of a length, and an exact
index over them.

A word is what `tasks.text.shingles` calls one: a run of letters, marks and digits after NFKC and
lower case, or one character of a script without spaces; punctuation and white space only part
words. So "13 words" of English and "20 characters" of Chinese are both a window over one sequence,
and mixed text needs no rule of its own.

Apostrophes and invisible letters (`VANISHING`) are taken out before: unlike there, they do not part
words, so that "don't", "don\u2019t" and "dont" are one word, and so is a word that invisible
characters were put into.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.text.characters import CONTEXTUAL, IGNORED, UNSPACED, WORD, fold, tables
from tasks.text.scripts import code_points
from tasks.text.shingles import batches, each_word, shingle, words

Hashes = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_INVERSE = pow(_BASE, -1, 1 << 64)
_INVISIBLE = "\u034f\u115f\u1160\u200b\u3164\uffa0"
"""Joiners and fillers that Unicode classes as marks, letters or spaces; format characters vanish by
their class.
"""
VANISHING = "'`\u00b4\u02bc\u2018\u2019\uff07\uff40" + _INVISIBLE
_ASCII_VANISHING = "".join(character for character in VANISHING if character.isascii())
_FILTER_SPARSITY = 16
"""Bits of a filter for each hash in it: one window in 64 or fewer must be looked up, and the filter
fits a cache.
"""
_COMPARE_AT_ONCE = 1 << 16
_BLOCK_WORDS = 1 << 20
_PIECE_CHARACTERS = 1 << 20
_BORDER = re.compile(r"\n| (?=[0-9A-Za-z])")


def word_hashes(texts: Sequence[str]) -> list[Hashes]:
    """One 64-bit hash a word, in order, for every text."""
    found: list[Hashes] = []
    for part in batches(texts):
        hashed = shingle([without_vanishing(text) for text in texts[part]], 1)
        found.extend(np.split(hashed.hashes, hashed.offsets[1:-1]))
    return found


def without_vanishing(text: str) -> str:
    """The text without the characters of `VANISHING`."""
    for character in _ASCII_VANISHING if text.isascii() else VANISHING:
        text = text.replace(character, "")
    return text


def word_spans(text: str) -> tuple[Positions, Positions]:
    """Where each word of `text` begins and ends, in characters: (starts, ends), one entry each a
    word.

    The words are those that `word_hashes` hashes. A word made of a part of a character (a ligature)
    spans all of it. A long text is looked at in pieces that end with a line, or with a space before
    an ASCII letter: neither words nor foldings reach over these.
    """
    spans: list[tuple[Positions, Positions]] = []
    start = 0
    while start < len(text) or not spans:
        border = _BORDER.search(text, start + _PIECE_CHARACTERS)
        end = border.end() if border else len(text)
        starts, ends = _word_spans(text[start:end])
        spans.append((starts + start, ends + start))
        start = end
    starts, ends = (np.concatenate(column) for column in zip(*spans, strict=True))
    return starts, ends


def _word_spans(text: str) -> tuple[Positions, Positions]:
    points = code_points(text)
    kept = np.flatnonzero(
        ~np.isin(points, np.array([ord(character) for character in VANISHING], np.uint32))
    )
    known = tables()
    folded = known.folded[points[kept]]
    first, last = kept, kept  # of the characters that each folded one was made of
    contextual = folded == CONTEXTUAL
    if contextual.any():
        folded, first, last = _fold_clusters(text, kept, folded, contextual)
    classes = known.classes[folded]
    seen = classes != IGNORED
    classes, first, last = classes[seen], first[seen], last[seen]
    single, letter = classes == UNSPACED, classes == WORD
    begins = single | (letter & ~np.append(False, letter[:-1]))
    ends = single | (letter & ~np.append(letter[1:], False))
    return first[begins].astype(np.int64), last[ends].astype(np.int64) + 1


def _fold_clusters(
    text: str, kept: Positions, folded: npt.NDArray[np.uint32], contextual: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.uint32], Positions, Positions]:
    """Fold every contextual run, with the character before it, as a whole; what stands outside has
    been folded.

    No character outside combines with one before it, so the pieces fold as the text does (but for
    final sigmas).
    """
    runs = np.flatnonzero(
        np.diff(np.concatenate([[False], contextual, [False]]).astype(np.int8))
    ).reshape(-1, 2)
    pieces: list[npt.NDArray[np.uint32]] = []
    firsts: list[Positions] = []
    lasts: list[Positions] = []
    at = 0
    for start, end in runs.tolist():
        start = max(at, start - 1)
        cluster = code_points(fold("".join(text[place] for place in kept[start:end].tolist())))
        pieces += [folded[at:start], cluster]
        firsts += [kept[at:start], np.full(len(cluster), kept[start])]
        lasts += [kept[at:start], np.full(len(cluster), kept[end - 1])]
        at = end
    return (
        np.concatenate([*pieces, folded[at:]]),
        np.concatenate([*firsts, kept[at:]]),
        np.concatenate([*lasts, kept[at:]]),
    )


def window_hashes(hashes: Hashes, length: int) -> Hashes:
    """The hash of every window of `length` words; shape (len(hashes) - length + 1,), empty for
    shorter input.

    A polynomial modulo 2**64 from prefix sums: three passes whatever the length. Equal windows hash
    equally wherever they stand, so long inputs are done in blocks; `GramIndex` compares words
    before it believes a hash.
    """
    windows: Hashes = np.empty(max(len(hashes) - length + 1, 0), dtype=np.uint64)
    step = max(_BLOCK_WORDS, length)
    for start in range(0, len(windows), step):
        block = hashes[start : start + step + length - 1]
        powers, inverses = _powers(1 << int(len(block) - 1).bit_length())
        sums = np.zeros(len(block) + 1, dtype=np.uint64)
        np.cumsum(block * powers[: len(block)], out=sums[1:])
        count = len(block) - length + 1
        windows[start : start + count] = (sums[length:] - sums[:-length]) * inverses[:count]
    return windows


@functools.lru_cache(maxsize=4)
def _powers(size: int) -> tuple[Hashes, Hashes]:
    def series(factor: int) -> Hashes:
        values = np.full(size, factor, dtype=np.uint64)
        values[0] = 1
        return np.multiply.accumulate(values)

    return series(_BASE), series(_INVERSE)


@dataclass(frozen=True)
class Grams:
    """Runs of words to look for, as arrays: gram i is `words[starts[i]:starts[i] + lengths[i]]` and
    belongs to `owners[i]`. `anchors[i]` (at most its length) is how many of its first words the
    hash covers that finds it; each distinct value costs one pass over every document.
    """

    words: Hashes
    starts: Positions
    lengths: Positions
    anchors: Positions
    owners: Positions


@dataclass(frozen=True)
class Hit:
    """All words of a document that belong to `owner`, as runs [first, end) of its words, ascending.

    `text`: the first run, normalised; `words`: how many there are in all runs.
    """

    owner: int
    text: str
    runs: tuple[tuple[int, int], ...]

    @property
    def words(self) -> int:
        """Words in all runs."""
        return sum(end - first for first, end in self.runs)


@dataclass(frozen=True)
class _Table:
    """Grams of one anchor length: ascending distinct hashes, and for each the grams that have it.

    `bits` is a Bloom filter of 2**log_bits bits, see `tasks.text.ngram_kernel`.
    """

    anchor: int
    hashes: Hashes
    starts: Positions
    grams: Positions
    bits: npt.NDArray[np.uint8]
    log_bits: int


class GramIndex:
    """Finds grams in documents. Exact but for collisions of 64-bit word hashes, all words of a gram
    at once.
    """

    def __init__(self, grams: Grams) -> None:
        self._grams = grams
        anchors = np.unique(grams.anchors).tolist()
        self._tables = [
            self._table(anchor, np.flatnonzero(grams.anchors == anchor)) for anchor in anchors
        ]

    def _table(self, anchor: int, members: Positions) -> _Table:
        hashes = window_hashes(self._grams.words, anchor)[self._grams.starts[members]]
        order = np.argsort(hashes, kind="stable")
        distinct, starts = np.unique(hashes[order], return_index=True)
        log_bits = max(10, (_FILTER_SPARSITY * len(distinct)).bit_length())
        seen = np.zeros(1 << log_bits, dtype=np.bool_)
        seen[distinct >> np.uint64(64 - log_bits)] = True
        seen[distinct & np.uint64((1 << log_bits) - 1)] = True
        bits = np.packbits(seen, bitorder="little")
        return _Table(
            anchor, distinct, np.append(starts, len(hashes)), members[order], bits, log_bits
        )

    def find(self, texts: Sequence[str]) -> list[list[Hit]]:
        """For every text, a hit for each owner with a gram in it, ordered by owner."""
        found: list[list[Hit]] = []
        for part in batches(texts):
            found.extend(self._find(texts[part]))
        return found

    def _find(self, texts: Sequence[str]) -> list[list[Hit]]:
        hashed = shingle([without_vanishing(text) for text in texts], 1)
        ends = hashed.offsets[1:]
        positions, grams = self._candidates(hashed.hashes)
        documents = np.searchsorted(ends, positions, side="right")
        within = positions + self._grams.lengths[grams] <= ends[documents]
        positions, grams, documents = positions[within], grams[within], documents[within]
        same = self._same(hashed.hashes, positions, grams)
        positions, grams, documents = positions[same], grams[same], documents[same]
        owners = self._grams.owners[grams]
        order = np.lexsort((positions, owners, documents))
        runs: dict[tuple[int, int], list[list[int]]] = {}
        for document, owner, position, length in zip(
            documents[order].tolist(),
            owners[order].tolist(),
            (positions - hashed.offsets[documents])[order].tolist(),
            self._grams.lengths[grams[order]].tolist(),
            strict=True,
        ):
            known = runs.setdefault((document, owner), [])
            if known and position <= known[-1][1]:
                known[-1][1] = max(known[-1][1], position + length)
            else:
                known.append([position, position + length])
        found: list[list[Hit]] = [[] for _ in texts]
        for document, hits in itertools.groupby(runs.items(), key=lambda entry: entry[0][0]):
            low, high = hashed.normalised_offsets[document : document + 2]
            owned = [
                (owner, tuple((first, end) for first, end in places)) for (_, owner), places in hits
            ]
            texts_of = _texts(
                hashed.normalised[low:high].tobytes().decode(), [places[0] for _, places in owned]
            )
            found[document] = [Hit(owner, texts_of[places[0]], places) for owner, places in owned]
        return found

    def _candidates(self, hashes: Hashes) -> tuple[Positions, Positions]:
        """(position of the first word, gram) of every window whose hash is that of a gram's
        anchor.
        """
        from tasks.text.ngram_kernel import possible  # compiles: only where it is needed

        positions: list[Positions] = [np.empty(0, np.int64)]
        grams: list[Positions] = [np.empty(0, np.int64)]
        for table in self._tables:
            windows = window_hashes(hashes, table.anchor)
            places = np.empty(len(windows), np.int64)
            at = places[: possible(windows, table.bits, table.log_bits, places)]
            index = np.minimum(np.searchsorted(table.hashes, windows[at]), len(table.hashes) - 1)
            known = table.hashes[index] == windows[at]
            at, index = at[known], index[known]
            counts = table.starts[index + 1] - table.starts[index]
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            positions.append(np.repeat(at, counts))
            grams.append(table.grams[np.repeat(table.starts[index], counts) + within])
        return np.concatenate(positions), np.concatenate(grams)

    def _same(
        self, hashes: Hashes, positions: Positions, grams: Positions
    ) -> npt.NDArray[np.bool_]:
        """Do the words at each position equal the gram's? Compared in blocks, so that memory stays
        small.
        """
        same = np.empty(len(positions), dtype=np.bool_)
        for low in range(0, len(positions), _COMPARE_AT_ONCE):
            part = slice(low, low + _COMPARE_AT_ONCE)
            lengths = self._grams.lengths[grams[part]]
            step = np.arange(lengths.max())
            inside = step < lengths[:, None]
            # Beyond a gram's end both sides repeat its first word.
            offsets = np.where(inside, step, 0)
            left = hashes[positions[part, None] + offsets]
            right = self._grams.words[self._grams.starts[grams[part], None] + offsets]
            same[part] = (left == right).all(axis=1)
        return same


def _texts(normalised: str, runs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """Runs [first, end) of the words of normalised text, as text."""
    first_words, last_words = {first for first, _ in runs}, {end - 1 for _, end in runs}
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    for number, word in enumerate(itertools.islice(each_word(normalised), max(last_words) + 1)):
        if number in first_words:
            starts[number] = word.start()
        if number in last_words:
            ends[number + 1] = word.end()
    return {
        (first, end): _join(words(normalised[starts[first] : ends[end]])) for first, end in runs
    }


def _join(pieces: Sequence[str]) -> str:
    """Words with a space between them, none between two characters of unspaced scripts."""
    text = ""
    for piece in pieces:
        glued = text and len(piece) == 1 and piece > "\u2e7f" and text[-1] > "\u2e7f"
        text += piece if glued or not text else f" {piece}"
    return text
