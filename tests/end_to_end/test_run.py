"""The small recipe from crawl to report, through the real command and flow: what it says, shows and
stores.
"""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from flows.monitoring.flow_runs import short_name
from tests.end_to_end.fixtures import PLANTED, PLANTED_SECRET, Puna, SmallRun

pytestmark = pytest.mark.timeout(
    900
)  # the whole runs behind a first test take minutes on a busy machine

STAGE_KEYS = {"stage", "name", "version", "result", "why", "seconds", "path"}


def test_the_json_object_is_that_of_the_design(small_run: SmallRun) -> None:
    result = small_run.done.json
    *before, last = result
    assert before == ["run", "recipe", "status", "stages", "places", "report", "scores", "changes"]
    assert last == "notes"
    assert result["recipe"] == "small" and result["status"] == "completed"
    assert all(set(stage) == STAGE_KEYS for stage in result["stages"])
    assert all(
        stage["result"] == "built" and Path(stage["path"]).is_dir() for stage in result["stages"]
    )
    assert "Loss" in Path(result["report"]).read_text(encoding="utf-8")
    assert list(result["scores"]) == ["first", "second"]
    assert 0 <= result["scores"]["second"]["quiz-en"]["acc"] <= 1
    before, after = (
        result["scores"][model]["heldout/web-zh"]["bits_per_byte"] for model in ("first", "second")
    )
    assert after < before


def test_a_secret_of_the_environment_is_written_nowhere(puna: Puna, small_run: SmallRun) -> None:
    """Not into the store with its logs, reports and TensorBoard files, nor Prefect's database."""
    run = small_run.done.json["run"].encode()
    told = small_run.done.stdout + small_run.done.stderr
    assert PLANTED_SECRET not in told and puna.environment.items() >= PLANTED.items()
    with_run, names = set(), set()
    for place in (small_run.url, puna.home):
        for file in place.rglob("*"):
            if file.is_file() and not file.is_symlink():
                content = file.read_bytes()
                assert PLANTED_SECRET.encode() not in content, file
                names.add(file.name)
                with_run |= {file.name.partition(".")[0]} if run in content else set()
    assert {"manifest", "prefect"} <= with_run  # that is where it would be
    assert any("tfevents" in name for name in names)


WITHOUT_DOCUMENTS = {"language_model", "tokenizer", "model", "training", "evaluation", "report"}


def test_every_ledger_balances_and_funnels_into_the_next(small_run: SmallRun) -> None:
    kept: Counter[str] = Counter()
    for id, artifact in small_run.artifacts().items():
        ledger = artifact.manifest.data["ledger"]
        assert (ledger is None) == (artifact.stage in WITHOUT_DOCUMENTS), id
        for row in (ledger or {"rows": []})["rows"]:
            for unit, sides in row["totals"].items():
                assert sides.get("read", 0) == sum(
                    n for side, n in sides.items() if side != "read"
                ), (id, unit, row)
            if row["source"] == "crawl":
                kept[artifact.stage] += row["totals"]["documents"].get("kept", 0)
    assert (
        kept["ingest"]
        == kept["langid"]
        == kept["quality"]
        > kept["cut"]
        > kept["dedup"]
        == kept["select"]
        > 0
    )


def test_what_a_filter_should_drop_was_dropped_with_its_reason(small_run: SmallRun) -> None:
    reasons = {
        (artifact.stage, reason["reason"])
        for artifact in small_run.artifacts().values()
        for row in (artifact.manifest.data["ledger"] or {"rows": []})["rows"]
        for reason in row["reasons"]
        if reason["side"] in ("dropped", "failed")
    }
    assert {
        ("cut", "langid.language"),
        ("cut", "decontaminate.quiz-en"),
        ("cut", "decontaminate.quiz-zh"),
    } <= reasons
    assert {("dedup", "exact"), ("dedup", "near")} <= {
        (s, r.removeprefix("dedup.")) for s, r in reasons
    }
    assert any(stage == "ingest" and "gzip" in reason for stage, reason in reasons), reasons


def test_the_dashboard_has_one_flow_run_per_built_stage(puna: Puna, small_run: SmallRun) -> None:
    runs = {run["name"]: run for run in puna.flow_runs()}
    called = short_name(small_run.done.json["run"])
    for stage in small_run.done.json["stages"]:
        run = runs[f"{called}: {stage['stage']}/{stage['name']}"]
        assert run["state"]["type"] == "COMPLETED"
        assert run["parameters"]["version"] == stage["version"]
        assert {"small", stage["stage"]} == set(run["tags"])
    with urllib.request.urlopen(
        f"{puna.api_url.removesuffix('/api')}/ui-settings", timeout=20
    ) as answer:
        assert json.load(answer)["api_url"] == puna.api_url, (
            "the pages ask their own server, whatever its port"
        )
    assert (
        runs[called]["state"]["type"] == "COMPLETED"
        and small_run.store.runs()[0]["status"] == "completed"
    )
