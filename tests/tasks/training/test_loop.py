"""The loop: exact resume, accumulation, phases, guards, and what a phase leaves behind."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks.documents.rows import Rows
from tasks.training.errors import Interrupted, TrainingStopped
from tasks.training.loop import Phase
from tasks.training.planning.sampler import DataExhausted
from tasks.training.recipe.sections import Guard
from tasks.training.spec import Carried, Spec
from tasks.training.step.guard import guard_reason
from tasks.training.step.optimizer import AdamW
from tasks.training.trace import trace
from tests.tasks.training.toys import (
    LENGTH,
    VOCABULARY,
    parameters,
    save_bin,
    save_bins,
    save_model,
    spec,
)

RAMPED: dict[str, Any] = {
    "tokens": "60 rows",
    "batch": {"from": 3 * LENGTH, "to": 9 * LENGTH},
    "mixture": {"a": {"from": 0.1, "to": 0.6, "over": "30 rows"}, "b": "rest"},
    "schedule": {"kind": "cosine", "warmup": 4 * LENGTH, "final_ratio": 0.1, "decay": 0.1},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    root = tmp_path_factory.mktemp("world")
    return save_model(root / "model"), save_bins(root / "bins", {"a": [10, 8], "b": [12, 9]})


World = tuple[Path, dict[str, list[str]]]


def train(made: Spec, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    steps: list[dict[str, Any]] = []
    return Phase(made).train(steps.append, **options), steps


def files(folder: str | Path) -> dict[str, bytes]:
    root = Path(folder)
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def stop_after(calls: int) -> Callable[[], bool]:
    """A `stop` that turns true after being asked that often."""
    asked = iter(range(10**9))
    return lambda: next(asked) >= calls


def test_a_phase_learns_and_leaves_a_model_that_loads(world: World, tmp_path: Path) -> None:
    model, bins = world
    made = spec(tmp_path, model, bins, parameters(tokens="4 epochs", optimizer={"lr": 1e-2}))
    statistics, steps = train(made)
    assert statistics["rows"] == {"a": 72, "b": 84}
    assert statistics["tokens"] == 156 * LENGTH == steps[-1]["tokens"]
    assert statistics["loss_last"] < statistics["loss_first"] - 0.2
    assert sum(sum(step["rows"].values()) for step in steps) == 156
    assert steps[-1]["drawn"] == statistics["rows"]
    lines = [
        json.loads(line) for line in (tmp_path / "scratch/metrics.jsonl").read_text().splitlines()
    ]
    assert [line["step"] for line in lines] == list(range(1, 40))
    for line in lines:
        assert set(line["losses"]) == set(line["rows"])
    trained = AutoModelForCausalLM.from_pretrained(tmp_path / "output/checkpoint")
    before = AutoModelForCausalLM.from_pretrained(model)
    assert not torch.equal(trained.lm_head.weight, before.lm_head.weight)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "output/checkpoint")
    assert tokenizer("w3 w5")["input_ids"] == [3, 5]
    assert not list((tmp_path / "output").rglob("*.bin"))


def test_metrics_agree_with_the_plan(world: World, tmp_path: Path) -> None:
    model, bins = world
    made = spec(tmp_path, model, bins, parameters(**RAMPED))
    phase = Phase(made)
    steps: list[dict[str, Any]] = []
    phase.train(steps.append)
    assert [sum(step["rows"].values()) for step in steps][:3] == [3, 3, 4]
    for step in steps:
        assert step["lr"] == phase.plan.at(step["tokens"]).lr
        due = phase.plan.mixture["a"].integral(step["tokens"]) / LENGTH  # type: ignore[index]
        assert abs(step["drawn"]["a"] - due) < 1
    assert steps[-1]["lr"] == pytest.approx(1e-4)


@pytest.mark.parametrize("tied", [False, True])
def test_stopped_anywhere_and_resumed_gives_the_same_bytes(
    world: World, tmp_path: Path, tied: bool
) -> None:
    model, bins = world
    if tied:
        model = save_model(tmp_path / "tied", tied=True)
    values = parameters(**RAMPED, checkpoint_every="2 steps")
    train(spec(tmp_path / "whole", model, bins, values))
    draw = random.Random(3)
    made = spec(tmp_path / "parts", model, bins, values)
    for _ in range(50):
        try:
            Phase(made).train(
                stop=stop_after(draw.randrange(1, 12))
            )  # also within a step: asked before every micro-batch
            break
        except Interrupted:
            continue
    else:
        pytest.fail("never finished")
    assert files(made.output) == files(tmp_path / "whole/output")
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "parts/scratch/metrics.jsonl").read_text().splitlines()
    ]
    assert steps == list(range(1, len(steps) + 1))


def test_corrupt_last_checkpoint_falls_back_to_the_one_before(world: World, tmp_path: Path) -> None:
    model, bins = world
    values = parameters(checkpoint_every="2 steps")
    train(spec(tmp_path / "whole", model, bins, values))
    made = spec(tmp_path / "parts", model, bins, values)
    with pytest.raises(Interrupted):
        train(made, stop=stop_after(16))
    kept = sorted((Path(made.scratch) / "checkpoints").iterdir())
    assert len(kept) == values.keep == 2
    damaged = bytearray((kept[-1] / "rank-00000.safetensors").read_bytes())
    damaged[-3] ^= 1
    (kept[-1] / "rank-00000.safetensors").write_bytes(damaged)
    phase = Phase(made)
    assert phase.resumed
    assert kept[0].name == f"step-{phase.progress.step:08d}"
    phase.train()
    assert files(made.output) == files(tmp_path / "whole/output")


def test_checkpoints_of_another_plan_are_not_continued(world: World, tmp_path: Path) -> None:
    model, bins = world
    with pytest.raises(Interrupted):
        train(spec(tmp_path, model, bins, parameters()), stop=stop_after(5))
    assert Phase(spec(tmp_path, model, bins, parameters(micro_batch=1))).resumed
    with pytest.raises(TrainingStopped, match=r"another recipe or other data .* delete it"):
        Phase(spec(tmp_path, model, bins, parameters(seed=1)))
    assert list((tmp_path / "scratch").glob("checkpoints/step-*"))  # nothing of it is lost


def train_for(cpu_s: float, made: Spec) -> None:
    """Train until an unhandled signal ends the process after `cpu_s` of its processor time.

    Ends at once: Python's own end would wait for threads that only the process it was forked from
    has.
    """
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        train(made)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def test_killed_at_random_and_run_again_gives_the_same_bytes(world: World, tmp_path: Path) -> None:
    """Killed at any moment, also while loading, saving or finishing.

    Forked, as importing torch takes seconds.

    Moments are drawn in processor time, so that a busy machine draws the same ones.
    """
    model, bins = world
    values = parameters(tokens="200 rows", max_epochs=99, checkpoint_every="3 steps")
    began = time.process_time()
    train(spec(tmp_path / "whole", model, bins, values))
    whole_s = time.process_time() - began
    made = spec(tmp_path / "parts", model, bins, values)
    draw, killed = random.Random(5), 0
    for attempt in range(60):
        cpu_s = draw.uniform(0.03, 0.25) * whole_s if attempt < 40 else 0
        child = multiprocessing.get_context("fork").Process(target=train_for, args=(cpu_s, made))
        child.start()
        child.join()
        killed += child.exitcode == -signal.SIGPROF
        if child.exitcode != -signal.SIGPROF:
            break
    assert child.exitcode == 0
    assert killed >= 2
    assert files(made.output) == files(tmp_path / "whole/output")


def test_worker_saves_and_ends_when_its_parent_is_gone(world: World, tmp_path: Path) -> None:
    model, bins = world
    made = spec(
        tmp_path,
        model,
        bins,
        parameters(tokens="100K rows", max_epochs=10**6, checkpoint_every="1M rows"),
    )
    made.write(tmp_path / "spec.json")
    command = [sys.executable, "-m", "tasks.training", str(tmp_path / "spec.json")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdin and child.stdout and child.stderr
        assert json.loads(child.stdout.readline()) == {"training": {"step": 0}}
        assert "progress" in json.loads(child.stdout.readline())
        child.stdin.close()
        assert child.wait(timeout=240) == 75
        assert b"run again to continue from there" in child.stderr.read()
    assert len(list((tmp_path / "scratch/checkpoints").iterdir())) == 1


def losses_of(made: Spec) -> tuple[list[float], dict[str, torch.Tensor]]:
    _, steps = train(made)
    return [step["loss"] for step in steps], load_file(
        Path(made.output) / "checkpoint/model.safetensors"
    )


def test_accumulation_does_not_change_the_mathematics(world: World, tmp_path: Path) -> None:
    model, bins = world
    values = parameters(tokens="200 rows", batch=4 * LENGTH, max_epochs=99, precision="fp64")
    losses, weights = losses_of(
        spec(tmp_path / "4", model, bins, values.model_copy(update={"micro_batch": 4}))
    )
    assert len(losses) == 50
    for size in (1, 3):
        other, others = losses_of(
            spec(tmp_path / str(size), model, bins, values.model_copy(update={"micro_batch": size}))
        )
        assert max(abs(a - b) for a, b in zip(losses, other, strict=True)) < 1e-10
        assert all(
            torch.allclose(weights[name], others[name], atol=1e-10, rtol=0) for name in weights
        )


def test_phases_hand_on_moments_cursors_and_tokens(world: World, tmp_path: Path) -> None:
    model, bins = world
    train(spec(tmp_path / "one", model, bins, parameters(tokens="16 rows")))
    second = parameters(tokens="12 rows")
    made = spec(
        tmp_path / "two",
        tmp_path / "one/output/checkpoint",
        bins,
        second,
        state=str(tmp_path / "one/output/state"),
    )
    phase = Phase(made)
    assert (phase.plan.start, phase.carried.taken) == (16 * LENGTH, {"a": 7, "b": 9})
    assert phase.optimizer.fresh == []
    phase.train()
    # One phase of 28 rows draws the same rows at the same constant rate: the same weights.
    train(spec(tmp_path / "both", model, bins, parameters(tokens="28 rows")))
    assert files(made.output) == files(tmp_path / "both/output")
    with pytest.raises(ValueError, match="seed is 4 and the phase before used 0"):
        Phase(replace(made, parameters=parameters(seed=4)))
    with pytest.raises(ValueError, match="bins of 'b' had"):
        Phase(replace(made, bins={**bins, "b": bins["b"][:1]}))
    restarted = Phase(
        replace(
            made,
            parameters=parameters(tokens="12 rows", data="restart"),
            scratch=str(tmp_path / "s"),
        )
    )
    assert restarted.sampler.state.taken == {"a": 0, "b": 0}


def test_embeddings_only_then_all_rewarms_fresh_moments(world: World, tmp_path: Path) -> None:
    model, bins = world
    train(spec(tmp_path / "one", model, bins, parameters(trainable="embeddings")))
    before, after = (
        load_file(folder / "model.safetensors")
        for folder in (model, tmp_path / "one/output/checkpoint")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"model.embed_tokens.weight", "lm_head.weight"}
    made = spec(
        tmp_path / "two",
        tmp_path / "one/output/checkpoint",
        bins,
        parameters(rewarm=0.5, optimizer={"lr": 1e-3, "weight_decay": 0, "gradient_clip": 0}),
        state=str(tmp_path / "one/output/state"),
    )
    phase = Phase(made)
    assert "model.norm.weight" in phase.optimizer.fresh
    assert "lm_head.weight" not in phase.optimizer.fresh
    assert [phase.plan.fresh_factor(phase.plan.start + rows * LENGTH) for rows in (4, 20, 40)] == [
        0.2,
        1,
        1,
    ]
    norm = phase.language_model.model.norm.weight
    start = norm.detach().clone()
    phase.step(next(iter(phase.plan.steps())))
    assert float((norm.detach() - start).abs().max()) == pytest.approx(
        0.2 * 1e-3, rel=1e-2
    )  # Adam's first step is lr x sign


def test_new_rows_only_then_all(world: World, tmp_path: Path) -> None:
    model, bins = world
    made = spec(tmp_path / "one", model, bins, parameters(trainable="new-rows"), new_rows=(60, 90))
    assert train(made)[0]["parameters_trained"] == 2 * 30 * 32  # rows, not matrices
    before, after = (
        load_file(folder / "model.safetensors")
        for folder in (model, tmp_path / "one/output/checkpoint")
    )
    for name, tensor in before.items():
        changed = (
            (tensor != after[name]).flatten(1).any(1) if tensor.ndim > 1 else tensor != after[name]
        )
        rows = (
            set(range(60, 90)) if name in ("model.embed_tokens.weight", "lm_head.weight") else set()
        )
        assert set(changed.nonzero().flatten().tolist()) == rows, name
    with pytest.raises(ValueError, match="added no tokens"):
        Phase(replace(made, new_rows=None, scratch=str(tmp_path / "s")))
    state = str(tmp_path / "one/output/state")
    again = Phase(
        spec(tmp_path / "again", model, bins, parameters(trainable="new-rows"), state=state)
    )
    assert again.optimizer.fresh == []
    whole = Phase(spec(tmp_path / "two", model, bins, parameters(), state=state))
    assert whole.optimizer.fresh == sorted(whole.trainable)


def test_eight_phases_of_a_quarter_of_an_epoch_are_two_epochs(world: World, tmp_path: Path) -> None:
    model, bins = world  # 18 and 21 rows: a quarter of the 39 is 9.75
    previous, state, rows = model, None, []
    for number in range(8):
        values = parameters(tokens="0.25 epochs", optimizer={"lr": 1e-4})
        statistics = Phase(
            spec(tmp_path / str(number), previous, bins, values, state=state)
        ).train()
        previous, state = (
            tmp_path / str(number) / "output/checkpoint",
            str(tmp_path / str(number) / "output/state"),
        )
        rows.append(sum(statistics["rows"].values()))
    assert sum(rows) == 2 * 39 and set(rows) == {9, 10}
    assert statistics["epochs"] == {"a": 2.0, "b": 2.0}
    fresh = parameters(tokens="0.25 epochs", data="restart")
    assert (
        sum(
            Phase(spec(tmp_path / "fresh", previous, bins, fresh, state=state))
            .train()["rows"]
            .values()
        )
        == 10
    )


def test_trace_names_the_documents_of_a_step(world: World, tmp_path: Path) -> None:
    model, bins = world
    made = spec(tmp_path, model, bins, parameters(**RAMPED))
    _, steps = train(made)
    for step in (1, 4, len(steps)):
        traced = trace(made.parameters, made.bins, Carried(), step)
        counted = {c: sum(row.row.category == c for row in traced) for c in ("a", "b")}
        assert {c: n for c, n in counted.items() if n} == steps[step - 1]["rows"]
        for row in traced:
            assert [tuple(span) for span in Rows([row.bin]).provenance(row.bin_row)] == list(
                row.documents
            )
    with pytest.raises(ValueError, match=f"name one from 1 to {len(steps)}"):
        trace(made.parameters, made.bins, Carried(), len(steps) + 1)


def test_weight_decay_leaves_vectors_alone(world: World) -> None:
    weight, norm = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    for parameter in (weight, norm):
        parameter.grad = torch.zeros_like(parameter)
    values = parameters(optimizer={"weight_decay": 0.5}).optimizer
    AdamW({"weight": weight, "norm": norm}, values).step(0.1, 1.0)
    assert torch.allclose(weight, torch.tensor(0.95))
    assert torch.equal(norm, torch.ones(2))


def test_a_batch_that_is_not_finite_is_skipped_then_named(world: World, tmp_path: Path) -> None:
    model, bins = world
    made = spec(tmp_path, model, bins, parameters(guard={"patience": 3}))
    phase = Phase(made)
    before = {name: p.detach().clone() for name, p in phase.language_model.named_parameters()}
    forward = phase.model.forward
    phase.model.forward = lambda *batch: tuple(x * float("nan") for x in forward(*batch))  # type: ignore[method-assign]
    seen: list[dict[str, Any]] = []
    with pytest.raises(TrainingStopped, match=r"3 steps in a row .* loss is nan.*[ab]:d\d+-\d+-0"):
        phase.train(seen.append)
    assert [(step["skipped"], step["loss"]) for step in seen] == [("its loss is nan", None)] * 2
    assert all(torch.equal(p, before[name]) for name, p in phase.language_model.named_parameters())


def test_guard() -> None:
    usual = [2.0] * 20
    assert guard_reason(5.9, 1.0, usual, Guard()) == ""
    assert "over 3 x the median 2.000" in guard_reason(6.1, 1.0, usual, Guard())
    assert guard_reason(2.9, 1.0, [0.1] * 20, Guard()) == ""
    assert guard_reason(6.1, 1.0, usual, Guard(spike=0)) == ""
    assert guard_reason(6.1, 1.0, usual[:10], Guard()) == ""
    assert "gradient norm is inf" in guard_reason(1.0, float("inf"), usual, Guard(spike=0))


def test_what_cannot_be_trained_is_said_before_the_first_step(world: World, tmp_path: Path) -> None:
    model, bins = world
    with pytest.raises(DataExhausted, match="max_epochs is 4"):
        Phase(spec(tmp_path, model, bins, parameters(tokens="200 rows")))
    with pytest.raises(ValueError, match="rows of 32 tokens, but training asks for 64"):
        Phase(spec(tmp_path, model, bins, parameters(sequence_length=64, batch=64)))
    foreign = {"a": [str(save_bin(tmp_path / "bin", 8, seed=0, vocabulary=VOCABULARY + 50))]}
    with pytest.raises(ValueError, match="the model has 96 rows"):
        Phase(spec(tmp_path, model, foreign, parameters(tokens="8 rows"))).train()


def test_bf16_computes_close_to_fp32(world: World, tmp_path: Path) -> None:
    model, bins = world
    runs = {
        p: losses_of(spec(tmp_path / p, model, bins, parameters(precision=p)))
        for p in ("fp32", "bf16")
    }
    assert runs["bf16"][1]["lm_head.weight"].dtype == torch.float32
    assert runs["bf16"][0] == pytest.approx(runs["fp32"][0], rel=1e-2)
    assert runs["bf16"][0] != runs["fp32"][0]


def test_fp16_skips_overflows_without_the_guard_and_resumes_exactly(
    world: World, tmp_path: Path
) -> None:
    model, bins = world
    values = parameters(precision="fp16", guard={"patience": 1}, checkpoint_every="2 steps")
    whole = Phase(spec(tmp_path / "whole", model, bins, values))
    whole.progress.loss_scale.scale = 2.0**24  # overflows until it is halved often enough
    steps: list[dict[str, Any]] = []
    statistics = whole.train(steps.append)
    overflows = [step for step in steps if "overflowed float16" in step["skipped"]]
    assert 1 <= len(overflows) == statistics["overflowed_steps"] < len(steps)
    assert statistics["skipped_steps"] == 0
    assert any("overflowed float16" in note for note in statistics["notes"])
    assert all(step["loss"] is not None for step in steps)
    plain = losses_of(spec(tmp_path / "fp32", model, bins, parameters()))[0]
    assert steps[0]["loss"] == pytest.approx(plain[0], rel=1e-2)

    made = spec(tmp_path / "parts", model, bins, values)
    first = Phase(made)
    first.progress.loss_scale.scale = 2.0**24
    with pytest.raises(Interrupted):
        first.train(stop=stop_after(7))
    again = Phase(made)
    assert again.resumed and again.progress.loss_scale.overflows > 0
    again.train()
    assert files(made.output) == files(tmp_path / "whole/output")


def test_a_step_without_valid_tokens_has_no_loss_and_is_counted(
    world: World, tmp_path: Path
) -> None:
    model, bins = world
    phase = Phase(spec(tmp_path, model, bins, parameters()))
    batch = phase.data.batch

    def nothing_to_learn(rows: list[Any]) -> Any:
        ids, labels, positions = batch(rows)
        return (ids, labels.fill_(-100) if not phase.progress.step else labels, positions)

    phase.data.batch = nothing_to_learn  # type: ignore[method-assign]
    steps: list[dict[str, Any]] = []
    statistics = phase.train(steps.append)
    assert (steps[0]["loss"], steps[0]["skipped"]) == (None, "no valid tokens")
    assert (statistics["empty_steps"], statistics["skipped_steps"]) == (1, 0)
    assert any("no token to learn from" in note for note in statistics["notes"])
    assert statistics["loss_first"] == steps[1]["loss"]
