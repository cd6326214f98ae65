"""Crawls one by one give the same as all at once; incompatible indexes are errors."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from infra.stage import GateError, StageError
from infra.store import Artifact
from tasks.dedup.stage import STAGE, DedupParameters
from tasks.select.stage import STAGE as SELECT
from tasks.select.stage import SelectParameters
from tasks.signatures.stage import SignaturesParameters
from tests.stage_harness import run_stage
from tests.tasks.dedup.corpus import dedup_inputs, document, edited, outcomes, prose
from tests.tasks.dedup.oracle import fates

Rows = list[dict[str, Any]]
OPEN = {"largest_cluster": None, "removal_rate": None}


def three_crawls(seed: int) -> dict[str, Rows]:
    """Texts that return in later crawls, edited or not, in different lengths for `prefer`."""
    rng = random.Random(seed)
    families = [prose(rng, rng.randint(40, 150)) for _ in range(60)]
    crawls: dict[str, Rows] = {}
    for crawl in ("january", "february", "march"):
        rows = []
        for number in range(150):
            words = edited(rng, rng.choice(families), rng.choice([0, 0, 1, 3, 6]))
            words += prose(rng, rng.choice([0, 0, 5, 60]))
            rows.append(
                document(" ".join(words), crawl, f"{crawl}-{number:03d}") | {"category": "web"}
            )
        rows[7] |= {"reason": "quality.c4", "category": None}
        crawls[crawl] = rows
    return crawls


def one_by_one(
    crawls: dict[str, Rows], tmp_path: Path, part_rows: int = 40, **signed: int
) -> tuple[list[Artifact], list[Artifact], list[Any]]:
    """(dedup, select, inputs) of each crawl, with the ones before as history."""
    deduped: list[Artifact] = []
    selected: list[Artifact] = []
    given: list[Any] = []
    for crawl, rows in crawls.items():
        parameters = SignaturesParameters(**signed)
        inputs = dedup_inputs({crawl: rows}, tmp_path, part_rows=part_rows, signatures=parameters)
        deduped.append(
            run(
                inputs,
                tmp_path,
                selected,
                **{k: v for k, v in signed.items() if k in ("bands", "rows")},
            )
        )
        roles = {role: inputs[role] for role in ("documents", "signatures", "cut")} | {
            "dedup": deduped[-1]
        }
        selected.append(run_stage(SELECT, SelectParameters(), roles, crawl, tmp_path=tmp_path))
        given.append(inputs)
    return deduped, selected, given


def run(
    inputs: Any, tmp_path: Path, history: Sequence[Artifact] = (), **parameters: Any
) -> Artifact:
    chosen = DedupParameters(**{"prefer": ("length",), "gates": OPEN, **parameters})
    return run_stage(STAGE, chosen, {**inputs, "history": tuple(history)}, tmp_path=tmp_path)


@pytest.mark.parametrize("seed", [1, 2])
def test_three_crawls_one_by_one_equal_all_at_once(tmp_path: Path, seed: int) -> None:
    crawls = three_crawls(seed)
    deduped, selected, given = one_by_one(crawls, tmp_path)
    apart: dict[str, dict[str, Any]] = {}
    for dedup, inputs in zip(deduped, given, strict=True):
        apart |= outcomes(dedup, inputs)
    order = tuple((crawl,) for crawl in crawls)
    together = dedup_inputs(crawls, tmp_path / "together", part_rows=70)
    all_at_once = run(together, tmp_path / "together", crawls=order)
    at_once = outcomes(all_at_once, together)
    survivors = {id for id, row in apart.items() if row["kind"] is None}
    assert survivors == {id for id, row in at_once.items() if row["kind"] is None}
    assert {id for id, (head, _) in fates(together, 0.8, 14, 8, order).items() if head is None} | {
        f"{crawl}-007" for crawl in crawls
    } == survivors
    assert 0 < sum(dedup.statistics["near"] for dedup in deduped) == all_at_once.statistics["near"]
    assert deduped[2].statistics["history"]["documents"] == sum(
        artifact.statistics["index"]["documents"] for artifact in selected[:2]
    )
    heads = {
        row["duplicate_of"].partition("-")[0]
        for row in outcomes(deduped[2], given[2]).values()
        if row["kind"]
    }
    assert heads >= {"january", "february"}
    clusters = pq.read_table(deduped[2].path("clusters.parquet")).to_pylist()
    crawl_of = {row["representative"].partition("-")[0]: row["crawl"] for row in clusters}
    expected = {"january": selected[0].identity, "february": selected[1].identity, "march": ""}
    assert crawl_of == {crawl: expected[crawl] for crawl in heads}


def test_without_crawls_preference_decides_between_sources(tmp_path: Path) -> None:
    crawls = three_crawls(3)
    inputs = dedup_inputs(crawls, tmp_path)
    apart = run(inputs, tmp_path, crawls=(("march",), ("january",)))
    mixed = run(inputs, tmp_path)
    kept = [
        {id for id, row in outcomes(artifact, inputs).items() if row["kind"] is None}
        for artifact in (apart, mixed)
    ]
    assert kept[0] != kept[1]
    assert {id for id in kept[0] if id.startswith("march")} >= {
        id for id in kept[1] if id.startswith("march")
    }


def test_a_crawl_with_itself_in_the_history(tmp_path: Path) -> None:
    """All are removed as copies of themselves; the removal rate does not count them."""
    rng = random.Random(5)
    rows = [
        document(" ".join(prose(rng, 60)), id=f"{n:02d}") | {"category": "web"} for n in range(20)
    ]
    _, (selected,), _ = one_by_one({"web": rows}, tmp_path)
    extended = [*rows, document("a new text", id="new"), document(rows[0]["text"] + "!", id="copy")]
    inputs = dedup_inputs({"web": extended}, tmp_path / "again")
    again = run_stage(
        STAGE,
        DedupParameters(gates={"removal_rate": 0.5}),
        inputs | {"history": selected},
        tmp_path=tmp_path / "again",
    )
    outcome_of = outcomes(again, inputs)
    assert {id for id, row in outcome_of.items() if row["kind"] is None} == {"new"}
    assert all(outcome_of[row["id"]]["duplicate_of"] == row["id"] for row in rows)
    assert outcome_of["copy"] == {"duplicate_of": "00", "similarity": 1.0, "kind": "exact"}
    assert again.statistics["history"] == {"documents": 20, "repeated": 20}
    with pytest.raises(
        GateError, match=r"1 of 22 eligible documents of source 'web' would go \(4.5%\)"
    ) as stopped:
        run(inputs, tmp_path / "again", [selected], gates={"removal_rate": 0.04})
    assert "(text of an earlier crawl)" in str(stopped.value)


def test_a_crawl_that_is_rerun_passes_the_gate_again(tmp_path: Path) -> None:
    """A document removed in the first run is not in the history, so it is not a copy of itself."""
    rng = random.Random(12)
    words = [prose(rng, 60) for _ in range(20)]
    rows = [
        document(" ".join(text) + n * "!", id=f"{n}-{k:02d}")
        for n in range(2)
        for k, text in enumerate(words)
    ]
    rows = [row | {"category": "web"} for row in rows]
    _, (selected,), (inputs,) = one_by_one({"web": rows}, tmp_path)
    again = run(inputs, tmp_path / "again", [selected], gates={"removal_rate": 0.5})
    assert (
        again.statistics["history"] == {"documents": 20, "repeated": 20}
        and again.statistics["kept"] == 0
    )
    with pytest.raises(
        GateError, match=r"20 of 40 eligible documents of source 'web' would go \(50.0%\)"
    ):
        run(inputs, tmp_path / "again", [selected], gates={"removal_rate": 0.4})


def test_history_with_other_parameters_is_an_error(tmp_path: Path) -> None:
    crawls = three_crawls(6)
    _, selected, given = one_by_one({"january": crawls["january"]}, tmp_path, bands=20, rows=6)
    inputs = dedup_inputs({"march": crawls["march"]}, tmp_path)
    with pytest.raises(
        StageError,
        match=r"the index of select/january@.* was made with bands = 20, but dedup needs 14",
    ):
        run(inputs, tmp_path, selected)
    seeded = dedup_inputs(
        {"march": crawls["march"]}, tmp_path / "2", signatures=SignaturesParameters(seed=9)
    )
    _, plain, _ = one_by_one({"january": crawls["january"]}, tmp_path / "3")
    with pytest.raises(StageError, match="was made with seed = 1, but dedup needs 9"):
        run(seeded, tmp_path / "2", plain)
    roles = {role: given[0][role] for role in ("documents", "cut")} | {"dedup": plain[0]}
    bare = run_stage(
        SELECT,
        SelectParameters(heldout=None, index=False),
        roles | {"dedup": ()},
        "x",
        tmp_path=tmp_path,
    )
    with pytest.raises(
        StageError,
        match=r"select/x@.* has no index .* run its recipe again with select.index: true",
    ):
        run(inputs, tmp_path, [bare])


def test_crawls_with_unknown_sources_are_an_error(tmp_path: Path) -> None:
    inputs = dedup_inputs({"web": [document("text")]}, tmp_path)
    with pytest.raises(
        StageError, match=r"dedup.crawls names wbe, which dedup does not read; its sources are web"
    ):
        run(inputs, tmp_path, crawls=(("wbe",),))
