"""The stage against its definition: brute force, chains, templates, odd documents."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.engine import EngineConfig, start
from infra.store import Artifact
from tasks.dedup import run as dedup_run
from tasks.dedup.stage import STAGE, DedupParameters
from tasks.signatures.stage import SignaturesParameters
from tests.stage_harness import data_digests, run_stage
from tests.tasks.dedup.corpus import dedup_inputs, document, edited, outcomes, prose
from tests.tasks.dedup.oracle import fates, unjustified

OPEN = {"largest_cluster": None, "removal_rate": None, "saturated_band": None}


def dedup(
    inputs: dict[str, Any], tmp_path: Path, engine: Any = None, **parameters: Any
) -> Artifact:
    chosen = DedupParameters(**{"prefer": ("length",), "gates": OPEN, **parameters})
    return run_stage(STAGE, chosen, inputs, tmp_path=tmp_path, engine=engine)


def found(artifact: Artifact, inputs: dict[str, Any]) -> dict[str, tuple[str | None, float | None]]:
    return {
        id: (row["duplicate_of"], row["similarity"])
        for id, row in outcomes(artifact, inputs).items()
    }


TEXTS = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "d", "..."]), max_size=7).map(" ".join), max_size=14
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.tuples(TEXTS, TEXTS, TEXTS),
    st.sampled_from([0.3, 0.5, 2 / 3, 0.8, 1.0]),
    st.sampled_from([(), (("b",), ("a",)), (("c", "a"),)]),
    st.integers(1, 5),
)
def test_the_stage_follows_the_definition(
    texts: tuple[list[str], ...], verify: float, crawls: tuple[tuple[str, ...], ...], part_rows: int
) -> None:
    signed = SignaturesParameters(shingle=2, bands=5, rows=2)
    sources = {
        source: [document(text, source, f"{source}{number}") for number, text in enumerate(listed)]
        for source, listed in zip("abc", texts, strict=True)
    }
    with tempfile.TemporaryDirectory() as folder:
        inputs = dedup_inputs(sources, Path(folder), part_rows=part_rows, signatures=signed)
        artifact = dedup(
            inputs, Path(folder), shingle=2, bands=5, rows=2, verify=verify, crawls=crawls
        )
        expected = fates(inputs, verify, 5, 2, crawls)
        assert {id: head for id, (head, _) in found(artifact, inputs).items()} == {
            id: head for id, (head, _) in expected.items()
        }
        for id, (_, similarity) in found(artifact, inputs).items():
            assert similarity == pytest.approx(expected[id][1])


@pytest.fixture(scope="module")
def mixed() -> dict[str, list[dict[str, Any]]]:
    """Three sources: near and exact copies, a template in unrelated documents, odd ones."""
    rng = random.Random(11)
    template = prose(rng, 120)
    rows: dict[str, list[dict[str, Any]]] = {"a": [], "b": [], "c": []}
    for number in range(120):
        words = prose(rng, rng.randint(20, 150))
        if number % 3 == 0:
            words = template + words[:60]
        for copy in range(rng.choice([1, 1, 2, 5])):
            source = rng.choice("abc")
            text = " ".join(edited(rng, words, rng.choice([0, 1, 2, 4])))
            rows[source].append(
                document(rng.choice([text, text.title() + " !"]), source, f"{number}-{copy}")
            )
    rows["a"] += [
        document(text, "a", f"odd-{number}")
        for number, text in enumerate(["", "one", "...", "", "One!"])
    ]
    return rows


def test_order_sharding_workers_memory_and_partitions_change_nothing(
    tmp_path: Path, mixed: dict[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = dedup_inputs(mixed, tmp_path / "0")
    artifact = dedup(inputs, tmp_path / "0", crawls=(("b",),))
    expected, digests = outcomes(artifact, inputs), data_digests(artifact)
    assert unjustified(artifact, inputs, 0.8) == []
    assert {id: head for id, (head, _) in fates(inputs, 0.8, 14, 8, (("b",),)).items()} == {
        id: row["duplicate_of"] for id, row in expected.items()
    }
    assert sum(row["kind"] == "near" for row in expected.values()) > 20
    for number, part_rows in enumerate((13, 50), 1):
        rng = random.Random(number)
        shuffled = {source: rng.sample(rows, len(rows)) for source, rows in reversed(mixed.items())}
        given_ = dedup_inputs(shuffled, tmp_path / str(number), part_rows=part_rows)
        again = dedup(given_, tmp_path / str(number), crawls=(("b",),))
        assert outcomes(again, given_) == expected
        assert data_digests(again)["clusters.parquet"] == digests["clusters.parquet"]
    with start(EngineConfig(kind="processes", workers=2)) as engine:
        assert data_digests(dedup(inputs, tmp_path / "w", engine, crawls=(("b",),))) == digests
    assert data_digests(dedup(inputs, tmp_path / "m", crawls=(("b",),), memory="10M")) == digests
    for name, value in {
        "_PARTITION_RECORDS": 500,
        "_SMALLEST_BATCH": 1,
        "_WANTED_BATCHES": 1_000,
    }.items():
        monkeypatch.setattr(dedup_run, name, value)
    small = dedup(inputs, tmp_path / "p", crawls=(("b",),))
    assert data_digests(small) == digests
    assert small.statistics == artifact.statistics


def test_a_chain_does_not_collapse(tmp_path: Path) -> None:
    """A~B~C~...~Z: neighbours are similar, the ends have nothing in common."""
    rng = random.Random(4)
    words = prose(rng, 5_000)
    texts = [" ".join(words[start : start + 400]) for start in range(0, 1_200, 30)]
    inputs = dedup_inputs(
        {"web": [document(text, id=f"{n:02d}") for n, text in enumerate(texts)]}, tmp_path
    )
    artifact = dedup(inputs, tmp_path)
    assert (
        artifact.statistics["candidate_documents"] == 40 and artifact.statistics["kept"] >= 40 / 3
    )
    assert unjustified(artifact, inputs, 0.8) == []
    assert found(artifact, inputs) == {
        id: (head, pytest.approx(similarity))
        for id, (head, similarity) in fates(inputs, 0.8, 14, 8).items()
    }


def test_unrelated_documents_that_share_a_template_survive(tmp_path: Path) -> None:
    """Agreeing in a band is not similarity: marin lost a median of 76 % of its sources so."""
    rng = random.Random(5)
    template = prose(rng, 330)
    rows = [
        document(" ".join([*template, *prose(rng, 90)]), id=f"{number:04d}")
        for number in range(3_500)
    ]
    rows += [document(row["text"] + " more", id=f"copy-{row['id']}") for row in rows[:50]]
    inputs = dedup_inputs({"web": rows}, tmp_path)
    artifact = dedup(inputs, tmp_path)
    statistics = artifact.statistics
    assert statistics["kept"] == 3_500 and statistics["near"] == 50
    assert statistics["saturated_band"] > 100
    assert (
        statistics["candidate_documents"] > 3_000
    )  # nearly all in one component, which union-find would remove
    assert statistics["pairs_compared"] < 100_000  # of 6 million
    assert unjustified(artifact, inputs, 0.8) == []


def test_odd_documents(tmp_path: Path) -> None:
    rows = [
        document(text, id=f"{n:02d}")
        for n, text in enumerate(["", "...", "", "?!", "word", "Word!", "一", "一", "👍"])
    ]
    inputs = dedup_inputs({"web": rows}, tmp_path)
    heads = {
        id: head for id, (head, _) in found(dedup(inputs, tmp_path, prefer=()), inputs).items()
    }
    assert {id: head for id, head in heads.items() if head} == {"02": "00", "05": "04", "07": "06"}


def test_ten_thousand_copies_are_one_group(tmp_path: Path) -> None:
    rows = [
        document("the very same text again and again", id=f"{number:05d}")
        for number in range(10_000)
    ]
    inputs = dedup_inputs({"web": rows}, tmp_path)
    artifact = dedup(inputs, tmp_path)
    assert artifact.statistics["kept"] == 1 and artifact.statistics["pairs_compared"] == 0
    (row,) = pq.read_table(artifact.path("clusters.parquet")).to_pylist()
    assert (row["representative"], row["size"], row["exact"], len(row["members"])) == (
        "00000",
        10_000,
        9_999,
        1_000,
    )
    assert [member["id"] for member in row["members"][:2]] == ["00001", "00002"]
