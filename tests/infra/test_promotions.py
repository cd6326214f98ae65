"""Promotions: recorded, found again, continued; tags follow them, also after a kill."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.running.promotion import conclude, settle
from infra.engine.base import Inline
from infra.stage import StageError
from infra.store import Artifact, Damaged, Store, operations, promotions
from tests.stage_harness import run_stage
from tests.toy import TOY, ToyParameters


def built(folder: Path, word: int) -> Artifact:
    return run_stage(TOY, ToyParameters(word=f"w{word}"), tmp_path=folder, engine=Inline())


def write_run(store: Store, run: str, artifact: Artifact, **more: Any) -> dict[str, Any]:
    stage = {"stage": artifact.stage, "name": artifact.name, "version": artifact.version}
    record: dict[str, Any] = {
        "run": run,
        "recipe": "r",
        "status": "completed",
        "owner": {"host": "h", "pid": 1},
        "stages": [stage | {"result": "built"}],
    }
    store.write_run(run, record | more)
    return record | more


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(str(tmp_path / "store"))


def test_the_newest_promotion_counts_and_the_chain_leads_back(tmp_path: Path, store: Store) -> None:
    assert promotions.promoted_run(store, "r") is None and not promotions.chain(store, None)
    one, two, aside = (built(tmp_path, word) for word in (1, 2, 3))
    write_run(store, "first", one)
    write_run(store, "second", two, continues="first")
    write_run(store, "refused", aside, continues="first", status="not promoted")
    promotions.promote(store, "r", "first", [one])
    promotions.promote(store, "r", "second", [two], by="hand", reason="looked at it")
    promotions.move_tag(store, "r", one, "released")
    assert promotions.promoted_run(store, "r") == "second"
    assert [record["run"] for record in promotions.chain(store, "second")] == ["first", "second"]
    assert [(p.run, p.before, p.by) for p in promotions.promotions(store, "r")] == [
        ("first", "", "run"),
        ("second", "first", "hand"),
    ]
    assert store.reference("r", "toy", "main") == two.version
    (moved,) = store.root.files("promotions/r/tags/")
    assert {"tag": "released", "to": one.version, "from": ""}.items() <= store.root.read_json(
        moved
    ).items()
    doomed = {item.what for item in operations.garbage(store, keep_runs=0)}
    assert doomed == {aside.identity}  # the first run has no tag, but the second builds on it
    promotions.promote(store, "r", "first", [one])
    assert promotions.promoted_run(store, "r") == "first"


def test_tags_that_a_kill_left_behind_are_set_by_the_next_run(tmp_path: Path, store: Store) -> None:
    one, two = built(tmp_path, 1), built(tmp_path, 2)
    write_run(store, "first", one)
    promotions.promote(store, "r", "first", [one])
    write_run(store, "second", two, status="crashed")
    promotions.promote(store, "r", "second", [])  # killed before it moved a tag
    assert store.reference("r", "toy", "main") == one.version
    settle(store, "r")
    assert store.reference("r", "toy", "main") == two.version
    assert promotions.run_record(store, "second")["status"] == "completed"


def test_what_is_missing_or_damaged_is_named(tmp_path: Path, store: Store) -> None:
    one = built(tmp_path, 1)
    record = write_run(store, "first", one, continues="gone")
    with pytest.raises(StageError, match="no record of run gone"):
        promotions.chain(store, "first")
    one.home.remove()
    with pytest.raises(StageError, match=f"1 artifacts that are not in the store.*{one.version}"):
        promotions.artifacts_of(store, record)
    store.root.replace("promotions/r/20260101T000000Z-first.json", json.dumps({"run": 1}).encode())
    with pytest.raises(Damaged, match="the promotion before it"):
        promotions.promoted_run(store, "r")
    assert "20260101T000000Z-first.json is damaged" in next(iter(store.damaged_records()))


def test_of_two_runs_at_once_that_made_the_same_neither_is_refused(
    tmp_path: Path, store: Store
) -> None:
    one, other = built(tmp_path, 1), built(tmp_path, 2)
    asks = SimpleNamespace(selection=SimpleNamespace(pins=()))
    turn = SimpleNamespace(continues=None, again=False)  # both began before any was promoted
    prepared: Any = SimpleNamespace(
        store=store,
        recipe=SimpleNamespace(name="r"),
        turn=turn,
        request=asks,
        plan=SimpleNamespace(steps={}),
    )
    write_run(store, "first", one)
    write_run(store, "second", one)
    first = conclude(prepared, {"toy/main": one}, "first")
    second = conclude(prepared, {"toy/main": one}, "second")
    assert first is not None and first.promoted
    assert second is not None and not second.promoted and not second.refused
    assert second.reasons == ("run first, beside this one, made the same",)
    third = conclude(prepared, {"toy/main": other}, "third")
    assert third is not None and third.refused and "was promoted while this one ran" in str(third)
    assert promotions.promoted_run(store, "r") == "first"
