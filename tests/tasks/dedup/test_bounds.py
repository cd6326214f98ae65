"""Bounds: too little memory is an error, giant inputs stay cheap, a killed run resumes."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.engine.base import Inline
from infra.stage import GateError, StageError
from infra.store import Artifact
from tasks.dedup import batch, keys
from tasks.dedup import run as dedup_run
from tasks.dedup.stage import STAGE, DedupParameters
from tasks.documents.hashes import SHINGLE_SET, TEXT_HASH, parquet_options, signature_type
from tasks.duplicates import signed as signed_rows
from tests.stage_harness import data_digests, run_stage
from tests.tables import artifact
from tests.tasks.dedup.corpus import dedup_inputs, document, edited, outcomes, prose

OPEN = {"largest_cluster": None, "removal_rate": None, "saturated_band": None}


def dedup(inputs: Any, tmp_path: Path, engine: Any = None, **parameters: Any) -> Artifact:
    chosen = DedupParameters(**{"prefer": ("length",), "gates": OPEN, **parameters})
    return run_stage(STAGE, chosen, inputs, tmp_path=tmp_path, engine=engine)


def signed(
    tmp_path: Path, sets: list[np.ndarray[Any, Any]], text: list[int], band: list[int]
) -> dict[str, Any]:
    """Inputs made without text: shingle sets, a number per text, and seeds of the bands' values."""
    count = len(sets)
    hashes = np.zeros((count, 2), np.uint64)
    hashes[:, 0] = text
    rows = np.array(band, np.uint64)[:, None] + np.arange(112, dtype=np.uint64) * np.uint64(
        1_000_003
    )
    offsets = np.concatenate(([0], np.cumsum([len(set_) for set_ in sets])))
    tables = {
        "ingest": pa.table(
            {
                "id": [f"{number:032x}" for number in range(count)],
                "text": ["text"] * count,
                "prompt": [""] * count,
            }
        ),
        "signatures": pa.table(
            {
                "text_hash": pa.FixedSizeBinaryArray.from_buffers(
                    TEXT_HASH, count, [None, pa.py_buffer(hashes)]
                ),
                "signature": pa.FixedSizeListArray.from_arrays(
                    pa.array(rows.reshape(-1)), type=signature_type(112)
                ),
                "shingle_set": pa.ListArray.from_arrays(
                    pa.array(offsets, pa.int32()), pa.array(np.concatenate(sets)), type=SHINGLE_SET
                ),
                "length": pa.array(np.full(count, 4)),
            }
        ),
        "cut": pa.table({"reason": pa.nulls(count, pa.string()), "language": ["en"] * count}),
    }
    artifacts = {}
    for stage, table in tables.items():
        name = "web/part-00000.parquet" if stage == "cut" else "part-00000.parquet"
        home, source = tmp_path / "made", "main" if stage == "cut" else "web"
        artifacts[stage] = artifact(
            home, stage, source, {name: table}, **parquet_options(table.schema)
        )
    parameters = {"shingle": 5, "bands": 14, "rows": 8, "seed": 1, "text_cap": 500_000}
    artifacts["signatures"].manifest.data.update(parameters=parameters, stage_version=2)
    return {
        "documents": artifacts["ingest"],
        "signatures": artifacts["signatures"],
        "cut": artifacts["cut"],
    }


def test_a_hundred_thousand_copies_need_no_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    shingles = np.unique(rng.integers(0, 2**32, 50, dtype=np.uint32))
    inputs = signed(tmp_path, [shingles] * 100_000, [7] * 100_000, [5] * 100_000)
    built = dedup(inputs, tmp_path, memory="200M")
    monkeypatch.setattr(keys, "GROUPING_BYTES", 1_000)
    with pytest.raises(
        StageError, match=r"sorting their keys takes [0-9,]+ MB: raise dedup.memory by a factor of"
    ):
        dedup(inputs, tmp_path / "little", memory="200M")
    statistics = built.statistics
    assert (statistics["kept"], statistics["exact"], statistics["pairs_compared"]) == (1, 99_999, 0)
    (row,) = pq.read_table(built.path("clusters.parquet")).to_pylist()
    assert (row["representative"], row["size"]) == (f"{0:032x}", 100_000)


def test_thirty_thousand_unrelated_documents_in_one_band_need_few_comparisons(
    tmp_path: Path,
) -> None:
    """Half of each document is a template, and all agree in all bands: all pairs are candidates."""
    rng = np.random.default_rng(2)
    template = rng.integers(0, 2**32, 60, dtype=np.uint32)
    sets = [
        np.unique(np.concatenate([template, rng.integers(0, 2**32, 40, dtype=np.uint32)]))
        for _ in range(30_000)
    ]
    sets[-1] = sets[0]
    inputs = signed(tmp_path, sets, list(range(30_000)), [5] * 30_000)
    built = dedup(inputs, tmp_path, memory="200M")
    assert (built.statistics["kept"], built.statistics["near"]) == (29_999, 1)
    assert built.statistics["saturated_band"] == 30_000
    assert built.statistics["pairs_compared"] < 100_000  # of 450 million
    tracemalloc.start()
    again = dedup(inputs, tmp_path / "bounded", memory="60M")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data_digests(again) == data_digests(built)
    assert peak < 60_000_000  # arrays; Arrow holds a row group beside them

    class FourWorkers(Inline):
        workers = 4

    shared = dedup(
        inputs, tmp_path / "shared", FourWorkers(), memory="100M"
    )  # its index fits no worker's share
    assert data_digests(shared) == data_digests(built)
    with pytest.raises(
        StageError,
        match=r"dedup.memory is 20 MB, but 30,000 documents in one component .* need \d+ MB",
    ):
        dedup(inputs, tmp_path / "little", memory="20M")


