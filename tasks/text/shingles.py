"""Normalised text, its words, and the hashes of its word shingles: what deduplication calls "the same text".

Normalisation (`normalise`): NFKC, lower case, NFC; then every character is looked up by its general category:
letters, numbers, marks, unassigned and private-use characters stay; format characters and variation selectors vanish;
everything else (punctuation, symbols, separators, controls, zero-width space) parts words; runs of parting characters
become one space, none at the ends. Digits are kept: two reports that differ in a year are not the same document
(datatrove's FineWeb configuration maps digits to 0).

Words (`words`): runs between spaces, except that each character of an unspaced script (tasks.text.scripts) is a word
of its own. A shingle is k consecutive words; a text of fewer than k words (but at least one) is one shingle.

`shingle` does the same for a batch in a compiled loop over UTF-8 bytes: no Python object per word. Its hashes are
64-bit: multiplicative per word, a polynomial over the k words, both finished by MurmurHash3's 64-bit mixer. Hashes are
constants of tasks.text.shingle_kernel: change nothing here without bumping the versions of signatures and dedup.

Outputs depend on the Unicode tables of the running Python (`unicodedata.unidata_version`).
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.text.scripts import UNSPACED_CLASS, code_points, unspaced_mask

TEXT_HASH_BYTES = 16
PARTING, WORD, UNSPACED, IGNORED = range(4)
"""Classes of characters: see `_tables`."""
CONTEXTUAL = np.uint32(0xFFFFFFFF)
"""In the table of folded characters: only `fold` on the whole text knows."""
BATCH_BYTES = 8_000_000
"""Text handed to the compiled loop at once; working memory is about eight times that (a longer document goes alone)."""

_UNICODE_SIZE = 0x110000
_ASSIGNED_PLANES = (range(0x40000), range(0xE0000, 0xE1000))
"""What lies outside is unassigned or for private use, and folds to itself."""
_ZERO_WIDTH_SPACE = 0x200B
_VARIATION_SELECTORS = ((0x180B, 0x180D), (0x180F, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))

_WORD_PATTERN = re.compile(f"[{UNSPACED_CLASS}]|[^ {UNSPACED_CLASS}]+")


def fold(text: str) -> str:
    """`text` in NFKC, lower case, NFC: what the character classes are looked up on."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).lower())


def normalise(text: str) -> str:
    """`text` as deduplication compares it (see the module's docstring); empty where it has no word."""
    points = code_points(fold(text))
    classes = _tables().classes[points]
    kept = np.where(classes == PARTING, np.uint32(0x20), points)[classes != IGNORED]
    return " ".join(kept.tobytes().decode("utf-32-le").split())


def words(normalised: str) -> list[str]:
    """The words of normalised text: runs between spaces, single characters in unspaced scripts."""
    return _WORD_PATTERN.findall(normalised)


def text_hash(text: str) -> bytes:
    """16 bytes of BLAKE2b over the UTF-8 of the normalised text, or of the text as it is where that is empty.

    The fallback keeps texts of nothing but punctuation or emoji apart from one another.
    """
    canonical = normalise(text) or text
    return hashlib.blake2b(canonical.encode("utf-8"), digest_size=TEXT_HASH_BYTES).digest()


@dataclass(frozen=True)
class Shingles:
    """Shingle hashes of a batch of documents.

    `hashes[offsets[i]:offsets[i + 1]]` are document i's, uint64, in the order of the text, repeats included.
    The first `capped[i]` of them end within the cap on characters.
    `normalised[normalised_offsets[i]:normalised_offsets[i + 1]]` is its normalised text in UTF-8.
    """

    hashes: npt.NDArray[np.uint64]
    offsets: npt.NDArray[np.int64]
    capped: npt.NDArray[np.int64]
    normalised: npt.NDArray[np.uint8]
    normalised_offsets: npt.NDArray[np.int64]

    def text_hashes(self, texts: Sequence[str]) -> list[bytes]:
        """`text_hash` of every document, given the texts this batch was made from."""
        view = self.normalised.data
        bounds = self.normalised_offsets.tolist()
        return [
            hashlib.blake2b(view[start:end], digest_size=TEXT_HASH_BYTES).digest() if end > start else text_hash(text)
            for text, start, end in zip(texts, bounds, bounds[1:], strict=False)
        ]

    def sets(self) -> list[npt.NDArray[np.uint64]]:
        """Every document's distinct shingle hashes, ascending."""
        bounds = self.offsets.tolist()
        result = []
        for start, end in itertools.pairwise(bounds):
            ascending = np.sort(self.hashes[start:end])
            first = np.ones(len(ascending), dtype=np.bool_)
            np.not_equal(ascending[1:], ascending[:-1], out=first[1:])
            result.append(ascending[first])
        return result


