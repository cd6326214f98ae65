"""Divergence: judged by the loss of guessing and by each category's beginning; warned about first,
stopped where there is no doubt.
"""

import logging
import math
from pathlib import Path
from typing import Any

import pytest

from infra.stage import StageError
from infra.store import Artifact
from tasks.report.notes import training_notes
from tasks.training.errors import TrainingStopped
from tasks.training.loop import Phase
from tasks.training.stage import STAGE
from tasks.training.step.guard import BEGINS, WINDOW, Course, alarm, has_diverged
from tests.stage_harness import run_stage
from tests.tasks.training import forked
from tests.tasks.training.test_stage import Inputs, inputs  # noqa: F401
from tests.tasks.training.toys import VOCABULARY, parameters, save_bins, save_model, spec

GUESSING = math.log(VOCABULARY)
LONG = {"tokens": "400 rows", "max_epochs": 99}


def course(*losses: float, category: str = "a", rows: int = 8) -> Course:
    made = Course()
    for loss in losses:
        made.add(loss, {category: (rows, 100, 100 * loss)}, 10.4)
    return made


def test_what_is_warned_about() -> None:
    assert alarm(course(*[4.0] * 20), 10.4, warm=True) == ""
    assert alarm(course(9.8, *[122.0] * 20), 10.4, warm=True) == (
        "the loss is 122.00 (the median of its last 16 steps), above 10.40, that of guessing and "
        "112.20 above where this phase began"
    )
    # new rows begin above guessing: no alarm during warm-up, nor afterwards once they are below
    falling = [14.0 - 0.2 * step for step in range(40)]
    assert alarm(course(*falling[:16]), 10.4, warm=False) == ""
    assert "above 10.40, that of guessing" in alarm(course(*falling[:16]), 10.4, warm=True)
    assert alarm(course(*falling), 10.4, warm=True) == ""
    # neither one bad step of 16 nor a bump after warm-up is an alarm
    assert alarm(course(*[3.0] * 10, 9.0, *[3.4] * 10), 10.4, warm=True) == ""
    assert "1.20 above where" in alarm(course(*[3.0] * 10, *[4.2] * 16), 10.4, warm=True)
    assert alarm(Course(), 10.4, warm=True) == ""


def test_a_mixture_that_moves_to_harder_text_is_not_divergence() -> None:
    made = Course()
    for step in range(100):
        hard = step  # tokens of a category at 6 nats; the other one is at 2
        sums = {"en": (8, 100, 200.0), "zh": (8 if hard else 0, hard, 6.0 * hard)}
        made.add((200 + 6 * hard) / (100 + hard), sums, 10.4)
    assert alarm(made, 10.4, warm=True) == "" and max(made.rises) == pytest.approx(0)


def test_what_is_stopped() -> None:
    assert has_diverged(course(9.8, *[122.0] * WINDOW), 10.4)
    assert not has_diverged(course(9.8, *[122.0] * 20), 10.4) and has_diverged(
        course(9.8, *[122.0] * 20), 10.4, steps=16
    )
    assert has_diverged(course(3.0, *[6.5] * WINDOW), 10.4)  # below guessing, but useless
    assert not has_diverged(course(3.0, *[5.5] * WINDOW), 10.4)
    assert not has_diverged(course(*[14.0] * 2 * WINDOW), 10.4)  # began there: only a warning


def test_small_batches_begin_with_the_mean_of_eight_rows() -> None:
    made = course(*[1.0, 3.0] * 4, *[9.0] * 20, rows=1)
    assert made.beginnings == {"a": [8, 800, 1600.0, 1.0]}
    assert made.rises[-1] == 7.0
    lost_at_once = course(9.8, *[122.0] * 20, rows=1)
    assert lost_at_once.rises[-1] == pytest.approx(122 - 10.4)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    root = tmp_path_factory.mktemp("world")
    return save_model(root / "model"), save_bins(root / "bins", {"a": [10, 8], "b": [12, 9]})


