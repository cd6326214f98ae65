"""Scratch files by bucket: blocks are read back by bucket; a damaged file is an error."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from infra.stage import StageError
from infra.store.backends import open_directory
from infra.store.exchange import Exchange
from tasks.documents.segments import SegmentWriter, bucket_of, count, gathered, segments

RECORD = np.dtype([("size", "<u4"), ("number", "<u2")])
BUCKETS = 5


@pytest.mark.parametrize("blocks", [0, 1, 4])
def test_a_bucket_has_its_records_and_values_from_all_blocks(tmp_path: Path, blocks: int) -> None:
    rng = random.Random(blocks)
    expected: dict[int, list[tuple[int, list[int]]]] = {bucket: [] for bucket in range(BUCKETS)}
    exchange = Exchange(open_directory(str(tmp_path)))
    with SegmentWriter(exchange, "0", BUCKETS) as writer:
        for block in range(blocks):
            buckets = sorted(rng.choices([0, 1, 4], k=rng.randint(0, 20)))
            sets = [[rng.randrange(2**32) for _ in range(rng.randint(0, 3))] for _ in buckets]
            records = np.array([(len(set_), block) for set_ in sets], RECORD)
            writer.append(
                np.array(buckets, np.int64),
                records,
                np.array([value for set_ in sets for value in set_], np.uint32),
            )
            for bucket, set_ in zip(buckets, sets, strict=True):
                expected[bucket].append((block, set_))
    for bucket in range(BUCKETS):
        read = []
        wanted = bucket_of(["0"], bucket)
        for records, values in segments(exchange, wanted, RECORD):
            ends = np.cumsum(records["size"])[:-1]
            read += zip(
                records["number"].tolist(),
                [set_.tolist() for set_ in np.split(values, ends)],
                strict=True,
            )
        assert read == expected[bucket]
        found = gathered(exchange, wanted, RECORD)
        assert count(exchange, wanted, RECORD) == len(read) == len(found)
    every = gathered(exchange, [("0", 0, BUCKETS)], RECORD)
    assert len(every) == sum(map(len, expected.values()))


def test_a_truncated_file_is_an_error(tmp_path: Path) -> None:
    exchange = Exchange(open_directory(str(tmp_path)))
    with SegmentWriter(exchange, "0", 1) as writer:
        writer.append(np.zeros(9, np.int64), np.zeros(9, RECORD))
    assert count(exchange, bucket_of(["0"], 0), RECORD) == 9
    file = tmp_path / "0"
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(StageError, match=r"0 ends before byte \d+: .* --force"):
        list(segments(exchange, bucket_of(["0"], 0), RECORD))