def shingle(texts: Sequence[str], size: int, cap: int | None = None) -> Shingles:
    """Hash the shingles of `size` words of every text.

    Shingles that end within the first `cap` characters of the normalised text are counted apart (`Shingles.capped`);
    the first shingle always is one of them.
    The caller bounds memory by passing batches (`batches`).
    """
    from tasks.text.shingle_kernel import find_contextual, shingle_loop  # compiles: only where it is needed

    if size < 1:
        raise ValueError(f"a shingle must have at least 1 word, not {size}")
    tables = _tables()
    encoded = [text.encode("utf-8") for text in texts]
    data, starts = _joined(encoded)
    is_folded = np.empty(len(encoded), dtype=np.bool_)
    find_contextual(data, starts, tables.folded, CONTEXTUAL, is_folded)
    if is_folded.any():
        for index in np.flatnonzero(is_folded).tolist():
            encoded[index] = fold(texts[index]).encode("utf-8")
        data, starts = _joined(encoded)
    # A word takes two bytes at least (a letter and a space) or, in an unspaced script, three. Folding a character on
    # its own lengthens two bytes to three (U+023A to U+2C65) or three to four (U+FA6C to U+242EE), and no further.
    hashes = np.empty(int((np.diff(starts) // 2 + 1).sum()), dtype=np.uint64)
    normalised = np.empty(len(data) + len(data) // 2, dtype=np.uint8)
    offsets, normalised_offsets, capped = np.zeros_like(starts), np.zeros_like(starts), np.zeros_like(starts[1:])
    limit = np.iinfo(np.int64).max if cap is None else cap
    shingle_loop(
        data, starts, is_folded, tables.classes, tables.folded, size, limit,
        normalised, normalised_offsets, hashes, offsets, capped,
    )  # fmt: skip
    return Shingles(hashes[: offsets[-1]], offsets, capped, normalised[: normalised_offsets[-1]], normalised_offsets)


def _joined(encoded: Sequence[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    starts = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)), out=starts[1:])
    return np.frombuffer(b"".join(encoded) or b" ", dtype=np.uint8), starts


def batches(texts: Sequence[str], limit_bytes: int = BATCH_BYTES) -> Iterator[slice]:
    """Consecutive slices of `texts` of at most `limit_bytes` characters each (or of one text)."""
    start = taken = 0
    for index, text in enumerate(texts):
        if index > start and taken + len(text) > limit_bytes:
            yield slice(start, index)
            start, taken = index, 0
        taken += len(text)
    if start < len(texts):
        yield slice(start, len(texts))


def jaccard(one: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]) -> float:
    """Jaccard similarity of two ascending arrays of distinct hashes (1.0 for two empty ones)."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    union = len(one) + len(other) - common
    return common / union if union else 1.0


@dataclass(frozen=True)
class _Tables:
    """By code point, shape (0x110000,): `classes` of folded characters, `folded` the character it folds to."""

    classes: npt.NDArray[np.uint8]
    folded: npt.NDArray[np.uint32]


@functools.cache
def _tables() -> _Tables:
    """Build the tables from the interpreter's Unicode database (0.3 s, once per process).

    A character is `CONTEXTUAL` when folding a text is not folding its characters one by one: it combines with the one
    before, folds to several, or is a capital sigma (lower case depends on the word's end).
    """
    classes = np.full(_UNICODE_SIZE, WORD, dtype=np.uint8)
    folded = np.arange(_UNICODE_SIZE, dtype=np.uint32)
    composing = {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}  # Hangul vowels and final consonants
    folds: dict[int, str] = {}
    for point in itertools.chain.from_iterable(_ASSIGNED_PLANES):
        character = chr(point)
        category = unicodedata.category(character)
        if category[0] in "PSZ" or category == "Cc":
            classes[point] = PARTING
        elif category == "Cf":
            classes[point] = IGNORED
        decomposition = unicodedata.decomposition(character)
        if decomposition and not decomposition.startswith("<"):
            composing.update(int(part, 16) for part in decomposition.split()[1:])
        if unicodedata.combining(character):
            composing.add(point)
        if decomposition or category in ("Lu", "Lt") or character.lower() != character:
            folds[point] = fold(character)
    for point, text in folds.items():
        sigma = "\N{GREEK CAPITAL LETTER SIGMA}" in unicodedata.normalize("NFKC", chr(point))
        folded[point] = CONTEXTUAL if sigma or len(text) != 1 or ord(text) in composing else ord(text)
    folded[list(composing)] = CONTEXTUAL
    for first, last in _VARIATION_SELECTORS:
        classes[first : last + 1] = IGNORED
    classes[_ZERO_WIDTH_SPACE] = PARTING
    unspaced = unspaced_mask(np.arange(_UNICODE_SIZE, dtype=np.uint32))
    classes[unspaced & (classes == WORD)] = UNSPACED
    classes.setflags(write=False)
    folded.setflags(write=False)
    return _Tables(classes, folded)
