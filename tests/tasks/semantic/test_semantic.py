"""The election against its definition; order, history, gates, and what the report is given."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given as property_of
from hypothesis import strategies as st

from flows.inspecting.fate import fates
from infra.engine import EngineConfig, start
from infra.stage import GateError, StageError
from infra.store import Artifact
from tasks.documents.keep import ScoreKeep
from tasks.duplicates.preferences import Limits
from tasks.select.stage import STAGE as SELECT
from tasks.select.stage import SelectParameters
from tasks.semantic.elect import elect
from tasks.semantic.stage import STAGE, SemanticParameters
from tests.stage_harness import data_digests, run_stage
from tests.tasks.dedup.corpus import document, outcomes
from tests.tasks.semantic.vector_corpus import MODEL, Inputs, crowds, given, neighbours, unit


def parameters(keep: str = "<0.9", **changes: Any) -> SemanticParameters:
    return SemanticParameters(keep=ScoreKeep.model_validate(keep), **changes)


def deduplicated(
    tmp_path: Path, inputs: Inputs, stated: SemanticParameters | None = None, **options: Any
) -> Artifact:
    searched = inputs.get("neighbours") or neighbours(tmp_path, inputs)
    roles = [role.name for role in STAGE.inputs]
    chosen = {name: found for name, found in inputs.items() if name in roles}
    return run_stage(
        STAGE,
        stated or parameters(),
        {**chosen, "neighbours": searched},
        tmp_path=tmp_path,
        **options,
    )


def by_definition(vectors: np.ndarray[Any, Any], order: list[int], limit: float) -> dict[int, int]:
    """Removed -> the first kept document in `order` that is near enough."""
    stored = unit(vectors.astype(np.float16).astype(np.float64)).astype(np.float64)
    cosines = stored @ stored.T
    kept: list[int] = []
    removed: dict[int, int] = {}
    for row in order:
        near = [other for other in kept if cosines[row, other] >= limit]
        if near:
            removed[row] = near[0]
        else:
            kept.append(row)
    return removed


def test_trace_tells_the_fate_by_dedup_and_by_semantic(tmp_path: Path) -> None:
    texts = {"web": [document(f"text number {n} of all these", "web") for n in (0, 0, 1, 2, 3)]}
    texts["web"][1]["id"] = f"{1:032x}"  # the copy of the first goes by dedup
    vectors = np.eye(5, 8, dtype=np.float32)
    vectors[3:4] = unit(vectors[2:3] + 0.1 * vectors[3:4])
    inputs = given(tmp_path, {"web": vectors}, rows=texts)
    made = deduplicated(tmp_path, inputs)
    whole = (inputs["cut"], inputs["dedup"], made)
    artifacts = {f"{one.stage}/main": one for one in whole}
    artifacts["ingest/web"] = inputs["documents"][0]

    def told(row: int) -> dict[str, tuple[str, str]]:
        (fate,) = fates(artifacts, texts["web"][row]["id"])
        return {one.artifact.partition("/")[0]: (one.fate, one.what) for one in fate.told}

    of_dedup = [told(row)["dedup"] for row in (0, 1)]
    assert sorted(fate for fate, _ in of_dedup) == ["dropped", "kept"]
    assert ("kept", "stands for 1 that were dropped") in of_dedup
    assert any(what.startswith("exact: similarity 1.000 to ") for _, what in of_dedup)
    gone = next(row for row in (0, 1) if told(row)["dedup"][0] == "dropped")
    assert "semantic" not in told(gone)
    by_vectors = {told(row)["semantic"][0]: (row, told(row)["semantic"][1]) for row in (2, 3)}
    stays, goes = by_vectors["kept"], by_vectors["dropped"]
    assert stays[1] == "stands for 1 that were dropped"
    assert goes[1] == f"near: cosine 0.995 to {texts['web'][stays[0]]['id']}"
    assert told(4)["semantic"] == ("kept", "no other was dropped for it")
    artifacts["semantic/main"] = inputs["signatures"][0]  # without files of this source
    (fate,) = fates(artifacts, texts["web"][4]["id"])
    assert fate.told[-1].what == "compares no document of this source (semantic.without)"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_election_is_its_definition(tmp_path: Path, seed: int) -> None:
    vectors = crowds(300, 6, seed, spread=0.35)
    rng = random.Random(seed)
    rows = [
        document(f"text {n}", "web") | {"perplexity": rng.choice([None, rng.uniform(1, 9)])}
        for n in range(300)
    ]
    inputs = given(tmp_path, {"web": vectors}, rows={"web": rows})
    made = deduplicated(tmp_path, inputs, parameters(prefer=("-perplexity",)))
    order = sorted(range(300), key=lambda n: (rows[n]["perplexity"] or float("inf"), rows[n]["id"]))
    expected = by_definition(vectors, order, 0.9)
    fates = outcomes(made, inputs)
    ids = [row["id"] for row in rows]
    found = {ids.index(id_): fate for id_, fate in fates.items() if fate["kind"]}
    assert {row: ids.index(fate["duplicate_of"]) for row, fate in found.items()} == expected
    assert 20 < len(expected) < 280
    assert all(fate["kind"] == "near" and fate["similarity"] >= 0.9 for fate in found.values())
    assert made.ledger.documents("dropped", "semantic.near") == len(expected)
    assert made.ledger.documents("kept") == 300 - len(expected)


@property_of(st.integers(1, 40), st.integers(0, 200), st.integers(0, 10_000))
def test_the_loop_is_the_definition(count: int, edges: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    near = {
        tuple(sorted(rng.choice(count, 2, replace=False))) for _ in range(edges if count > 1 else 0)
    }
    settled = rng.random(count) < 0.2
    ends = rng.permutation(np.array(sorted(near), np.int32).reshape(-1, 2))
    one, other = (np.ascontiguousarray(column) for column in ends.T)
    representative, _ = elect(one, other, np.ones(len(ends), np.float32), settled)
    kept: list[int] = []
    for rank in range(count):
        before = [other for other in kept if (other, rank) in near]
        if before and not settled[rank]:
            assert representative[rank] == before[0]
        else:
            assert representative[rank] == rank
            kept.append(rank)


def test_a_changed_threshold_reads_the_same_pairs(tmp_path: Path) -> None:
    vectors = crowds(200, 6, 4)
    inputs = given(tmp_path, {"web": vectors})
    inputs["neighbours"] = neighbours(tmp_path, inputs)
    counts = [
        deduplicated(tmp_path, inputs, parameters(keep)).ledger.documents("dropped")
        for keep in ("<0.85", "<0.9", "<0.97", "<=1")
    ]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[2] > counts[3] == 0


def test_any_engine_writes_the_same(tmp_path: Path) -> None:
    vectors = crowds(250, 6, 5)
    inputs = given(tmp_path, {"a": vectors[:150], "b": vectors[150:]})
    one = data_digests(deduplicated(tmp_path / "1", inputs))
    with start(EngineConfig(kind="processes", workers=2, cpu_threads=1)) as two:
        assert data_digests(deduplicated(tmp_path / "2", inputs, engine=two)) == one


def selected(tmp_path: Path, inputs: Inputs, made: Artifact) -> Artifact:
    roles = ("documents", "signatures", "embeddings")
    chosen: Inputs = {role: inputs[role][0] for role in roles}
    chosen |= {"cut": inputs["cut"], "dedup": inputs["dedup"], "semantic": made}
    return run_stage(SELECT, SelectParameters(heldout=None), chosen, "web", tmp_path=tmp_path)


def test_later_crawls_are_compared_with_what_survived(tmp_path: Path) -> None:
    rows = [document(f"text {n}", "web") | {"category": "web"} for n in range(120)]
    vectors = crowds(120, 6, 6)
    first = given(tmp_path, {"web": vectors[:60]}, rows={"web": rows[:60]})
    crawl = selected(tmp_path, first, deduplicated(tmp_path, first))
    survivors = crawl.statistics["index"]["documents"]
    assert crawl.statistics["index"]["vectors"]["fingerprint"] == "f"
    lengths = [
        pq.read_metadata(crawl.path(name)).num_rows
        for prefix in ("index/part-", "index/vectors/part-")
        for name in crawl.files(prefix)
    ]
    assert survivors < 60 and lengths == [survivors, survivors]
    second = given(tmp_path / "2", {"web": vectors[60:]}, rows={"web": rows[60:]}, history=[crawl])
    later = deduplicated(tmp_path / "2", second)
    # As one run over both crawls, the first one before the second.
    both = given(
        tmp_path / "3",
        {"one": vectors[:60], "two": vectors[60:]},
        rows={
            "one": [{**row, "source": "one"} for row in rows[:60]],
            "two": [{**row, "source": "two"} for row in rows[60:]],
        },
    )
    together = deduplicated(tmp_path / "3", both, parameters(crawls=(("one",), ("two",))))
    kept = {id_ for id_, fate in outcomes(together, both).items() if fate["kind"] is None}
    in_turn = set(pq.read_table(crawl.path("index/part-00000.parquet"))["id"].to_pylist())
    in_turn |= {id_ for id_, fate in outcomes(later, second).items() if fate["kind"] is None}
    assert in_turn == kept
    assert later.statistics["history"]["documents"] == survivors


def test_history_of_another_model_or_without_vectors_is_refused(tmp_path: Path) -> None:
    rows = [document(f"text {n}", "web") | {"category": "web"} for n in range(20)]
    other = {**MODEL, "model": "other", "fingerprint": "x"}
    first = given(tmp_path, {"web": crowds(20, 6, 1)}, rows={"web": rows}, model=other)
    crawl = selected(tmp_path, first, deduplicated(tmp_path, first))
    later = given(tmp_path / "2", {"web": crowds(20, 6, 2)}, history=[crawl])
    words = r"index of select/web@\w+ has vectors of other, but embeddings/web@\w+ has .* a-model"
    with pytest.raises(StageError, match=words):
        neighbours(tmp_path / "2", later)
    plain = {role: first[role][0] for role in ("documents", "signatures")}
    plain |= {"cut": first["cut"], "dedup": first["dedup"]}
    without = run_stage(SELECT, SelectParameters(heldout=None), plain, "web", tmp_path=tmp_path)
    later = given(tmp_path / "3", {"web": crowds(20, 6, 2)}, history=[without])
    with pytest.raises(StageError, match="has no vectors in its index"):
        neighbours(tmp_path / "3", later)


def test_gates_stop_with_texts_and_can_be_accepted(tmp_path: Path) -> None:
    inputs = given(tmp_path, {"web": unit(np.ones((30, 6)))})
    inputs["neighbours"] = neighbours(tmp_path, inputs)
    words = (
        "29 of 30 eligible documents of source 'web' would go (96.7%), "
        "semantic.gates.removal_rate is 75.0%"
    )
    with pytest.raises(GateError, match=re.escape(words)) as stopped:
        deduplicated(tmp_path, inputs)
    assert "web text number" in str(stopped.value) and "semantic.accept" in str(stopped.value)
    made = deduplicated(tmp_path, inputs, parameters(accept=True))
    assert made.statistics["gates_exceeded"] == [words]
    open_gates = parameters(gates=Limits(removal_rate=None))
    assert deduplicated(tmp_path, inputs, open_gates).statistics["near"] == 29


def test_examples_show_both_texts_on_both_sides_of_the_limit(tmp_path: Path) -> None:
    made = deduplicated(tmp_path, given(tmp_path, {"web": crowds(200, 6, 8)}))
    examples = made.statistics["examples"]
    removed, kept = ([one["similarity"] for one in examples[side]] for side in ("removed", "kept"))
    assert removed == sorted(removed) and min(removed) >= 0.9
    assert kept == sorted(kept, reverse=True) and 0.85 <= max(kept) < 0.9
    one, other = (document["text"] for document in examples["removed"][0]["texts"])
    assert one.startswith("web text number") and other.startswith("web text number")
    assert one != other


@pytest.mark.parametrize("keep", [">0.9", "<0", "<1.5"])
def test_a_keep_that_keeps_what_is_near_is_refused(keep: str) -> None:
    with pytest.raises(ValueError, match="does not keep what is far from others"):
        parameters(keep)
