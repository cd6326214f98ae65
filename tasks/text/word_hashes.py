"""Words of a text as 64-bit hashes and as spans, and hashes of windows of words.

A word is that of `tasks.text.shingles`: a run of letters, marks and digits after NFKC and lower
case, or one character of a script without spaces; punctuation and white space only separate words.
So "13 words" of English and "20 characters" of Chinese are both a window over one sequence, and
mixed text needs no rule of its own. Unlike there, apostrophes and invisible letters (`VANISHING`)
are removed first: "don't", "don\u2019t" and "dont" are one word, and so is a word into which
invisible characters were inserted.

`window_hashes`, for words with the hashes h0, h1, ... and windows of a words, all modulo 2**64:

1. Prefix sums P[s] = h0 + h1 B + ... + h(s-1) B^(s-1), with an odd B.
2. The window from s has the hash (P[s + a] - P[s]) B^-s: O(1) a window, whatever its length (Karp
   and Rabin, 1987). It does not depend on s, because B^-s cancels the powers below B^s.

Example with B = 3: the words 5, 7, 5, 7 have the prefix sums 0, 5, 26, 71, 260. The windows of two
words from 0 and from 2 have the hashes (26 - 0) 3^0 = 26 and (260 - 26) 3^-2 = 26.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tasks.text.characters import CONTEXTUAL, IGNORED, UNSPACED, WORD, fold, tables
from tasks.text.scripts import code_points
from tasks.text.shingles import batches, shingle

Hashes = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_INVERSE = pow(_BASE, -1, 1 << 64)
_INVISIBLE = "\u034f\u115f\u1160\u200b\u3164\uffa0"
"""Joiners and fillers that Unicode classes as marks, letters or spaces. Format characters need no
entry: their class is `IGNORED`.
"""
VANISHING = "'`\u00b4\u02bc\u2018\u2019\uff07\uff40" + _INVISIBLE
_ASCII_VANISHING = "".join(character for character in VANISHING if character.isascii())
_BLOCK_WORDS = 1 << 20
_PIECE_CHARACTERS = 1 << 20
_BORDER = re.compile(r"\n| (?=[0-9A-Za-z])")


def word_hashes(texts: Sequence[str]) -> list[Hashes]:
    """For every text the 64-bit hashes of its words, in order: shingles of one word."""
    hashes: list[Hashes] = []
    for part in batches(texts):
        hashed = shingle([without_vanishing(text) for text in texts[part]], 1)
        hashes.extend(np.split(hashed.hashes, hashed.offsets[1:-1]))
    return hashes


def without_vanishing(text: str) -> str:
    """The text without the characters of `VANISHING`."""
    for character in _ASCII_VANISHING if text.isascii() else VANISHING:
        text = text.replace(character, "")
    return text


def word_spans(text: str) -> tuple[Positions, Positions]:
    """(starts, ends), shape (words,): where each word of `text` begins and ends, in characters.

    The words are those that `word_hashes` hashes. A word that is part of a character (a ligature)
    spans all of it. A long text is processed in pieces that end after a line feed, or after a space
    before an ASCII letter: neither words nor foldings extend across these.
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
    """`word_spans` of one piece: fold as `shingle` does, but keep every character's position."""
    points = code_points(text)
    kept = np.flatnonzero(
        ~np.isin(points, np.array([ord(character) for character in VANISHING], np.uint32))
    )
    known = tables()
    folded = known.folded[points[kept]]
    first, last = kept, kept  # positions of the characters that each folded one was made of
    contextual = folded == CONTEXTUAL
    if contextual.any():
        folded, first, last = _fold_clusters(text, kept, folded, contextual)
    classes = known.classes[folded]
    shown = classes != IGNORED
    classes, first, last = classes[shown], first[shown], last[shown]
    single, letter = classes == UNSPACED, classes == WORD
    # A word begins at an unspaced character, or at a letter that follows no letter; ends likewise.
    begins = single | (letter & ~np.append(False, letter[:-1]))
    ends = single | (letter & ~np.append(letter[1:], False))
    return first[begins].astype(np.int64), last[ends].astype(np.int64) + 1


def _fold_clusters(
    text: str, kept: Positions, folded: npt.NDArray[np.uint32], contextual: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.uint32], Positions, Positions]:
    """Fold every run of contextual characters, with the character before it, as a whole.

    Returns folded characters, and the first and last position of what each was made of. All other
    characters have been folded, and none of them combines with the one before it, so that the
    pieces fold as the whole text does (except for final sigmas).
    """
    runs = np.flatnonzero(
        np.diff(np.concatenate([[False], contextual, [False]]).astype(np.int8))
    ).reshape(-1, 2)
    pieces: list[npt.NDArray[np.uint32]] = []
    firsts: list[Positions] = []
    lasts: list[Positions] = []
    done = 0
    for start, end in runs.tolist():
        start = max(done, start - 1)
        cluster = code_points(fold("".join(text[place] for place in kept[start:end].tolist())))
        pieces += [folded[done:start], cluster]
        firsts += [kept[done:start], np.full(len(cluster), kept[start])]
        lasts += [kept[done:start], np.full(len(cluster), kept[end - 1])]
        done = end
    return (
        np.concatenate([*pieces, folded[done:]]),
        np.concatenate([*firsts, kept[done:]]),
        np.concatenate([*lasts, kept[done:]]),
    )


def window_hashes(hashes: Hashes, length: int) -> Hashes:
    """The hash of every window of `length` words, shape (len(hashes) - length + 1,).

    Empty for shorter input. A polynomial modulo 2**64 from prefix sums, see the module's
    docstring: three passes whatever the length. A window's hash does not depend on its position, so
    long inputs are processed in blocks. Different windows may collide: compare words before
    trusting a hash.
    """
    windows: Hashes = np.empty(max(len(hashes) - length + 1, 0), dtype=np.uint64)
    step = max(_BLOCK_WORDS, length)
    for start in range(0, len(windows), step):
        block = hashes[start : start + step + length - 1]
        powers, inverses = _powers(1 << int(len(block) - 1).bit_length())
        sums = np.zeros(len(block) + 1, dtype=np.uint64)  # P, with s counted from the block's start
        np.cumsum(block * powers[: len(block)], out=sums[1:])
        count = len(block) - length + 1
        windows[start : start + count] = (sums[length:] - sums[:-length]) * inverses[:count]
    return windows


@functools.lru_cache(maxsize=4)
def _powers(size: int) -> tuple[Hashes, Hashes]:
    """The first `size` powers of B and of its inverse, modulo 2**64."""

    def series(factor: int) -> Hashes:
        values = np.full(size, factor, dtype=np.uint64)
        values[0] = 1
        return np.multiply.accumulate(values)

    return series(_BASE), series(_INVERSE)
