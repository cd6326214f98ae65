"""The stage in a store: two phases through the real worker process, its failures, and what it
publishes.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from infra import interrupts
from infra.context import Context
from infra.stage import Outcome, Parameters, Stage, StageError
from infra.store import Artifact, Shard
from tasks.checkpoints.context import ContextLength
from tasks.training.loop import Phase
from tasks.training.planning.batches import PlannedStep
from tasks.training.run import _unit, require_positions, starting_point
from tasks.training.spec import STOP, Spec, resume_place
from tasks.training.stage import STAGE
from tasks.training.worker import main
from tests.stage_harness import data_digests, run_stage
from tests.tasks.training import forked
from tests.tasks.training.toys import LENGTH, parameters, save_bins, save_model


class FolderParameters(Parameters):
    """Publishes a local folder, in place of an earlier stage."""

    folder: str


def publish(context: Context) -> Outcome:
    """Publish the folder."""

    def copy(folder: str, shard: Shard) -> dict[str, Any]:
        shard.publish(Path(folder))
        return {}

    context.map(copy, {"all": context.parameters.folder}, here=True)
    return Outcome()


def artifact(kind: str, tmp_path: Path, folder: Path, name: str, store: str = "") -> Artifact:
    stage = Stage(
        kind,
        1,
        FolderParameters,
        "tests.tasks.training.test_stage:publish",
        "publishes a folder",
    )
    parameters = FolderParameters(folder=str(folder))
    return run_stage(stage, parameters, name=name, tmp_path=tmp_path, store=store)


@pytest.fixture(scope="module")
def inputs(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Path, Artifact, tuple[Artifact, ...]]]:
    root = tmp_path_factory.mktemp("store")
    save_model(root / "model/checkpoint")
    save_bins(root / "bins", {"a": [10, 8], "b": [12, 9]})
    bins = tuple(artifact("binning", root, root / "bins" / name, name) for name in ("a", "b"))
    yield root, artifact("model", root, root / "model", "main"), bins


@pytest.fixture
def workers() -> Iterator[None]:
    """Forked: a training process of its own imports torch for seconds."""
    with forked.workers():
        yield


Inputs = tuple[Path, Artifact, tuple[Artifact, ...]]


def test_two_phases(inputs: Inputs) -> None:
    root, model, bins = inputs
    first = run_stage(
        STAGE,
        parameters(tokens="16 rows", trainable="embeddings"),
        {"previous": model, "bins": bins},
        "one",
        tmp_path=root,
    )
    given = {"previous": first, "bins": bins}
    with forked.workers():
        second = run_stage(STAGE, parameters(tokens="12 rows"), given, "two", tmp_path=root)
    assert first.files("checkpoint/") and "state/optimizer.safetensors" in first.files()
    assert second.statistics["tokens_total"] == 28 * LENGTH
    assert second.statistics["parameters_trained"] > first.statistics["parameters_trained"]
    metrics = [
        json.loads(line)
        for line in (second.records.local("metrics.jsonl")).read_text().splitlines()
    ]
    assert [line["tokens"] for line in metrics] == [20 * LENGTH, 24 * LENGTH, 28 * LENGTH]
    folder = second.folder("checkpoint")
    assert AutoModelForCausalLM.from_pretrained(folder).config.vocab_size == 96
    assert AutoTokenizer.from_pretrained(folder)("w7")["input_ids"] == [7]
    assert len(data_digests(second)) == len(second.files())


def test_an_interrupt_saves_what_was_trained_and_says_where_the_next_run_goes_on_from(
    inputs: Inputs,
    workers: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, model, bins = inputs
    values = parameters(checkpoint_every="1M rows")
    take = Phase.step

    def interrupt(now: dict[str, Any]) -> str:
        os.kill(os.getpid(), signal.SIGINT)  # as ^C does
        return ""

    def step(phase: Phase, planned: PlannedStep, stop: Callable[[], bool]) -> dict[str, Any]:
        """The second step takes until the process is asked to stop."""
        while planned.index == 1 and not stop():
            time.sleep(0.01)
        return take(phase, planned, stop)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("tasks.training.run._unit", interrupt)
            patch.setattr(Phase, "step", step)
            run_stage(STAGE, values, {"previous": model, "bins": bins}, "cut", tmp_path=root)
    finally:
        signal.signal(signal.SIGINT, before)
    (state,) = root.glob("store/training/cut/**/checkpoints/step-*/state.json")
    assert json.loads(state.read_text())["step"] == 1
    told = f"training/cut has a checkpoint at step 1 ({4 * LENGTH} tokens of this phase); the"
    assert f"{told} next run" in capsys.readouterr().err
    whole = run_stage(STAGE, values, {"previous": model, "bins": bins}, "cut", tmp_path=root)
    lines = whole.records.local("metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 11))


def test_an_interrupt_after_the_last_step_waits_until_the_phase_is_stored(
    inputs: Inputs, workers: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Otherwise the steps since the last checkpoint would be lost."""
    root, model, bins = inputs
    values = parameters(tokens="20 rows", checkpoint_every="1M rows")
    told: list[str] = []
    publish, waiting = Shard.publish, threading.Event()

    def slow(shard: Shard, folder: Path, *rest: Any) -> None:
        saver = threading.Thread(target=lambda: told.extend(interrupts.save_all()))
        saver.start()
        saver.join(0.5)
        assert saver.is_alive() and not told  # nothing is stored yet
        publish(shard, folder, *rest)
        waiting.set()

    with monkeypatch.context() as patch:
        patch.setattr(Shard, "publish", slow)
        done = run_stage(STAGE, values, {"previous": model, "bins": bins}, "late", tmp_path=root)
    assert waiting.is_set() and done.statistics["steps"] == 5
    assert told == ["training/late has taken all its steps; the next run stores the model"]


