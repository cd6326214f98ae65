"""What a phase shows while it runs: curves, held-out loss, samples, and that watching it changes
nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from infra.store.identity import version_of
from tasks.training.distributed.ranks import Ranks
from tasks.training.errors import Interrupted, TrainingStopped
from tasks.training.loop import Phase
from tasks.training.recipe.devices import Devices
from tasks.training.spec import Spec
from tasks.training.stage import STAGE
from tests.tasks.training.forked import run, with_mesh
from tests.tasks.training.monitoring.test_events import read
from tests.tasks.training.toys import LENGTH, parameters, save_bins, save_model, spec

World = tuple[Path, dict[str, list[str]], dict[str, list[str]]]
EVALUATION = {"every": "4 steps", "prompts": ["w5 w6 w7", "w20 w22"], "tokens": 5}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    heldout = {}
    for category, stride in (("a", 1), ("b", 3)):
        documents = [
            {"target": " ".join(f"w{(start + stride * i) % 96}" for i in range(start))}
            for start in (7, 20, 45)
        ]
        path = root / f"{category}.jsonl"
        path.write_text("\n".join(map(json.dumps, documents)) + "\n")
        heldout[category] = [str(path)]
    # dropout: an evaluation that drew random numbers, or left the model in eval mode, would show
    model = save_model(root / "model", attention_dropout=0.1)
    config = model / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"eos_token": "w2"}))
    return model, save_bins(root / "bins", {"a": [30], "b": [30]}), heldout


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def made(world: World, root: Path, *, events: str = "", **changes: Any) -> Any:
    model, bins, heldout = world
    return spec(root, model, bins, parameters(**changes), heldout=heldout, events=events)


def test_training_is_the_same_with_and_without_evaluation(world: World, tmp_path: Path) -> None:
    plain = Phase(made(world, tmp_path / "plain"))
    plain.train()
    watched = Phase(made(world, tmp_path / "watched", evaluation=EVALUATION))
    watched.train()
    first, second = (
        [step["loss"] for step in lines(tmp_path / name / "scratch/metrics.jsonl")]
        for name in ("plain", "watched")
    )
    assert first == second and len(first) == 10
    one, other = (
        load_file(tmp_path / name / "output/checkpoint/model.safetensors")
        for name in ("plain", "watched")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_evaluations_come_at_the_start_every_interval_and_the_end(
    world: World, tmp_path: Path
) -> None:
    Phase(made(world, tmp_path, evaluation=EVALUATION, optimizer={"lr": 1e-2})).train()
    found = lines(tmp_path / "scratch/evaluations.jsonl")
    assert [row["step"] for row in found] == [0, 4, 8, 10]
    assert [row["phase_tokens"] for row in found] == [4 * LENGTH * step for step in (0, 4, 8, 10)]
    assert found[-1]["loss"] < found[0]["loss"] and set(found[0]["categories"]) == {"a", "b"}
    samples = lines(tmp_path / "scratch/samples.jsonl")
    assert [(row["step"], row["prompt"]) for row in samples[:3]] == [
        (0, "w5 w6 w7"),
        (0, "w20 w22"),
        (4, "w5 w6 w7"),
    ]
    assert all(row["greedy"].startswith(row["prompt"]) for row in samples)
    for row in samples:
        for kind in ("greedy", "sampled"):
            assert len(row[kind].split()) <= len(row["prompt"].split()) + EVALUATION["tokens"]
    assert any(row["greedy"] != row["sampled"] for row in samples)
    events = read(tmp_path / "scratch/tensorboard")
    assert [step for step, _ in events["held-out bits per byte/a"]] == [
        row["tokens"] for row in found
    ]
    assert len(events["training/loss"]) == 10 and len(events["samples/2"]) == 4
    assert events["mixture/a drawn"][-1][1] == pytest.approx(0.5)
    assert events["mixture/a planned"][-1][1] == pytest.approx(0.5)
    assert "speed/MFU" not in events  # no datasheet of this machine's CPU
    assert events["memory/peak_rss GB"][-1][1] > 0.05


def test_held_out_loss_is_that_of_the_finished_model(world: World, tmp_path: Path) -> None:
    Phase(made(world, tmp_path, evaluation=EVALUATION | {"prompts": []})).train()
    last = lines(tmp_path / "scratch/evaluations.jsonl")[-1]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "output/checkpoint").eval()
    nats, tokens, size = 0.0, 0, 0
    for line in Path(world[2]["b"][0]).read_text().splitlines():
        text = json.loads(line)["target"]
        ids = [2, *(int(word[1:]) for word in text.split())]  # eos, as there is no bos
        size += len(text)
        for start in range(0, len(ids) - 1, LENGTH):  # windows of a row; the last reaches back
            end = min(start + LENGTH, len(ids) - 1)
            low = max(0, end - LENGTH)
            logits = model(torch.tensor([ids[low:end]])).logits[0].double()
            costs = torch.nn.functional.cross_entropy(
                logits, torch.tensor(ids[low + 1 : end + 1]), reduction="none"
            )
            nats += costs[start - low :].sum().item()
            tokens += end - start
    assert last["categories"]["b"]["tokens"] == tokens
    assert last["categories"]["b"]["loss"] == pytest.approx(nats / tokens, abs=1e-5)
    assert last["categories"]["b"]["bits_per_byte"] == pytest.approx(
        nats / math.log(2) / size, abs=1e-5
    )


def test_a_resumed_phase_continues_curves_without_double_points(
    world: World, tmp_path: Path
) -> None:
    whole = Phase(made(world, tmp_path / "whole", evaluation=EVALUATION))
    whole.train()
    seen: list[dict[str, Any]] = []
    # The second process is stopped within the evaluation after step 8, which the third one makes.
    for until in (3, 8):
        with pytest.raises(Interrupted):
            Phase(made(world, tmp_path / "cut", evaluation=EVALUATION)).train(
                seen.append, lambda until=until: len(seen) >= until
            )
    Phase(made(world, tmp_path / "cut", evaluation=EVALUATION)).train()
    for file in ("evaluations.jsonl", "samples.jsonl"):
        one, other = (lines(tmp_path / name / "scratch" / file) for name in ("whole", "cut"))
        timeless = [
            [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
            for rows in (one, other)
        ]
        assert timeless[0] == timeless[1]
    one_events, other_events = (
        read(tmp_path / n / "scratch/tensorboard") for n in ("whole", "cut")
    )
    assert one_events["training/loss"] == other_events["training/loss"]
    assert one_events["held-out loss/all"] == other_events["held-out loss/all"]


def test_an_unwritable_folder_is_refused_before_weights_are_loaded(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    made_spec = made(world, tmp_path / "run", events=str(tmp_path / "file" / "tensorboard"))
    without_weights = replace(made_spec, previous=str(tmp_path / "nothing here"))
    with pytest.raises(TrainingStopped, match=r"file/tensorboard cannot be written.*run again"):
        Phase(without_weights)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_tensorboard_out_and_ends_where_metrics_cannot_be_written(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    phase = Phase(made(world, tmp_path))
    assert phase.monitor.files is not None and phase.monitor.files._events is not None
    full = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    phase.monitor.files._events._file.close()
    phase.monitor.files._events._file = full
    phase.train()
    assert "TensorBoard's file cannot be written any more" in caplog.text
    other = Phase(made(world, tmp_path / "other"))
    assert other.monitor.files is not None
    other.monitor.files._metrics._file = open("/dev/full", "w")  # noqa: SIM115
    with pytest.raises(TrainingStopped, match=r"metrics of step 1 cannot be written.*run again"):
        other.train()


def test_evaluation_without_text_or_with_too_long_prompts_is_refused(
    world: World, tmp_path: Path
) -> None:
    nothing = replace(made(world, tmp_path, evaluation={"every": "4 steps"}), heldout={})
    with pytest.raises(ValueError, match=r"no document is held out; set select\.heldout"):
        Phase(nothing)
    long = made(
        world, tmp_path, evaluation={"every": "4 steps", "prompts": ["w5 " * 500], "tokens": 40}
    )
    with pytest.raises(ValueError, match=r"has 501 tokens and 40 more .* 512 positions"):
        Phase(long)


def _stopped_and_resumed(ranks: Ranks, made_spec: Spec) -> None:
    """Trains 3 steps, and then, begun anew, the rest."""
    phase = Phase(made_spec, with_mesh(ranks, Devices()))
    with pytest.raises(Interrupted):
        phase.train(stop=lambda: phase.progress.step >= 3)
    phase = Phase(made_spec, with_mesh(ranks, Devices()))
    assert phase.resumed
    phase.train()


def test_two_ranks_find_what_one_does(world: World, tmp_path: Path) -> None:
    every = EVALUATION | {"every": "5 steps"}
    # without dropout, whose masks differ between ranks
    model = save_model(tmp_path / "model")
    (model / "tokenizer_config.json").write_text((world[0] / "tokenizer_config.json").read_text())
    one, two = (
        made((model, *world[1:]), tmp_path / name, evaluation=every) for name in ("one", "two")
    )
    Phase(one).train()
    run(2, _stopped_and_resumed, two, timeout_s=60)
    alone, together = (
        lines(tmp_path / name / "scratch/evaluations.jsonl") for name in ("one", "two")
    )
    assert [row["step"] for row in together] == [0, 5, 10]
    for row, other in zip(alone, together, strict=True):
        for category in ("a", "b"):
            assert other["categories"][category] == pytest.approx(
                row["categories"][category], abs=1e-5
            )
    texts = [
        [(row["prompt"], row["greedy"], row["sampled"]) for row in lines(path)]
        for path in (tmp_path / name / "scratch/samples.jsonl" for name in ("one", "two"))
    ]
    assert texts[0] == texts[1]


def test_what_is_watched_is_no_part_of_the_version() -> None:
    plain, watched = parameters(), parameters(evaluation=EVALUATION, tracker="wandb")
    inputs = {"previous": ["model/main@1"], "bins": ["binning/a@2"]}
    assert version_of(STAGE, "one", plain, inputs, {}) == version_of(
        STAGE, "one", watched, inputs | {"heldout": ["select/web@3"]}, {}
    )
    changed = inputs | {"bins": ["binning/a@3"]}
    assert version_of(STAGE, "one", plain, inputs, {}) != version_of(
        STAGE, "one", plain, changed, {}
    )


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"every": "0 steps"}, "0 steps is no interval"),
        ({"every": "4 steps", "documents": 0}, "nothing would be evaluated"),
        ({"every": "often"}, "is not a duration"),
        ({"every": "4 steps", "prompts": [""]}, "at least 1 character"),
        ({"prompts": ["w1"]}, "every"),
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parameters(evaluation=section)
