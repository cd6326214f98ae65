"""Pairs against brute force; the same for any engine, order and kill; what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given as property_of
from hypothesis import settings
from hypothesis import strategies as st

from infra.engine import EngineConfig, start
from infra.stage import StageError
from tasks.neighbours import clusters as clustering
from tasks.neighbours import run as neighbours_run
from tasks.neighbours import work as steps
from tasks.neighbours.clusters import count_for, nearest, train
from tasks.neighbours.pairs import near, near_within
from tasks.neighbours.stage import NeighboursParameters
from tests.stage_harness import data_digests
from tests.tasks.dedup.corpus import document
from tests.tasks.semantic.vector_corpus import (
    MODEL,
    by_brute_force,
    crowds,
    given,
    neighbours,
    pairs,
    unit,
)


def equal(found: dict[tuple[int, int], float], expected: dict[tuple[int, int], float]) -> None:
    assert found.keys() == expected.keys()
    for pair, cosine in expected.items():
        assert found[pair] == pytest.approx(cosine, abs=1e-5)


def test_one_cluster_finds_what_brute_force_finds(tmp_path: Path) -> None:
    vectors = crowds(400, 8, 1)
    vectors[[7, 200]] = 0  # documents without text
    made = neighbours(tmp_path, given(tmp_path, {"web": vectors}))
    expected = by_brute_force(vectors, 0.85)
    assert 200 < len(expected) < 40_000
    equal(pairs(made), expected)
    assert made.statistics["without_vector"] == 2
    assert made.statistics["pairs"] == sum(made.statistics["histogram"]) == len(expected)
    assert sum(made.statistics["histogram"][:85]) == 0


@pytest.mark.parametrize(("clusters", "probes", "recall"), [(20, 20, 1.0), (20, 3, 0.97)])
def test_many_clusters_find_each_pair_once(
    tmp_path: Path, clusters: int, probes: int, recall: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours_run, "GROUP_DOCUMENTS", 100)  # several groups
    vectors = crowds(900, 12, 2)
    inputs = given(tmp_path, {"a": vectors[:500], "b": vectors[500:]})
    parameters = NeighboursParameters(clusters=clusters, probes=probes)
    made = neighbours(tmp_path, inputs, parameters)
    found, expected = pairs(made), by_brute_force(vectors, 0.85)
    assert len(made.files("pairs/")) == 9
    equal(found, {pair: expected[pair] for pair in found})
    assert len(found) >= recall * len(expected)
    assert made.statistics["largest_cluster"] < 900


def test_any_engine_and_any_order_of_sources_writes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours_run, "GROUP_DOCUMENTS", 100)
    vectors = crowds(600, 8, 3)
    inputs = given(tmp_path, {"a": vectors[:250], "b": vectors[250:]})
    parameters = NeighboursParameters(clusters=12)
    one = data_digests(neighbours(tmp_path / "1", inputs, parameters))
    turned = {
        role: found[::-1] if isinstance(found, list) else found for role, found in inputs.items()
    }
    with start(EngineConfig(kind="processes", workers=2, cpu_threads=1)) as two:
        assert data_digests(neighbours(tmp_path / "2", turned, parameters, engine=two)) == one


def test_a_kill_repeats_only_unfinished_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours_run, "GROUP_DOCUMENTS", 100)
    inputs = given(tmp_path, {"web": crowds(600, 8, 4)})
    parameters = NeighboursParameters(clusters=12)
    whole = data_digests(neighbours(tmp_path / "whole", inputs, parameters))
    searched: list[int] = []

    def dying(work: steps.SearchWork, shard: Any) -> Any:
        if work.group == 3 and searched.count(3) == 0:
            searched.append(3)
            raise KeyboardInterrupt
        searched.append(work.group)
        return steps.search(work, shard)

    monkeypatch.setattr(neighbours_run, "search", dying)
    monkeypatch.setattr(neighbours_run, "train_clusters", once(steps.train_clusters))
    with pytest.raises(KeyboardInterrupt):
        neighbours(tmp_path, inputs, parameters)
    assert data_digests(neighbours(tmp_path, inputs, parameters)) == whole
    assert sorted(searched) == [0, 1, 2, 3, 3, 4, 5]


def once(function: Any) -> Any:
    calls: list[int] = []

    def called(work: Any, shard: Any) -> Any:
        assert not calls, "run a second time"
        calls.append(1)
        return function(work, shard)

    return called


def test_what_cut_and_dedup_dropped_takes_no_part(tmp_path: Path) -> None:
    same = unit(np.ones((5, 8)))
    rows = [document(f"text number {n} of five", "web") for n in range(5)]
    rows[0]["reason"] = "quality.x"
    rows[2] = {**document("text number 1 of five!", "web")}  # dedup keeps one of the two
    made = neighbours(tmp_path, given(tmp_path, {"web": same}, rows={"web": rows}))
    assert made.statistics["documents"] == 3
    assert len(pairs(made)) == 3 and all(0 not in pair for pair in pairs(made))


def test_a_crowd_keeps_the_nearest_of_each_and_counts_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    vectors = unit(np.ones((60, 8)) + 0.02 * rng.standard_normal((60, 8)))
    parameters = NeighboursParameters(neighbours=5)
    made = neighbours(tmp_path, given(tmp_path, {"web": vectors}), parameters)
    found, every = pairs(made), by_brute_force(vectors, 0.85)
    assert len(every) == 60 * 59 // 2 and len(found) <= 60 * 5
    for row in range(50):
        own = sorted((-cosine, other) for (one, other), cosine in every.items() if one == row)[:5]
        assert {(row, other) for _, other in own} <= found.keys()
    assert made.statistics["saturated"] == 55


def test_nothing_to_compare_is_no_error(tmp_path: Path) -> None:
    made = neighbours(tmp_path, given(tmp_path, {"web": np.zeros((3, 8), np.float32)}))
    assert made.statistics["pairs"] == 0 and made.statistics["without_vector"] == 3
    assert not made.files("pairs/")


def test_vectors_of_two_models_are_refused(tmp_path: Path) -> None:
    inputs = given(tmp_path, {"a": crowds(5, 8, 1)})
    more = given(tmp_path / "b", {"b": crowds(5, 8, 2)}, model={**MODEL, "fingerprint": "g"})
    for role in ("documents", "signatures", "embeddings"):
        inputs[role] = [*inputs[role], *more[role]]
    inputs["cut"] = given(tmp_path / "c", {"a": crowds(5, 8, 1), "b": crowds(5, 8, 2)})["cut"]
    inputs["dedup"] = given(tmp_path / "c", {"a": crowds(5, 8, 1), "b": crowds(5, 8, 2)})["dedup"]
    with pytest.raises(StageError, match=r"fingerprint g and f\), and vectors of different models"):
        neighbours(tmp_path, inputs)


def test_a_vector_that_is_no_number_is_refused(tmp_path: Path) -> None:
    vectors = crowds(5, 8, 1)
    vectors[3, 2] = np.nan
    with pytest.raises(StageError, match="the vector of row 3 is not finite"):
        neighbours(tmp_path, given(tmp_path, {"web": vectors}))


@settings(max_examples=30, deadline=None)
@property_of(st.integers(2, 80), st.integers(1, 40), st.integers(0, 10_000))
def test_blocks_do_not_show(count: int, others: int, seed: int) -> None:
    vectors = crowds(count + others, 6, seed).astype(np.float16)
    expected = by_brute_force(vectors, 0.8)
    found = near_within(vectors, 0.8, 1_000)
    assert set(zip(found.query.tolist(), found.other.tolist(), strict=True)) == set(expected)
    across = near(vectors[:count], vectors[count:], 0.8, 1_000)
    assert {(int(q), int(o) + count) for q, o in zip(across.query, across.other, strict=True)} == {
        pair for pair in expected if pair[0] < count <= pair[1]
    }


def test_clusters_are_those_of_lloyds_rounds() -> None:
    """Against k-means written plainly, in float64."""
    sample = crowds(300, 6, 7)
    centroids = sample[:9].astype(np.float64)
    for _ in range(clustering.ROUNDS):
        labels = (sample @ centroids.T).argmax(axis=1)
        sums = np.array([sample[labels == c].sum(axis=0) for c in range(9)])
        centroids = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    found = train(sample, 9)
    np.testing.assert_allclose(found, centroids, atol=1e-4)
    probed = nearest(sample, found, 3)
    assert (probed == np.argsort(-(sample @ found.T), axis=1, kind="stable")[:, :3]).all()
    assert train(sample[:3], 9).shape == (3, 6)
    assert (count_for(100, None), count_for(10_000, None), count_for(5, 9)) == (1, 100, 5)
