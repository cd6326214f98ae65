"""MinHash is unbiased, with the variance of theory, and equals datasketch; the stage's columns."""

from __future__ import annotations

import hashlib
import json
import random
import tracemalloc
from pathlib import Path

import datasketch
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from tasks.ingest import part as ingest
from tasks.ingest.stage import STAGE as INGEST
from tasks.ingest.stage import IngestParameters
from tasks.signatures.minhash import EMPTY, coefficients, minhash
from tasks.signatures.run import sign
from tasks.signatures.stage import STAGE, SignaturesParameters
from tasks.text.shingles import shingle
from tests.stage_harness import data_digests, run_stage
from tests.tasks.dedup.corpus import document, edited, jaccard, prose, tables

PERMUTATIONS = 112


def pair(rng: np.random.Generator, common: int, apart: int) -> tuple[np.ndarray, np.ndarray]:
    values = rng.integers(0, 2**64, common + 2 * apart, dtype=np.uint64)
    return values[: common + apart], np.concatenate([values[:common], values[common + apart :]])


@pytest.mark.parametrize(
    ("common", "apart"), [(1, 1), (2, 1), (20, 20), (80, 10), (400, 50), (4, 400)]
)
def test_estimate_has_no_bias_and_binomial_variance(common: int, apart: int) -> None:
    rng, trials = np.random.default_rng(common * 1000 + apart), 2_000
    a, b = coefficients(PERMUTATIONS, seed=1)
    sets = [set_ for _ in range(trials) for set_ in pair(rng, common, apart)]
    offsets = np.concatenate([[0], np.cumsum([len(set_) for set_ in sets])]).astype(np.int64)
    signatures = minhash(np.concatenate(sets), offsets, a, b)
    estimates = (signatures[::2] == signatures[1::2]).mean(axis=1)
    truth = common / (common + 2 * apart)
    deviation = (truth * (1 - truth) / PERMUTATIONS) ** 0.5
    assert abs(estimates.mean() - truth) < 4 * deviation / trials**0.5
    assert estimates.std() == pytest.approx(deviation, rel=0.1)


def test_signatures_equal_plain_integer_arithmetic() -> None:
    a, b = coefficients(16, seed=7)
    values = np.array([0, 1, 2**63, 2**64 - 1, 0x0123456789ABCDEF], dtype=np.uint64)
    signature = minhash(values, np.array([0, 5, 5]), a, b)
    for column, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        assert signature[0, column] == min((x * value + y) % 2**64 for value in values.tolist())
    assert (signature[1] == EMPTY).all()
    assert (a % 2 == 1).all()
    assert len({*a.tolist(), *b.tolist()}) == 32


def test_coefficients_are_splitmix64() -> None:
    assert (
        coefficients(1, seed=0)[0][0] == 0xE220A8397B1DCDAF
    )  # the generator's published first output, odd already
    assert (coefficients(8, seed=1)[0] != coefficients(8, seed=2)[0]).all()


def unmix(word: int) -> int:
    """Undo MurmurHash3's finaliser, which datasketch applies to its input again."""
    word ^= word >> 33
    word = word * pow(0xC4CEB9FE1A85EC53, -1, 1 << 64) % 2**64
    word ^= word >> 33
    word = word * pow(0xFF51AFD7ED558CCD, -1, 1 << 64) % 2**64
    return word ^ word >> 33


def test_signatures_equal_datasketch() -> None:
    """datasketch's scheme affine64 with our coefficients computes the same values."""
    rng = random.Random(5)
    a, b = coefficients(PERMUTATIONS, seed=1)
    ours, theirs = [], []
    for edits in range(0, 40, 2):
        words = prose(rng, 300)
        batch = shingle([" ".join(words), " ".join(edited(rng, words, edits))], 5)
        signature = minhash(batch.hashes, batch.offsets, a, b)
        sets = [np.unique(hashes) for hashes in np.split(batch.hashes, batch.offsets[1:-1])]
        for values, row in zip(sets, signature, strict=True):
            peer = datasketch.MinHash(
                num_perm=PERMUTATIONS,
                permutations=(a, b),
                scheme="affine64",
                hashfunc=lambda value: unmix(int(value)),
            )
            peer.update_batch(values)
            assert (peer.hashvalues == row).all()
        drawn = [
            datasketch.MinHash(num_perm=PERMUTATIONS, hashfunc=lambda value: int(value) >> 32)
            for _ in sets
        ]
        for sketch, values in zip(drawn, sets, strict=True):
            sketch.update_batch(values)
        ours.append((signature[0] == signature[1]).mean() - jaccard(*sets))
        theirs.append(drawn[0].jaccard(drawn[1]) - jaccard(*sets))
    assert abs(np.mean(ours)) < 0.03 and np.std(ours) < 0.06
    assert np.std(ours) < 1.5 * np.std(theirs)