def test_a_document_of_fifty_megabytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    words = np.array(
        ["".join(letters) for letters in rng.choice(list("abcdefghij"), (100_000, 6)).tolist()]
    )
    giant = " ".join(words[rng.integers(0, len(words), 7_300_000)].tolist())
    rows = [
        document(giant, id="giant"),
        document(giant + " more", id="more"),
        document("small", id="small"),
    ]
    assert len(giant) > 50_000_000
    inputs = dedup_inputs({"web": rows}, tmp_path)
    built = dedup(inputs, tmp_path, memory="100M")
    assert outcomes(built, inputs)["giant"]["duplicate_of"] == "more"
    assert (built.statistics["kept"], built.statistics["pairs_compared"]) == (2, 1)


def test_the_memory_for_a_row_group_of_long_documents_is_bounded(tmp_path: Path) -> None:
    """Thirty books that are near copies of one another: 36 MB of shingles in one row group."""
    rng = np.random.default_rng(6)
    book = rng.integers(0, 2**32, 300_000, dtype=np.uint32)
    sets = [
        np.unique(np.concatenate([book[number * 100 :], book[:1] + np.uint32(number)]))
        for number in range(30)
    ]
    inputs = signed(tmp_path, sets, list(range(30)), [5] * 30)
    tracemalloc.start()
    built = dedup(inputs, tmp_path, memory="20M")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (built.statistics["kept"], built.statistics["near"]) == (1, 29)
    assert peak < 20_000_000


@pytest.mark.parametrize("most", [1, 2_000, 1 << 30])
def test_shingle_sets_are_read_in_pieces_of_any_size(
    tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(7)
    sets = [
        np.unique(rng.integers(0, 2**32, size, dtype=np.uint32))
        for size in rng.integers(0, 200, 2_500)
    ]
    file = signed(tmp_path, sets, list(range(2_500)), [5] * 2_500)["signatures"].path(
        "part-00000.parquet"
    )
    monkeypatch.setattr(signed_rows, "SETS_BYTES", most)
    for rows in (
        np.arange(2_500),
        np.flatnonzero(rng.random(2_500) < 0.1),
        np.array([2_499]),
        np.arange(0),
    ):
        read = list(signed_rows.read_sets(file, rows))
        assert np.concatenate([rows[:0], *(taken for taken, _ in read)]).tolist() == rows.tolist()
        read_values = [row for _, table in read for row in table["shingle_set"].to_pylist()]
        assert read_values == [sets[row].tolist() for row in rows]
        hashes = [
            row
            for _, table in read
            for row in signed_rows.text_hashes(table["text_hash"])[:, 0].tolist()
        ]
        assert hashes == rows.tolist()


def test_too_little_memory_is_an_error_that_says_what_is_needed(tmp_path: Path) -> None:
    rows = [document(f"text {number}", id=f"{number}") for number in range(3_000)]
    inputs = dedup_inputs({"web": rows}, tmp_path)

    class ManyWorkers(Inline):
        workers = 64

    with pytest.raises(
        StageError,
        match=r"dedup.memory is 10 MB, but 3,000 documents and 64 workers need .* to \d+M or more",
    ):
        dedup(inputs, tmp_path, ManyWorkers(), memory="10M")


class Killed(Exception):
    """Raised in place of the death of the process."""


def test_a_killed_run_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(9)
    base = [prose(rng, 60) for _ in range(30)]
    rows = [
        document(" ".join(edited(rng, rng.choice(base), rng.choice([0, 1, 9]))), id=f"{n:03d}")
        for n in range(300)
    ]
    inputs = dedup_inputs({"web": rows}, tmp_path, part_rows=60)
    for name, value in {"_PARTITION_RECORDS": 2_000, "_SMALLEST_BATCH": 10}.items():
        monkeypatch.setattr(dedup_run, name, value)
    expected = data_digests(dedup(inputs, tmp_path / "whole"))
    steps = ("write_keys", "find_groups", "gather", "deal_groups", "elect_batch", "write_fates")
    done: dict[str, int] = dict.fromkeys(steps, 0)
    for name in steps:
        function = getattr(dedup_run, name)

        class Dies:
            """Runs the step three times in the whole test, then raises `Killed` once."""

            def __init__(self, name: str, function: Any) -> None:
                self.name, self.function = name, function

            def __call__(self, work: Any, shard: Any) -> Any:
                done[self.name] += 1
                if done[self.name] == 3:
                    raise Killed(self.name)
                return self.function(work, shard)

        monkeypatch.setattr(dedup_run, name, Dies(name, function))
    deaths = []
    for _ in range(len(steps) + 1):
        try:
            built = dedup(inputs, tmp_path)
        except Killed as death:
            deaths.append(str(death))
    assert deaths == list(steps)
    assert data_digests(built) == expected


def test_a_saturated_band_stops_the_stage_before_its_texts_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(4)
    sets = [np.unique(rng.integers(0, 2**32, 20, dtype=np.uint32)) for _ in range(50)]
    inputs = signed(tmp_path, sets, list(range(50)), [3] * 50)
    gates = OPEN | {"saturated_band": 40}
    with pytest.raises(GateError) as stopped, monkeypatch.context() as without:
        without.delattr(batch, "elect")
        dedup(inputs, tmp_path, gates=gates)
    message = str(stopped.value)
    assert "50 different texts agree in one band, dedup.gates.saturated_band is 40" in message
    assert f"web {0:032x}: text" in message and f"web {49:032x}: text" in message
    assert "They were not compared" in message and "dedup.accept: true" in message
    built = dedup(inputs, tmp_path, gates=gates, accept=True)
    assert built.statistics["kept"] == 50 and len(built.statistics["gates_exceeded"]) == 1
