"""Normalised text, its words and word shingles: what counts as the same text in deduplication.

1. Normalisation (`normalise`): `tasks.text.characters` folds every character and classifies it as
   part of a word, ignored, or a separator; runs of separators become one space, none at the ends.
   Digits are kept: two reports that differ in a year are not the same document (datatrove's FineWeb
   configuration maps digits to 0).
2. Words (`words`): runs between spaces, except that each character of an unspaced script
   (`tasks.text.scripts`) is a word of its own.
3. Shingles: all runs of k consecutive words; a text of fewer than k words (but at least one) is one
   shingle.
4. Hashes: 64 bits a shingle, see `tasks.text.shingle_kernel`.

For k = 3, "It's 5 o'clock!" is normalised to "it s 5 o clock", with the shingles "it s 5", "s 5 o"
and "5 o clock"; "\u6771\u4eac OK" is the three words "\u6771", "\u4eac", "ok", one shingle.

`shingle_utf8` does all four for a batch of texts in a compiled loop over UTF-8 bytes, without a
Python object per word. Outputs depend on the constants of `tasks.text.shingle_kernel`: change
nothing here or there without bumping the versions of signatures and dedup.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.text.characters import IGNORED, SEPARATOR, fold, tables
from tasks.text.scripts import UNSPACED_CLASS, code_points

TEXT_HASH_BYTES = 16
BATCH_BYTES = 4_000_000
"""Text passed to the compiled loop at once; working memory is about eight times as much. A longer
document is a batch of its own.
"""

_WORD_PATTERN = re.compile(f"[{UNSPACED_CLASS}]|[^ {UNSPACED_CLASS}]+")


def normalise(text: str) -> str:
    """`text` as deduplication compares it (see the module's docstring); empty if it has no word."""
    points = code_points(fold(text))
    classes = tables().classes[points]
    kept = np.where(classes == SEPARATOR, np.uint32(0x20), points)[classes != IGNORED]
    return " ".join(kept.tobytes().decode("utf-32-le").split())


def words(normalised: str) -> list[str]:
    """The words of normalised text: runs between spaces, single characters in unspaced scripts."""
    return _WORD_PATTERN.findall(normalised)


def each_word(normalised: str) -> Iterator[re.Match[str]]:
    """The words of normalised text one by one, as matches with their positions."""
    return _WORD_PATTERN.finditer(normalised)


def text_hash(text: str) -> bytes:
    """16 bytes of BLAKE2b over the normalised text in UTF-8.

    Where that is empty, over the text as it is: texts of nothing but punctuation or emoji are not
    all the same.
    """
    return _digest((normalise(text) or text).encode("utf-8"))


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=TEXT_HASH_BYTES).digest()


@dataclass(frozen=True)
class Utf8:
    """Texts in one array: text i is `data[starts[i]:starts[i + 1]]`. `data` is never empty."""

    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @classmethod
    def of(cls, encoded: Sequence[bytes]) -> Utf8:
        """From texts in UTF-8, one by one."""
        starts = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum(
            np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)), out=starts[1:]
        )
        return cls(np.frombuffer(b"".join(encoded) or b" ", dtype=np.uint8), starts)

    @classmethod
    def of_column(cls, column: pa.ChunkedArray) -> Utf8:
        """From a string column without nulls; no copy if it is one chunk of large strings."""
        text = column.cast(pa.large_string()).combine_chunks()
        _, offsets, data = text.buffers()
        starts = np.frombuffer(offsets, dtype=np.int64)[text.offset : text.offset + len(text) + 1]
        if not len(text) or starts[0] == starts[-1]:
            return cls(np.zeros(1, dtype=np.uint8), np.zeros(len(text) + 1, dtype=np.int64))
        return cls(np.frombuffer(data, dtype=np.uint8)[starts[0] : starts[-1]], starts - starts[0])

    def changed(self, rows: Sequence[int], change: Callable[[str], str]) -> Utf8:
        """The texts with `change` applied to those numbered `rows`; `self` if there are none."""
        if not rows:
            return self
        encoded = [self[index] for index in range(len(self))]
        for row in rows:
            encoded[row] = change(encoded[row].decode("utf-8")).encode("utf-8")
        return Utf8.of(encoded)

    def __getitem__(self, index: int) -> bytes:
        return self.data[self.starts[index] : self.starts[index + 1]].tobytes()

    def batches(self, limit_bytes: int = BATCH_BYTES) -> Iterator[Utf8]:
        """Batches of consecutive texts, each of at most `limit_bytes` or of a single text."""
        first = 0
        while first < len(self):
            limit = self.starts[first] + limit_bytes
            last = int(np.searchsorted(self.starts, limit, side="right")) - 1
            last = max(last, first + 1)
            low, high = self.starts[first], self.starts[last]
            yield Utf8(self.data[low : max(high, low + 1)], self.starts[first : last + 1] - low)
            first = last


