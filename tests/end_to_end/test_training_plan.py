"""Phases in every unit, from the recipe through `puna plan` to the steps that are trained."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from infra.engine import EngineConfig
from infra.store import Artifact
from tests.end_to_end.direct import run_direct
from tests.end_to_end.world import jsonl, paragraph

pytestmark = pytest.mark.timeout(900)

PEAK = 3e-3
PHASES: list[dict[str, Any]] = [
    {
        "name": "ramped",
        "tokens": "6 steps",
        "batch": {"from": "4 rows", "to": "12 rows"},
        "mixture": {"en": {"from": 0, "to": 0.5, "over": "3 steps"}, "zh": "rest"},
    },
    {"name": "short", "tokens": "10 rows", "batch": "2 rows", "mixture": {"en": 0.5, "zh": "rest"}},
    {"name": "repeats", "mixture": {"en": {"epochs": 1.5}, "zh": {"epochs": 1.1}}},
    {
        "name": "longer",
        "tokens": "0.5 epochs",
        "sequence_length": 64,
        "context": {"positions": 256, "rope": {"type": "linear"}},
        "mixture": {"buckets": ["en"]},
    },
]


def recipe(folder: Path, **training: Any) -> Path:
    """Write the recipe beside its texts."""
    rng = random.Random(3)
    for language in ("en", "zh"):
        texts = [{"text": paragraph(rng, language)} for _ in range(40)]
        jsonl(folder / f"{language}.jsonl", texts)
    model = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
    }
    values = {
        "name": "units",
        "sources": {
            name: {"ingest": {"format": "jsonl", "paths": [f"{name}.jsonl"]}, "category": name}
            for name in ("en", "zh")
        },
        "dedup": None,
        "select": {"heldout": None},
        "tokenizer": {"train": {"size": 400, "from": ["en", "zh"]}},
        "model": {"create": model},
        "binning": {"sequence_length": 32, "bins": 2},
        "training": {
            "optimizer": {"lr": PEAK},
            "schedule": {"warmup": "8 steps", "total": "200K"},
            "checkpoint_every": "0.5 epochs",
            "batch": "8 rows",
            "phases": PHASES,
        }
        | training,
    }
    file = folder / "r.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return file


def puna(file: Path, command: str, *more: str) -> Result:
    store = str(file.parent / "store")
    return CliRunner().invoke(app, [command, str(file), "--store", store, *more])


def steps(artifact: Artifact) -> list[dict[str, Any]]:
    return [json.loads(line) for line in artifact.records.read("metrics.jsonl").splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Artifact]]:
    folder = tmp_path_factory.mktemp("units")
    file = recipe(folder)
    planned = puna(file, "plan")
    assert planned.exit_code == 0, planned.output
    return file, run_direct(file, folder / "store", EngineConfig(kind="inline"))


Trained = tuple[Path, dict[str, Artifact]]


def test_steps_are_exact_over_phases_of_other_batches(trained: Trained) -> None:
    made = trained[1]
    ramped, short = steps(made["training/ramped"]), steps(made["training/short"])
    assert [sum(step["rows"].values()) for step in ramped] == sorted(
        sum(step["rows"].values()) for step in ramped
    )
    assert (len(ramped), sum(ramped[0]["rows"].values())) == (6, 4)
    assert [sum(step["rows"].values()) for step in short] == [2] * 5
    rates = [step["lr"] for step in [*ramped, *short]]
    assert rates[7] == PEAK == max(rates) and rates[6] < PEAK > rates[8]


def test_epochs_by_category_are_drawn_to_the_row(trained: Trained) -> None:
    made = trained[1]
    found = made["training/repeats"].statistics
    rows = {c: made[f"binning/{c}"].statistics["rows"] for c in ("en", "zh")}
    assert found["rows"] == {"en": round(1.5 * rows["en"]), "zh": round(1.1 * rows["zh"])}
    assert found["loss_tokens"].keys() == {"en", "zh"}


def test_a_phase_of_longer_rows_reads_bins_and_positions_of_its_own(trained: Trained) -> None:
    made = trained[1]
    assert {id for id in made if id.startswith("binning/")} == {
        "binning/en",
        "binning/zh",
        "binning/en~64",
    }
    longer = made["training/longer"]
    config = json.loads((longer.folder("checkpoint") / "config.json").read_text())
    assert config["max_position_embeddings"] == 256
    assert config["rope_parameters"]["rope_type"] == "linear"
    assert config["rope_parameters"]["factor"] == 8
    rows = made["binning/en~64"].statistics["rows"]
    assert sum(longer.statistics["rows"].values()) == pytest.approx(rows / 2, abs=1)
    before = made["training/repeats"].folder("checkpoint") / "config.json"
    assert json.loads(before.read_text())["max_position_embeddings"] == 32


def test_the_plan_told_what_was_trained(trained: Trained) -> None:
    file, made = trained
    told = prepare(RunRequest.of(file, store=str(file.parent / "store"))).phases
    for phase in told:
        artifact = made[f"training/{phase.name}"]
        log, found = steps(artifact), artifact.statistics
        assert (
            (phase.tokens, phase.steps)
            == (found["tokens"], found["steps"])
            == (
                found["tokens"],
                len(log),
            )
        )
        assert phase.drawn == found["rows"]
        assert phase.epochs_total == pytest.approx(found["epochs"])
        rates = [step["lr"] for step in log]
        assert (phase.lr_start, phase.lr_peak, phase.lr_end) == (rates[0], max(rates), rates[-1])
        for category, count in phase.loss_tokens.items():
            assert count == pytest.approx(found["loss_tokens"][category], rel=0.1)


def test_more_epochs_than_allowed_are_told_before_the_run_stops(trained: Trained) -> None:
    file, _ = trained
    more = puna(file, "plan", "-s", "training.max_epochs={en: 1.5, '*': 9}")
    assert more.exit_code == 0
    told = " ".join(more.output.split())
    assert "'repeats' takes en up to" in told and "max_epochs is 1.5" in told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"schedule": {"warmup": "300K", "total": "200K"}},
            "training.schedule.warmup: 300,000 tokens are more than the schedule's",
        ),
        (
            {"max_epochs": {"eng": 2}},
            "training.max_epochs: 'eng' is not in this recipe (did you mean 'en'?)",
        ),
        (
            {"phases": [{"name": "a", "mixture": {"buckets": ["english"]}, "tokens": "1K"}]},
            "training.phases.a.mixture: 'english' is not in this recipe",
        ),
        (
            {"phases": [{"name": "a", "mixture": {"en": {"epochs": 2}, "zh": 0.5}}]},
            "mixture: en is in epochs and zh is a share; state epochs for all",
        ),
        ({"phases": [{"name": "a"}]}, "tokens: the phase has no length; state tokens"),
        (
            {"phases": [{"name": "a", "tokens": "1K", "sequence_length": 64}]},
            "training.phases.a.sequence_length: 64 is more than the model's 32 positions",
        ),
        ({"batch": "3 steps"}, "3 steps: a batch is a number of tokens or rows"),
    ],
)
def test_what_cannot_be_planned_is_told_where_it_stands(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    done = puna(recipe(tmp_path, **changes), "plan")
    assert done.exit_code == 2
    assert told in " ".join(done.output.split())
    assert "r.yaml:" in done.output


def test_phases_are_checked_where_they_stand(tmp_path: Path) -> None:
    phases = [
        {"name": "long", "tokens": "100M", "batch": "64K"},
        {"name": "last", "tokens": "1M", "batch": "64K"},
    ]
    done = puna(recipe(tmp_path, phases=phases, schedule={"warmup": "2M"}), "plan")
    assert done.exit_code == 0, done.output
