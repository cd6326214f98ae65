"""N-gram search: which of a set of word runs ("grams") occur in a document, and where.

Words, their hashes and the hashes of windows are those of `tasks.text.word_hashes`.

`GramIndex.find`, in order:

1. Every word of the document becomes a 64-bit hash h0, h1, ... (`word_hashes`).
2. For each distinct anchor length, hash all windows of that many words (`window_hashes`).
3. A Bloom filter drops most windows (`tasks.text.ngram_kernel`); the rest are looked up in the
   sorted hashes of the grams' anchors (their first words).
4. Each candidate (position, gram) is checked word by word, to the gram's end. A collision of window
   hashes therefore costs time, never a false hit.
5. Hits of one owner that touch or overlap are merged into runs.

Example: the gram "b c d" of owner 7 with an anchor of 2 words, in the document "a b c d e". Of the
windows "a b", "b c", "c d" and "d e", "b c" at position 1 is the anchor; words 1, 2 and 3 equal the
gram's: a hit for owner 7 with the run [1, 4). In "a b c e" only the anchor matches: no hit.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.text.shingles import batches, each_word, shingle, words
from tasks.text.word_hashes import Hashes, Positions, window_hashes, without_vanishing

_FILTER_SPARSITY = 16
"""Bits of a Bloom filter per hash in it, at least: no more than one other window in 64 passes, and
the filter fits a CPU cache.
"""
_COMPARE_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Grams:
    """Runs of words to search for, as arrays over G grams.

    Gram i is `words[starts[i]:starts[i] + lengths[i]]` and belongs to `owners[i]`. It is found by
    the hash of its first `anchors[i]` words (at most its length); each distinct value of `anchors`
    costs one pass over every document.
    """

    words: Hashes
    starts: Positions
    lengths: Positions
    anchors: Positions
    owners: Positions


@dataclass(frozen=True)
class Hit:
    """All words of a document that are in a gram of `owner`, as runs [first, end), ascending.

    `text`: the first run, normalised.
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
    """Grams of one anchor length, by the hash of the anchor.

    `hashes` are distinct and ascending; `grams[starts[k]:starts[k + 1]]` are the grams with
    `hashes[k]`. `bits` is a Bloom filter of 2**log_bits bits, see `tasks.text.ngram_kernel`.
    """

    anchor: int
    hashes: Hashes
    starts: Positions
    grams: Positions
    bits: npt.NDArray[np.uint8]
    log_bits: int


class GramIndex:
    """Finds grams in documents; see the module's docstring.

    A false hit takes a collision of 64-bit word hashes at every word in which the two differ.
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
        # Two bits a hash: those numbered by its first and by its last `log_bits` bits.
        flags = np.zeros(1 << log_bits, dtype=np.bool_)
        flags[distinct >> np.uint64(64 - log_bits)] = True
        flags[distinct & np.uint64((1 << log_bits) - 1)] = True
        bits = np.packbits(flags, bitorder="little")
        return _Table(
            anchor, distinct, np.append(starts, len(hashes)), members[order], bits, log_bits
        )

    def find(self, texts: Sequence[str]) -> list[list[Hit]]:
        """For every text, one hit per owner of a gram in it, ordered by owner."""
        hits: list[list[Hit]] = []
        for part in batches(texts):
            hits.extend(self._find(texts[part]))
        return hits

    def _find(self, texts: Sequence[str]) -> list[list[Hit]]:
        hashed = shingle([without_vanishing(text) for text in texts], 1)
        ends = hashed.offsets[1:]
        positions, grams = self._candidates(hashed.hashes)
        documents = np.searchsorted(ends, positions, side="right")
        # All documents of the batch are one sequence of words: a gram must end within its document.
        within = positions + self._grams.lengths[grams] <= ends[documents]
        positions, grams, documents = positions[within], grams[within], documents[within]
        same = self._same(hashed.hashes, positions, grams)
        positions, grams, documents = positions[same], grams[same], documents[same]
        owners = self._grams.owners[grams]
        order = np.lexsort((positions, owners, documents))
        runs: dict[tuple[int, int], list[list[int]]] = {}  # (document, owner) -> [first, end)
        for document, owner, position, length in zip(
            documents[order].tolist(),
            owners[order].tolist(),
            (positions - hashed.offsets[documents])[order].tolist(),
            self._grams.lengths[grams[order]].tolist(),
            strict=True,
        ):
            merged = runs.setdefault((document, owner), [])
            if merged and position <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], position + length)
            else:
                merged.append([position, position + length])
        hits: list[list[Hit]] = [[] for _ in texts]
        for document, entries in itertools.groupby(runs.items(), key=lambda entry: entry[0][0]):
            low, high = hashed.normalised_offsets[document : document + 2]
            owned = [
                (owner, tuple((first, end) for first, end in merged))
                for (_, owner), merged in entries
            ]
            text_of = _texts(
                hashed.normalised[low:high].tobytes().decode(), [merged[0] for _, merged in owned]
            )
            hits[document] = [Hit(owner, text_of[merged[0]], merged) for owner, merged in owned]
        return hits

    def _candidates(self, hashes: Hashes) -> tuple[Positions, Positions]:
        """(positions of the first word, grams) of all windows that hash like a gram's anchor."""
        from tasks.text.ngram_kernel import possible  # compiles, so only where it is needed

        positions: list[Positions] = [np.empty(0, np.int64)]
        grams: list[Positions] = [np.empty(0, np.int64)]
        for table in self._tables:
            windows = window_hashes(hashes, table.anchor)
            places = np.empty(len(windows), np.int64)
            first = places[: possible(windows, table.bits, table.log_bits, places)]
            index = np.minimum(np.searchsorted(table.hashes, windows[first]), len(table.hashes) - 1)
            matches = table.hashes[index] == windows[first]
            first, index = first[matches], index[matches]
            # Several grams may have the same anchor: one candidate for each of them.
            counts = table.starts[index + 1] - table.starts[index]
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            positions.append(np.repeat(first, counts))
            grams.append(table.grams[np.repeat(table.starts[index], counts) + within])
        return np.concatenate(positions), np.concatenate(grams)

    def _same(
        self, hashes: Hashes, positions: Positions, grams: Positions
    ) -> npt.NDArray[np.bool_]:
        """Whether the words from each position equal the gram's; in blocks, to bound memory."""
        same = np.empty(len(positions), dtype=np.bool_)
        for low in range(0, len(positions), _COMPARE_AT_ONCE):
            part = slice(low, low + _COMPARE_AT_ONCE)
            lengths = self._grams.lengths[grams[part]]
            step = np.arange(lengths.max())
            inside = step < lengths[:, None]
            # Grams have different lengths: beyond a gram's end both sides repeat its first word.
            offsets = np.where(inside, step, 0)
            left = hashes[positions[part, None] + offsets]
            right = self._grams.words[self._grams.starts[grams[part], None] + offsets]
            same[part] = (left == right).all(axis=1)
        return same


def _texts(normalised: str, runs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """Run [first, end) of words of normalised text -> its text."""
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
    """Words joined by a space, but by nothing between two characters of unspaced scripts."""
    text = ""
    for piece in pieces:
        glued = text and len(piece) == 1 and piece > "\u2e7f" and text[-1] > "\u2e7f"
        text += piece if glued or not text else f" {piece}"
    return text