@dataclass(frozen=True)
class Shingles:
    """Shingle hashes of a batch of N documents.

    `hashes[offsets[i]:offsets[i + 1]]` are document i's, uint64, in the order of the text, repeats
    included. The first `capped[i]` of them end within the cap on characters.
    `normalised[normalised_offsets[i]:normalised_offsets[i + 1]]` is its normalised text in UTF-8.
    The offsets have shape (N + 1,).
    """

    texts: Utf8
    hashes: npt.NDArray[np.uint64]
    offsets: npt.NDArray[np.int64]
    capped: npt.NDArray[np.int64]
    normalised: npt.NDArray[np.uint8]
    normalised_offsets: npt.NDArray[np.int64]

    def text_hashes(self) -> list[bytes]:
        """`text_hash` of every document."""
        view = self.normalised.data
        bounds = self.normalised_offsets.tolist()
        return [
            _digest(view[start:end] if end > start else self.texts[index])
            for index, (start, end) in enumerate(itertools.pairwise(bounds))
        ]

    def sets(self) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """(values, offsets): every document's distinct shingles as 32-bit hashes, ascending.

        They are the upper halves of the 64-bit hashes; document i has
        `values[offsets[i]:offsets[i + 1]]`.
        """
        from tasks.text.shingle_kernel import distinct_halves

        values = np.empty(len(self.hashes), dtype=np.uint32)
        offsets = np.zeros_like(self.offsets)
        distinct_halves(self.hashes, self.offsets, values, offsets)
        return values[: offsets[-1]], offsets


def shingle(texts: Sequence[str], size: int, cap: int | None = None) -> Shingles:
    """`shingle_utf8` of strings."""
    return shingle_utf8(Utf8.of([text.encode("utf-8") for text in texts]), size, cap)


def shingle_utf8(texts: Utf8, size: int, cap: int | None = None) -> Shingles:
    """Hash the shingles of `size` words of every text.

    `Shingles.capped` counts those that end within the first `cap` characters of the normalised
    text, and always the first one. The caller bounds memory by passing batches (`Utf8.batches`).
    """
    # Importing compiles or loads machine code, so import only where it is needed.
    from tasks.text.shingle_kernel import find_contextual, shingle_loop

    if size < 1:
        raise ValueError(f"a shingle has {size} words; it needs at least 1")
    known = tables()
    is_folded = np.empty(len(texts), dtype=np.bool_)
    # The loop folds character by character. Texts in which that would be wrong (combining marks,
    # final sigma) are few: fold those as a whole here.
    find_contextual(texts.data, texts.starts, known.folded, is_folded)
    folded = texts.changed(np.flatnonzero(is_folded).tolist(), fold)
    data, starts = folded.data, folded.starts
    # Upper bounds for what the loop writes. A word takes at least two bytes (a letter and a space)
    # or, in an unspaced script, three. Folding a character on its own lengthens two bytes to three
    # (U+023A to U+2C65) or three to four (U+FA6C to U+242EE), and no further.
    hashes = np.empty(int((np.diff(starts) // 2 + 1).sum()), dtype=np.uint64)
    normalised = np.empty(len(data) + len(data) // 2, dtype=np.uint8)
    offsets, normalised_offsets = np.zeros_like(starts), np.zeros_like(starts)
    capped = np.zeros_like(starts[1:])
    limit = np.iinfo(np.int64).max if cap is None else cap
    shingle_loop(
        data,
        starts,
        is_folded,
        known.classes,
        known.folded,
        known.ascii,
        size,
        limit,
        normalised,
        normalised_offsets,
        hashes,
        offsets,
        capped,
    )
    return Shingles(
        texts,
        hashes[: offsets[-1]],
        offsets,
        capped,
        normalised[: normalised_offsets[-1]],
        normalised_offsets,
    )


def batches(texts: Sequence[str], limit_bytes: int = BATCH_BYTES) -> Iterator[slice]:
    """Consecutive slices of `texts`, each of at most `limit_bytes` characters or of one text."""
    start = taken = 0
    for index, text in enumerate(texts):
        if index > start and taken + len(text) > limit_bytes:
            yield slice(start, index)
            start, taken = index, 0
        taken += len(text)
    if start < len(texts):
        yield slice(start, len(texts))
