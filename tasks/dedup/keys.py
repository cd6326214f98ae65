"""Band keys, and the groups of documents that share one.

1. `write_keys`: each band of a document becomes one 64-bit key, a hash of the band's MinHash values
   and its number; the text hash is one more key. The last bit distinguishes the two kinds. Records
   (key, document number) go to partitions by the first bits of the key.
2. `find_groups`: each partition is sorted by key; documents with the same key are a group.

Two different bands, or two different texts, have the same key once in 2**63 pairs. A collision
costs a comparison, never a document.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infra.stage import JSON, StageError
from infra.store import Shard
from infra.store.exchange import Exchange
from tasks.documents.segments import SegmentWriter, bucket_of, count, gathered
from tasks.duplicates.parts import SignedPart
from tasks.duplicates.signed import SignatureShape, blocks

KEY_RECORD = np.dtype([("key", "<u8"), ("number", "<u4")])
GROUP_RECORD = np.dtype([("size", "<u4")])
TEXTS, BANDS = range(2)
"""Buckets of groups: documents with the same text hash, documents that share a band's key."""

GROUPING_BYTES = 48
"""Memory of one key record while its partition is sorted."""

_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)


def band_keys(signatures: npt.NDArray[np.uint64], bands: int, rows: int) -> npt.NDArray[np.uint64]:
    """One even 64-bit key per band, shape (documents, bands).

    `signatures` has shape (documents, bands * rows).
    """
    values = signatures.reshape(len(signatures), bands, rows)
    # Starting from the band's number keeps equal values in different bands apart.
    keys = np.tile(np.arange(bands, dtype=np.uint64), (len(signatures), 1))
    for row in range(rows):  # MurmurHash3's mixer after each value
        keys ^= values[:, :, row]
        keys *= _MIX_1
        keys ^= keys >> _SHIFT
        keys *= _MIX_2
        keys ^= keys >> _SHIFT
    return keys & ~np.uint64(1)


def text_keys(text_hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """One odd 64-bit key per text hash; `text_hashes` has shape (documents, 2)."""
    return text_hashes[:, 0] | np.uint64(1)


@dataclass(frozen=True)
class KeyWork:
    """Write the keys of a part, by partition, to the segment `folder/<part number>`."""

    part: SignedPart
    signing: SignatureShape
    folder: Exchange
    partitions: int  # a power of two
    block_rows: int


def write_keys(work: KeyWork, shard: Shard) -> dict[str, JSON]:
    """Key records of the part's eligible documents, by partition."""
    documents = 0
    with SegmentWriter(work.folder, str(work.part.number), work.partitions) as writer:
        for block in blocks(work.part, work.signing, work.block_rows):
            keys = band_keys(block.signatures, work.signing.bands, work.signing.rows)
            records = np.empty(len(block.rows) + keys.size, KEY_RECORD)
            numbers = (block.rows + work.part.start).astype(np.uint32)
            records["key"][: len(numbers)] = text_keys(block.text_hashes)
            records["number"][: len(numbers)] = numbers
            records["key"][len(numbers) :] = keys.reshape(-1)
            records["number"][len(numbers) :] = np.repeat(
                numbers[block.shingled], work.signing.bands
            )
            partition = partition_of(records["key"], work.partitions)
            order = np.argsort(partition, kind="stable")
            writer.append(partition[order], records[order])
            documents += len(block.rows)
    return {"documents": documents}


def partition_of(keys: npt.NDArray[np.uint64], partitions: int) -> npt.NDArray[np.uint16]:
    """The partition of every key: its first bits."""
    shift = 64 - (partitions - 1).bit_length()
    if shift == 64:  # one partition; a shift by 64 is undefined
        return np.zeros(len(keys), np.uint16)
    return (keys >> np.uint64(shift)).astype(np.uint16)


@dataclass(frozen=True)
class GroupWork:
    """Find the groups in one partition of the keys of `parts` parts; write `groups/<partition>`.

    Documents numbered below `first_new` are of earlier crawls; groups of only those need no
    election and are left out. `memory` in bytes.
    """

    keys: Exchange
    groups: Exchange
    parts: int
    partition: int
    first_new: int
    memory: int


def find_groups(work: GroupWork, shard: Shard) -> dict[str, JSON]:
    """Write the groups of two or more: their sizes as records, their documents as values."""
    wanted = bucket_of(map(str, range(work.parts)), work.partition)
    needed = GROUPING_BYTES * count(work.keys, wanted, KEY_RECORD)
    if needed > work.memory:
        raise StageError(
            f"dedup.memory leaves each worker {work.memory / 1e6:,.0f} MB, but so many documents "
            f"agree in one band that sorting their keys takes {needed / 1e6:,.0f} MB: raise "
            f"dedup.memory by a factor of {needed / work.memory:.1f}, or use fewer workers"
        )
    records = gathered(work.keys, wanted, KEY_RECORD)
    keys, numbers = records["key"].copy(), records["number"].copy()
    del records
    sizes, members = groups_of(keys, numbers, work.first_new)
    bands = sizes["bands"]
    with SegmentWriter(work.groups, str(work.partition), 2) as writer:
        for bucket, chosen in ((TEXTS, ~bands), (BANDS, bands)):
            groups = np.zeros(int(chosen.sum()), GROUP_RECORD)
            groups["size"] = sizes["size"][chosen]
            writer.append(
                np.full(len(groups), bucket), groups, members[np.repeat(chosen, sizes["size"])]
            )
    return {"groups": int(bands.sum()), "memberships": int(sizes["size"][bands].sum())}


_SIZES = np.dtype([("size", np.int64), ("bands", np.bool_)])


def groups_of(
    keys: npt.NDArray[np.uint64], numbers: npt.NDArray[np.uint32], first_new: int
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.uint32]]:
    """Groups of two or more by ascending key, without those of earlier crawls alone.

    Returns (size, whether of a band) for each, and the numbers of the members of one group after
    another.
    """
    order = np.argsort(keys)
    keys, numbers = keys[order], numbers[order]
    if not len(keys):
        return np.empty(0, _SIZES), numbers
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    sizes = np.diff(np.append(starts, len(keys)))
    wanted = (sizes > 1) & (np.maximum.reduceat(numbers, starts) >= first_new)
    groups = np.empty(int(wanted.sum()), _SIZES)
    groups["size"] = sizes[wanted]
    groups["bands"] = keys[starts[wanted]] & np.uint64(1) == 0
    return groups, numbers[np.repeat(wanted, sizes)]