def test_an_interrupt_before_the_first_step_ends_the_worker_at_once(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / STOP).touch()
    spec = tmp_path / "spec.json"
    Spec(parameters(), {}, "no such model", None, str(tmp_path), str(tmp_path / "out")).write(spec)
    monkeypatch.setattr("tasks.training.worker.exit_with_parent", lambda *_, **__: None)
    assert main([str(spec)]) == 75


def test_progress_names_what_is_wrong() -> None:
    now = {"loss": 1.5, "alarm": "", "skipped": ""}
    assert _unit(now) == "tokens, loss 1.500"
    timed = now | {"tokens_per_s": 4212.6, "left_s": 51.0}
    assert _unit(timed) == "tokens, loss 1.500, 4,213 tokens/s, 51 s left"
    assert _unit(now | {"alarm": "the loss is high"}).endswith(", WARNING: the loss is high")
    assert _unit(now | {"loss": None, "skipped": "its loss is nan"}) == (
        "tokens, WARNING: a step was not taken: its loss is nan"
    )


def test_without_a_checkpoint_the_next_run_begins_the_phase(tmp_path: Path) -> None:
    assert "training/x has no checkpoint yet; the next run starts this phase over" in resume_place(
        tmp_path, "x", 64
    )


def test_failure_tells_the_workers_reason(inputs: Inputs, workers: None) -> None:
    root, model, bins = inputs
    with pytest.raises(StageError, match=r"^[^\n]*max_epochs is 4[^\n]*$") as caught:
        run_stage(
            STAGE,
            parameters(tokens="900 rows"),
            {"previous": model, "bins": bins},
            "much",
            tmp_path=root,
        )
    # The reason alone: no command line, and not the node's name, which the caller prepends.
    assert not {"spec.json", "training/much", "DataExhausted"} & set(str(caught.value).split())
    with pytest.raises(StageError, match="names category 'zh', but the categories with bins are a"):
        run_stage(
            STAGE,
            parameters(mixture={"zh": 1.0}),
            {"previous": model, "bins": bins},
            "missing",
            tmp_path=root,
        )


def test_rows_longer_than_the_model_has_positions_are_refused(tmp_path: Path) -> None:
    config = {"max_position_embeddings": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))
    require_positions(tmp_path, 64)
    with pytest.raises(StageError, match=r"rows have 65 tokens .* the model has 64 positions"):
        require_positions(tmp_path, 65)
    (tmp_path / "config.json").write_text(
        json.dumps(config | {"rope_parameters": {"rope_type": "dynamic"}})
    )
    require_positions(tmp_path, 65)


def test_a_context_is_that_of_the_phase_and_of_those_after_it(tmp_path: Path) -> None:
    base = save_model(tmp_path / "base", max_position_embeddings=LENGTH)
    context = ContextLength.model_validate({"positions": 128, "rope": {"type": "linear"}})
    assert starting_point(base, None, tmp_path / "same") == base
    folder = starting_point(base, context, tmp_path / "longer")
    config = json.loads((folder / "config.json").read_text())
    assert config["max_position_embeddings"] == 128
    assert config["rope_parameters"] == {
        "rope_type": "linear",
        "rope_theta": 10_000.0,
        "factor": 128 / LENGTH,
    }
    assert (folder / "model.safetensors").samefile(base / "model.safetensors")
    require_positions(folder, 128)
    with pytest.raises(StageError, match="but the model has 32 positions"):
        require_positions(base, 128)
    assert starting_point(base, context, tmp_path / "longer") == folder  # begun again