def test_a_learning_rate_of_5_is_stopped_with_a_checkpoint_that_warn_goes_on_from(
    world: tuple[Path, dict[str, list[str]]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, bins = world
    steps: list[dict[str, Any]] = []
    values = {**LONG, "optimizer": {"lr": 5.0}}
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(TrainingStopped, match=r"peak 5\): lower training.optimizer.lr"),
    ):
        Phase(spec(tmp_path, model, bins, parameters(**values))).train(steps.append)
    assert len(steps) == WINDOW and steps[BEGINS]["alarm"] and not steps[BEGINS - 2]["alarm"]
    assert steps[-1]["loss"] > GUESSING
    told = [record.message for record in caplog.records if "that of guessing" in record.message]
    assert len(told) == 1 and told[0].startswith(f"step {BEGINS}: the loss is ")
    again = Phase(spec(tmp_path, model, bins, parameters(**values)))
    assert again.resumed and again.progress.step == WINDOW
    warned = Phase(spec(tmp_path, model, bins, parameters(**values, guard={"diverged": "warn"})))
    assert warned.resumed and warned.progress.step == WINDOW
    statistics = warned.train()
    (note,) = statistics["notes"]
    assert "that of guessing" in note and note in statistics["headline"]
    assert statistics["steps"] == 100 and statistics["loss_of_guessing"] == pytest.approx(GUESSING)


@pytest.mark.parametrize(("rows", "stops"), [(8, False), (80, True)])
def test_short_phases_are_warned_about_at_their_end_and_stopped_from_16_steps(
    world: tuple[Path, dict[str, list[str]]], tmp_path: Path, rows: int, stops: bool
) -> None:
    model, bins = world
    values = parameters(
        tokens=f"{rows} rows",
        optimizer={"lr": 5.0},
        schedule={"kind": "constant", "warmup": rows * 16, "final_ratio": 1.0, "decay": 0.1},
    )
    made = spec(tmp_path, model, bins, values)
    if not stops:
        assert "that of guessing" in Phase(made).train()["notes"][0]
        return
    for _ in range(2):  # the second run finds all steps taken, and must stop too
        with pytest.raises(TrainingStopped, match="diverged"):
            Phase(made).train()
    assert not Path(made.output).exists()


def test_a_proxy_that_diverges_ends_and_its_statistics_say_so(
    world: tuple[Path, dict[str, list[str]]], tmp_path: Path
) -> None:
    model, bins = world
    proxy = parameters(**LONG, optimizer={"lr": 5.0}, proxy=True)
    made = spec(tmp_path, model, bins, proxy)
    statistics = Phase(made).train()
    assert (
        statistics["diverged"].startswith("this phase has diverged") and statistics["steps"] < 100
    )
    assert (Path(made.output) / "checkpoint" / "config.json").exists()
    healthy = spec(tmp_path / "other", model, bins, parameters(**LONG, proxy=True))
    assert "diverged" not in Phase(healthy).train()
    # being a proxy is part of a version, and not being one is as it always was
    assert proxy.identity()["proxy"] is True
    assert "proxy" not in parameters(**LONG).identity()


def test_a_healthy_phase_says_nothing(
    world: tuple[Path, dict[str, list[str]]], tmp_path: Path
) -> None:
    model, bins = world
    statistics = Phase(spec(tmp_path, model, bins, parameters(**LONG))).train()
    assert statistics["notes"] == [] and statistics["headline"].startswith("loss 4.")


def test_the_stage_warns_in_progress_statistics_and_notes(inputs: Inputs) -> None:  # noqa: F811
    root, model, bins = inputs
    given = {"previous": model, "bins": bins}
    ruined = parameters(tokens="24 rows", optimizer={"lr": 5.0})
    with forked.workers():
        made: Artifact = run_stage(STAGE, ruined, given, "ruined", tmp_path=root)
    (note,) = training_notes([made])
    assert note.startswith("warning: training/ruined: the loss is ") and "that of guessing" in note
    with forked.workers(), pytest.raises(StageError, match=r"this phase has diverged"):
        run_stage(STAGE, parameters(**LONG, optimizer={"lr": 5.0}), given, "lost", tmp_path=root)
