"""The stage's records: what a phase leaves for those who look at it, and held-out text as input."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.training.monitoring.names import EVALUATIONS, METRICS, SAMPLES, TENSORBOARD
from tasks.training.run import _unit
from tasks.training.stage import STAGE
from tests.stage_harness import run_stage
from tests.tasks.training import forked
from tests.tasks.training.monitoring.test_events import read
from tests.tasks.training.test_stage import artifact
from tests.tasks.training.toys import parameters, save_bins, save_model


def test_records_hold_curves_evaluations_and_samples(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model/checkpoint")
    config = model / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"eos_token": "w2"}))
    save_bins(tmp_path / "bins", {"a": [10]})
    heldout = tmp_path / "selected/heldout/a/part-0.jsonl"
    heldout.parent.mkdir(parents=True)
    heldout.write_text(json.dumps({"target": "w3 w4 w5 w6"}) + "\n")
    values = parameters(
        tokens="16 rows", evaluation={"every": "2 steps", "prompts": ["w5"], "tokens": 3}
    )
    given = {
        "previous": artifact("model", tmp_path, tmp_path / "model", "main"),
        "bins": (artifact("binning", tmp_path, tmp_path / "bins/a", "a"),),
        "heldout": (artifact("select", tmp_path, tmp_path / "selected", "web"),),
    }
    with forked.workers():
        phase = run_stage(STAGE, values, given, "one", tmp_path=tmp_path)
    steps, evaluations, samples = (
        [json.loads(line) for line in phase.records.read(name).splitlines()]
        for name in (METRICS, EVALUATIONS, SAMPLES)
    )
    assert [row["step"] for row in steps] == [1, 2, 3, 4]
    assert [row["step"] for row in evaluations] == [0, 2, 4] == [row["step"] for row in samples]
    assert steps[-1]["memory"]["peak_rss"] > 0 and steps[-1]["left_s"] == 0
    assert steps[-1]["due"] == {"a": 16.0} and steps[-1]["mfu"] is None
    folder = phase.records.local_root
    assert folder is not None
    points = read(folder / TENSORBOARD)
    assert [step for step, _ in points["training/loss"]] == [row["tokens"] for row in steps]


def test_progress_says_the_time_left() -> None:
    metrics = {"loss": 2.5, "alarm": "", "skipped": "", "left_s": 8_000.0}
    assert _unit(metrics) == "tokens, loss 2.500, 2 h 13 min left"
    assert _unit(metrics | {"left_s": None}) == "tokens, loss 2.500"