def test_stage_columns(tmp_path: Path) -> None:
    texts = [
        "",
        "one",
        "...",
        "Hello, world! This is a text of nine words.",
        "hello world this is a text of nine words",
    ]
    documents = tables(
        "documents", "web", {"part-00000.parquet": [document(text) for text in texts]}, tmp_path
    )
    artifact = run_stage(
        STAGE, SignaturesParameters(), {"documents": documents}, "web", tmp_path=tmp_path
    )
    rows = pq.read_table(artifact.path("part-00000.parquet")).to_pylist()
    assert [len(row["shingle_set"]) for row in rows] == [0, 1, 0, 5, 5]
    assert [row["signature"] is None for row in rows] == [True, False, True, False, False]
    assert [row["length"] for row in rows] == [len(text) for text in texts]
    assert len(rows[1]["signature"]) == PERMUTATIONS
    assert rows[3]["text_hash"] == rows[4]["text_hash"]
    assert rows[3]["signature"] == rows[4]["signature"]
    assert len({row["text_hash"] for row in rows}) == 4
    assert artifact.statistics == {"documents": 5}


def test_stage_writes_these_bytes() -> None:
    """If the output changes on purpose, raise the stage's version, then this digest."""
    rng = random.Random(1)
    texts = [" ".join(prose(rng, 50)) for _ in range(20)] + [
        "我能吞下玻璃而不伤身体。" * 3,
        "ไม่เป็นไร 12",
        "",
    ]
    a, b = coefficients(PERMUTATIONS, seed=1)
    batch = shingle(texts, 5, 500_000)
    digest = hashlib.sha256(
        minhash(batch.hashes, batch.offsets, a, b).tobytes() + b"".join(batch.text_hashes())
    )
    assert (STAGE.version, digest.hexdigest()[:16]) == (3, "54fa9167679f2cc8")


def test_batches_do_not_change_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(2)
    rows = [document(" ".join(prose(rng, 40))) for _ in range(30)]
    documents = tables("documents", "web", {"part-00000.parquet": rows}, tmp_path)
    artifact = run_stage(
        STAGE, SignaturesParameters(), {"documents": documents}, "web", tmp_path=tmp_path
    )
    monkeypatch.setattr("tasks.text.shingles.batches.__defaults__", (500,))
    again = run_stage(
        STAGE, SignaturesParameters(), {"documents": documents}, "web", tmp_path=tmp_path / "again"
    )
    assert data_digests(artifact) == data_digests(again)


@pytest.mark.parametrize(
    "wrong", [{"shingle": 0}, {"bands": 0}, {"rows": -1}, {"seed": -1}, {"size": 5}]
)
def test_invalid_parameters_are_errors(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        SignaturesParameters(**wrong)


def test_ingest_bounds_the_text_of_a_row_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This bounds the memory of annotators and of select, which hold one row group at a time."""
    monkeypatch.setattr(ingest, "ROW_GROUP_TEXT_BYTES", 1_000)
    lines = [json.dumps({"text": f"{number:04d}" + " word" * 60}) for number in range(10)]
    (tmp_path / "long.jsonl").write_text("\n".join(lines))
    parameters = IngestParameters(format="jsonl", paths=(str(tmp_path / "long.jsonl"),))
    documents = run_stage(INGEST, parameters, {}, "web", tmp_path=tmp_path)
    signed = run_stage(
        STAGE, SignaturesParameters(), {"documents": documents}, "web", tmp_path=tmp_path
    )
    for artifact in (documents, signed):
        groups = pq.ParquetFile(artifact.path("part-00000.parquet")).metadata
        assert [groups.row_group(group).num_rows for group in range(groups.num_row_groups)] == [
            4,
            4,
            2,
        ]


def test_memory_is_a_few_times_a_row_groups_text() -> None:
    letters = np.random.default_rng(1).integers(97, 107, (16, 1_000_000), dtype=np.uint8)
    letters[:, ::6] = 32
    table = pa.table({"text": [row.tobytes().decode() for row in letters]})
    sign(SignaturesParameters(), table.slice(0, 1))
    tracemalloc.start()
    signed = sign(SignaturesParameters(), table)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert signed.num_rows == 16
    assert peak < 5 * 16_000_000
