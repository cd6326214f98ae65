"""Groups of near duplicates, which are held out together or not at all.

Otherwise copies of held-out documents would be trained on, and a classifier that has memorised them
would seem to separate. MinHash over shingles of five words, in bands (Broder 1997); who shares a
band is joined. A wrong join only moves a document to the other side, so nothing is verified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tasks.text.shingles import batches, shingle

SHINGLE = 5
BANDS, ROWS = 16, 4
"""Pairs of Jaccard similarity 0.5 share a band with probability 0.64, of 0.7 with 0.99."""


def near_duplicates(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Number of each text's group: the least number of a text in it. Shape (N,)."""
    parent = np.arange(len(texts))
    seen: dict[tuple[int, bytes], int] = {}
    for part in batches(texts):
        signatures = _signatures(list(texts[part]))
        for row, signature in enumerate(signatures, part.start):
            for band in range(BANDS):
                key = (band, signature[band * ROWS : (band + 1) * ROWS].tobytes())
                other = seen.setdefault(key, row)
                if other != row:
                    _join(parent, row, other)
    return np.array([_root(parent, row) for row in range(len(texts))], np.int64)


def side(ids: Sequence[str], groups: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each document, the same within a group: by a hash of the group's least
    id, so that it does not depend on the order or the number of documents.
    """
    least: dict[int, str] = {}
    for id_, group in zip(ids, groups.tolist(), strict=True):
        least[group] = min(id_, least.get(group, id_))
    return np.array([_uniform(least[group], seed) for group in groups.tolist()], np.float64)


def _uniform(id_: str, seed: int) -> float:
    digest = hashlib.blake2b(
        id_.encode(), digest_size=8, person=b"puna-classifier", salt=seed.to_bytes(16, "big")
    ).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2.0**53


def _signatures(texts: list[str]) -> npt.NDArray[np.uint64]:
    """MinHash values (N, BANDS * ROWS); a text without words has values of its own."""
    found = shingle(texts, SHINGLE)
    values, offsets = found.sets()
    rng = np.random.Generator(np.random.PCG64(0))
    factors = rng.integers(1, 1 << 62, BANDS * ROWS, dtype=np.uint64) | np.uint64(1)
    signatures = np.empty((len(texts), BANDS * ROWS), np.uint64)
    for row in range(len(texts)):
        own = values[offsets[row] : offsets[row + 1]].astype(np.uint64) + np.uint64(1)
        if len(own):
            with np.errstate(over="ignore"):
                signatures[row] = (own[:, None] * factors).min(axis=0)
        else:
            signatures[row] = np.frombuffer(
                hashlib.blake2b(texts[row].encode(), digest_size=64).digest() * (BANDS * ROWS // 8),
                np.uint64,
            )
    return signatures


def _root(parent: npt.NDArray[np.int64], row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = int(parent[row])
    return row


def _join(parent: npt.NDArray[np.int64], one: int, other: int) -> None:
    first, second = sorted((_root(parent, one), _root(parent, other)))
    parent[second] = first
