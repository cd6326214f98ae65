"""Normalised text, its words, and the hashes of its word shingles: what deduplication calls "the
same text".

Normalisation (`normalise`): `tasks.text.characters` folds every character and says whether it
stays, vanishes or parts words; runs of parting characters become one space, none at the ends.
Digits are kept: two reports that differ in a year are not the same document (datatrove's FineWeb
configuration maps digits to 0).

Words (`words`): runs between spaces, except that each character of an unspaced script
(tasks.text.scripts) is a word of its own. A shingle is k consecutive words; a text of fewer than k
words (but at least one) is one shingle.

`shingle` does the same for a batch in a compiled loop over UTF-8 bytes: no Python object per word.
Its hashes are 64-bit: multiplicative per word, a polynomial over the k words, both finished by
MurmurHash3's 64-bit mixer. Hashes are constants of tasks.text.shingle_kernel: change nothing here
without bumping the versions of signatures and dedup.
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

from tasks.text.characters import IGNORED, PARTING, fold, tables
from tasks.text.scripts import UNSPACED_CLASS, code_points

TEXT_HASH_BYTES = 16
BATCH_BYTES = 4_000_000
"""Text handed to the compiled loop at once; working memory is about eight times that (a longer
document goes alone).
"""

_WORD_PATTERN = re.compile(f"[{UNSPACED_CLASS}]|[^ {UNSPACED_CLASS}]+")


def normalise(text: str) -> str:
    """`text` as deduplication compares it (see the module's docstring); empty where it has no
    word.
    """
    points = code_points(fold(text))
    classes = tables().classes[points]
    kept = np.where(classes == PARTING, np.uint32(0x20), points)[classes != IGNORED]
    return " ".join(kept.tobytes().decode("utf-32-le").split())


def words(normalised: str) -> list[str]:
    """The words of normalised text: runs between spaces, single characters in unspaced scripts."""
    return _WORD_PATTERN.findall(normalised)


def each_word(normalised: str) -> Iterator[re.Match[str]]:
    """The words of normalised text one by one, with their places."""
    return _WORD_PATTERN.finditer(normalised)


def text_hash(text: str) -> bytes:
    """16 bytes of BLAKE2b over the UTF-8 of the normalised text, or of the text as it is where that
    is empty.

    The fallback keeps texts of nothing but punctuation or emoji apart from one another.
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
        """Texts that are separate bytes."""
        starts = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum(
            np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)), out=starts[1:]
        )
        return cls(np.frombuffer(b"".join(encoded) or b" ", dtype=np.uint8), starts)

    @classmethod
    def of_column(cls, column: pa.ChunkedArray) -> Utf8:
        """The texts of a string column without nulls, without a copy where it is one chunk."""
        text = column.cast(pa.large_string()).combine_chunks()
        _, offsets, data = text.buffers()
        starts = np.frombuffer(offsets, dtype=np.int64)[text.offset : text.offset + len(text) + 1]
        if not len(text) or starts[0] == starts[-1]:
            return cls(np.zeros(1, dtype=np.uint8), np.zeros(len(text) + 1, dtype=np.int64))
        return cls(np.frombuffer(data, dtype=np.uint8)[starts[0] : starts[-1]], starts - starts[0])

    def changed(self, rows: Sequence[int], change: Callable[[str], str]) -> Utf8:
        """The texts with `change` applied to those numbered `rows`; itself where there are none."""
        if not rows:
            return self
        encoded = [self[index] for index in range(len(self))]
        for row in rows:
            encoded[row] = change(encoded[row].decode("utf-8")).encode("utf-8")
        return Utf8.of(encoded)

    def __getitem__(self, index: int) -> bytes:
        return self.data[self.starts[index] : self.starts[index + 1]].tobytes()

    def batches(self, limit_bytes: int = BATCH_BYTES) -> Iterator[Utf8]:
        """The texts in groups of consecutive ones, each of at most `limit_bytes` (or of one
        text).
        """
        first = 0
        while first < len(self):
            last = (
                int(np.searchsorted(self.starts, self.starts[first] + limit_bytes, side="right"))
                - 1
            )
            last = max(last, first + 1)
            low, high = self.starts[first], self.starts[last]
            yield Utf8(self.data[low : max(high, low + 1)], self.starts[first : last + 1] - low)
            first = last


@dataclass(frozen=True)
class Shingles:
    """Shingle hashes of a batch of documents.

    `hashes[offsets[i]:offsets[i + 1]]` are document i's, uint64, in the order of the text, repeats
    included. The first `capped[i]` of them end within the cap on characters.
    `normalised[normalised_offsets[i]:normalised_offsets[i + 1]]` is its normalised text in UTF-8.
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
        """(values, offsets): every document's distinct shingles, ascending, by the upper 32 bits of
        their hashes.
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

    Shingles that end within the first `cap` characters of the normalised text are counted apart
    (`Shingles.capped`); the first shingle always is one of them. The caller bounds memory by
    passing batches (`Utf8.batches`).
    """
    from tasks.text.shingle_kernel import (
        find_contextual,
        shingle_loop,
    )  # compiles: only where it is needed

    if size < 1:
        raise ValueError(f"a shingle must have at least 1 word, not {size}")
    known = tables()
    is_folded = np.empty(len(texts), dtype=np.bool_)
    find_contextual(texts.data, texts.starts, known.folded, is_folded)
    folded = texts.changed(np.flatnonzero(is_folded).tolist(), fold)
    data, starts = folded.data, folded.starts
    # A word takes two bytes at least (a letter and a space) or, in an unspaced script, three.
    # Folding a character on its own lengthens two bytes to three (U+023A to U+2C65) or three to
    # four (U+FA6C to U+242EE), and no further.
    hashes = np.empty(int((np.diff(starts) // 2 + 1).sum()), dtype=np.uint64)
    normalised = np.empty(len(data) + len(data) // 2, dtype=np.uint8)
    offsets, normalised_offsets, capped = (
        np.zeros_like(starts),
        np.zeros_like(starts),
        np.zeros_like(starts[1:]),
    )
    limit = np.iinfo(np.int64).max if cap is None else cap
    shingle_loop(
        data, starts, is_folded, known.classes, known.folded, known.ascii, size, limit,
        normalised, normalised_offsets, hashes, offsets, capped,
    )  # fmt: skip
    return Shingles(
        texts,
        hashes[: offsets[-1]],
        offsets,
        capped,
        normalised[: normalised_offsets[-1]],
        normalised_offsets,
    )


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
