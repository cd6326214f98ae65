"""A recipe that runs once per crawl: four turns over a folder into which crawls are dropped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from infra.engine import EngineConfig
from infra.store import Artifact, Store, operations, promotions
from tests.end_to_end.direct import run_turn
from tests.end_to_end.monthly import drops, write_recipe

INLINE = EngineConfig(kind="inline", cpu_threads=1)


@dataclass(frozen=True)
class Turns:
    """A folder with recipe, crawls and store, and what four runs returned."""

    folder: Path
    found: list[dict[str, Any]]

    @property
    def recipe(self) -> Path:
        return self.folder / "monthly.yaml"

    @property
    def store(self) -> Store:
        return Store.at(str(self.folder / "store"))


@pytest.fixture(scope="module")
def turns(tmp_path_factory: pytest.TempPathFactory) -> Turns:
    """January; nothing; February, with a third of January again; a poisoned March."""
    folder = tmp_path_factory.mktemp("loop")
    recipe = write_recipe(folder)
    return Turns(folder, [run_turn(recipe, folder / "store", INLINE) for _ in drops(folder)])


def artifact(turns: Turns, number: int, id: str) -> Artifact:
    """An artifact of a run."""
    stage, _, name = id.partition("/")
    rows = turns.found[number]["stages"]
    (version,) = [r["version"] for r in rows if (r["stage"], r["name"]) == (stage, name)]
    found = turns.store.find(stage, name, version)
    assert found is not None
    return found


def latest(turns: Turns) -> dict[str, str]:
    return {
        f"{r['stage']}/{r['name']}": r["version"]
        for r in turns.store.references()
        if r["tag"] == "latest"
    }


def versions(turns: Turns, number: int) -> dict[str, str]:
    return {f"{s['stage']}/{s['name']}": s["version"] for s in turns.found[number]["stages"]}


def card(turns: Turns, number: int) -> dict[str, Any]:
    path = artifact(turns, number, "scorecard/main").path("scorecard.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_four_turns_end_as_they_should(turns: Turns) -> None:
    first, second, third, fourth = turns.found
    assert [turn["status"] for turn in turns.found] == [
        "completed",
        "nothing new",
        "completed",
        "not promoted",
    ]
    assert second["stages"] == [] and second["run"] is None
    assert first["promotion"] == {
        "promoted": True,
        "reasons": [],
        "from": None,
        "to": first["run"],
    }
    assert third["promotion"]["from"] == first["run"]
    (reason,) = fourth["promotion"]["reasons"]
    assert reason.startswith("earlier/web (bits per byte) rose by 0.")
    assert reason.endswith("loop.may_fall allows 0.1")
    made = promotions.promotions(turns.store, "monthly")
    assert [(one.run, one.before, one.by) for one in made] == [
        (first["run"], "", "run"),
        (third["run"], first["run"], "run"),
    ]
    chain = promotions.chain(turns.store, fourth["run"])
    assert [record["run"] for record in chain] == [first["run"], third["run"], fourth["run"]]
    assert latest(turns) == versions(turns, 0) | versions(turns, 2)


def test_a_later_run_builds_on_the_promoted_one(turns: Turns) -> None:
    for number, before in ((2, 0), (3, 2)):
        for id in ("tokenizer/main", "language_model/en", "ingest/letters"):
            assert artifact(turns, number, id).version == artifact(turns, before, id).version
        (base,) = artifact(turns, number, "model/main").manifest.inputs["base"]
        assert base.identity == artifact(turns, before, "training/learn").identity
        cuts = [artifact(turns, at, "cut/main").statistics["cutoffs"] for at in (number, before)]
        assert [(c["head"], c["middle"]) for c in cuts[0]] == [
            (c["head"], c["middle"]) for c in cuts[1]
        ]
    files = [pin.name for pin in artifact(turns, 2, "ingest/web").manifest.pins["paths"]]
    assert files == ["february.jsonl"]
    history = artifact(turns, 3, "dedup/main").manifest.inputs["history"]
    assert [one.version for one in history] == [
        artifact(turns, at, "select/web").version for at in (0, 2)
    ]


def test_the_scorecard_says_what_the_crawl_changed(turns: Turns) -> None:
    february, march = card(turns, 2), card(turns, 3)
    known = february["overlap"]
    assert known["known"] == 20 and sum(known["by_crawl"].values()) == 20
    assert known["eligible"] == 60 + 30 and march["overlap"]["known"] == 0
    domains = february["domains"]
    assert domains["new"]["largest"] == [{"domain": "february.test", "documents": 40}]
    assert domains["vanished"]["largest"] == [{"domain": "january.test", "documents": 60}]
    (web,) = [row for row in february["funnel"] if row["source"] == "web"]
    assert [(step["now"], step["last"]) for step in web["steps"]] == [
        (60, 60),
        (60, 60),
        (60, 60),
        (40, 60),
    ]
    shares = {row["language"]: (row["share"], row["last_share"]) for row in march["languages"]}
    assert shares["en"][0] < 0.5 < shares["en"][1]
    rows = {row["row"]: row for row in march["scores"]}
    assert rows["heldout/web"]["fall"] == 0 and rows["heldout/web"]["limit"] is None
    assert rows["earlier/web"]["paired"] and rows["earlier/web"]["refused"]
    assert [row["row"] for row in march["scores"] if row["refused"]] == ["earlier/web"]
    drift = {row["language"]: row for row in february["perplexity"]}["en"]
    assert drift["last"]["documents"] == 60 and drift["now"]["median"] > 1
    cost = artifact(turns, 3, "scorecard/main").statistics["cost"]
    assert cost["trained_tokens"] == 16_000 and "tokenizer" not in cost["seconds"]


def test_gc_keeps_the_history_of_the_promoted_run(turns: Turns) -> None:
    doomed = {item.what for item in operations.garbage(turns.store, keep_runs=0)}
    refused = set(versions(turns, 3).items()) - set(versions(turns, 2).items())
    assert doomed == {f"{id}@{version}" for id, version in refused}


def test_the_refused_run_stays_refused_and_is_promoted_by_hand(turns: Turns) -> None:
    again = run_turn(turns.recipe, turns.folder / "store", INLINE)
    assert again["status"] == "not promoted"
    assert {stage["result"] for stage in again["stages"]} == {"hit"}
    puna = CliRunner()
    store = ["--store", str(turns.folder / "store")]
    done = puna.invoke(app, ["promote", again["run"], "--reason", "letters are fine", *store])
    assert done.exit_code == 0 and "latest -> run" in done.stdout
    made = promotions.promotions(turns.store, "monthly")[-1]
    assert (made.run, made.before, made.by, made.reason) == (
        again["run"],
        turns.found[2]["run"],
        "hand",
        "letters are fine",
    )
    assert "@" in made.who and latest(turns) == versions(turns, 0) | versions(turns, 3)
    assert run_turn(turns.recipe, turns.folder / "store", INLINE)["status"] == "nothing new"
    back = f"training/learn@{artifact(turns, 2, 'training/learn').version}"
    assert puna.invoke(app, ["promote", back, *store]).exit_code == 0
    assert promotions.promoted_run(turns.store, "monthly") == turns.found[2]["run"]
    assert latest(turns) == versions(turns, 0) | versions(turns, 2)


def test_what_was_made_is_found_while_there_are_new_files(turns: Turns) -> None:
    puna, store = CliRunner(), ["--store", str(turns.folder / "store")]
    page = puna.invoke(app, ["report", str(turns.recipe), *store])
    assert page.exit_code == 0, page.output
    assert page.stdout.strip() == turns.found[2]["report"]
    words = ["trace", str(turns.recipe), "learn", "--step", "1", "--json", *store]
    traced = puna.invoke(app, words)
    assert traced.exit_code == 0, traced.output
    found = json.loads(traced.stdout)
    assert found["artifact"] == artifact(turns, 2, "training/learn").identity and found["rows"]


def test_with_nothing_new_a_stage_of_the_promoted_run_is_planned_again(turns: Turns) -> None:
    march = turns.folder / "crawls" / "march.jsonl"
    text = march.read_bytes()
    march.unlink()
    try:
        plan = CliRunner().invoke(
            app,
            [
                *("plan", str(turns.recipe), "--store", str(turns.folder / "store"), "--json"),
                *("--only", "evaluation", "--force", "evaluation/learn"),
            ],
        )
        assert plan.exit_code == 0, plan.output
        found = json.loads(plan.stdout)
        assert found["loop"]["again"] and found["loop"]["continues"] == turns.found[0]["run"]
        rows = {f"{s['stage']}/{s['name']}": s for s in found["stages"]}
        assert {id: row["version"] for id, row in rows.items()} == versions(turns, 2)
        assert [id for id, row in rows.items() if row["result"] == "run"] == ["evaluation/learn"]
    finally:
        march.write_bytes(text)
