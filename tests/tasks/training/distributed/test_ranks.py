"""Several ranks train what one process trains: the same rows, losses and weights; and none waits
for another that has failed.
"""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tasks.training.checkpoints import staging
from tasks.training.checkpoints.checkpointing import Checkpointer
from tasks.training.distributed.ranks import Ranks, choose_device, join, require_rows
from tasks.training.distributed.sharding import sum_replicated
from tasks.training.errors import Interrupted, RankFailed, TrainingStopped
from tasks.training.loop import Phase
from tasks.training.recipe.devices import DeviceError, Devices
from tasks.training.spec import Spec
from tasks.training.step import gradients
from tests.tasks.training import forked
from tests.tasks.training.doubles import in_float64
from tests.tasks.training.test_loop import files, stop_after
from tests.tasks.training.toys import LENGTH, parameters, save_bins, save_model, spec

TOLERANCE = 1e-12
"""In float64, relative to losses of about 4 nats and weights of about 1."""

BF16_TOLERANCE = 3e-4
"""Nats. Ranks round the same products, but they add up gradients in another order, so that after
some steps a weight is rounded to another bfloat16.
"""

RAGGED: dict[str, Any] = {"tokens": "60 rows", "batch": 5 * LENGTH, "precision": "fp64"}
"""12 steps of 5 rows: with 2 or 4 ranks, some run masked rows."""

Specs = dict[str, Spec]


def train_all(ranks: Ranks, specs: Specs) -> None:
    """Train each spec in turn; the main rank leaves its metrics beside the output."""
    for made in specs.values():
        metrics: list[dict[str, Any]] = []
        phase = Phase(made, forked.with_mesh(ranks, made.parameters.devices))
        phase.train(metrics.append)
        if ranks.is_main:
            Path(made.scratch, "all.json").write_text(json.dumps(metrics))


def result(made: Spec) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Metrics by step; weights and moments."""
    output = Path(made.output)
    tensors = load_file(output / "checkpoint/model.safetensors")
    moments = load_file(output / "state/optimizer.safetensors")
    return json.loads(Path(made.scratch, "all.json").read_text()), tensors | moments


def losses_apart(steps: list[dict[str, Any]], others: list[dict[str, Any]]) -> list[float]:
    return [abs(a["loss"] - b["loss"]) for a, b in zip(steps, others, strict=True)]


def assert_equal(ours: Spec, single: Spec) -> None:
    (steps, tensors), (expected, whole) = result(ours), result(single)
    for step, other in zip(steps, expected, strict=True):
        for key in ("rows", "drawn", "valid_tokens", "lr", "skipped"):
            assert step[key] == other[key]
        assert step["loss"] == pytest.approx(other["loss"], abs=TOLERANCE)
        assert step["losses"] == pytest.approx(other["losses"], abs=TOLERANCE)
        assert step["grad_norm"] == pytest.approx(other["grad_norm"], abs=TOLERANCE)
    assert tensors.keys() == whole.keys()
    for name, tensor in tensors.items():
        assert torch.allclose(tensor, whole[name], rtol=0, atol=TOLERANCE), name


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """transformers' norms would round to float32, whatever the weights' type."""
    with in_float64():
        yield


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, list[str]]]:
    root = tmp_path_factory.mktemp("ranks")
    return (
        save_model(root / "model"),
        save_model(root / "tied", tied=True),
        save_bins(root / "bins", {"a": [10, 8], "b": [12, 9]}),
    )


Worlds = tuple[Path, Path, dict[str, list[str]]]


def test_two_ranks_train_what_one_does(worlds: Worlds, tmp_path: Path) -> None:
    """Tied and not, frozen layers, new rows only, replicated, offloaded, recomputed, in bfloat16,
    with any micro-batch.
    """
    model, tied, bins = worlds

    def made(name: str, folder: Path, **changes: Any) -> Spec:
        values = parameters(**RAGGED | {"tokens": "30 rows", "micro_batch": 4} | changes)
        return spec(tmp_path / name, folder, bins, values, new_rows=(60, 90))

    ways: dict[str, tuple[Path, dict[str, Any]]] = {
        "untied": (model, {}),
        "tied": (tied, {}),
        "embeddings": (model, {"trainable": "embeddings"}),
        "new-rows": (tied, {"trainable": "new-rows"}),
    }
    devices = {"two": {}, "none": {"shard": "none"}, "offload": {"offload": "optimizer"}}
    single = {name: made(f"single-{name}", *way[:1], **way[1]) for name, way in ways.items()}
    several = {name: made(name, *way[:1], micro_batch=1, **way[1]) for name, way in ways.items()}
    others = {
        name: made(name, tied, micro_batch=2, devices=values)
        for name, values in devices.items()
        if values
    }
    others["recomputed"] = made("recomputed", tied, micro_batch=1, recompute="full")
    rounding = {"micro_batch": 1, "precision": "bf16"}
    alone = made("single-bf16", tied, **rounding)
    rounded = made("bf16", tied, **rounding, recompute="full")
    train_all(Ranks(), single | {"bf16": alone})
    forked.run(2, train_all, several | others | {"bf16": rounded})
    for name, ours in several.items():
        assert_equal(ours, single[name])
    for ours in others.values():
        assert_equal(ours, single["tied"])
    exact, expected = (result(run)[0] for run in (single["tied"], alone))
    assert min(losses_apart(exact[:1], expected[:1])) > 1e-5  # rounded to bfloat16
    steps, tensors = result(rounded)
    assert max(losses_apart(steps[:3], expected[:3])) < 1e-6  # rounded in the same places
    assert max(losses_apart(steps, expected)) < BF16_TOLERANCE
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    untouched = load_file(tied / "model.safetensors")["model.embed_tokens.weight"]
    trained = result(several["new-rows"])[1]["model.embed_tokens.weight"]
    assert not torch.equal(trained[60:90], untouched[60:90].double())
    assert torch.equal(trained[:60], untouched[:60].double())


def test_hybrid_sharding_trains_what_one_does(worlds: Worlds, tmp_path: Path) -> None:
    model, _, bins = worlds
    hybrid = parameters(**RAGGED, devices={"shard": "hybrid", "replicas": 2}, micro_batch=1)
    single = spec(tmp_path / "single", model, bins, parameters(**RAGGED))
    ours = spec(tmp_path / "hybrid", model, bins, hybrid)
    train_all(Ranks(), {"single": single})
    forked.run(4, train_all, {"hybrid": ours})
    assert_equal(ours, single)


def train_until(ranks: Ranks, made: Spec, steps: int) -> None:
    """Train that many steps more, ask on the last rank alone to stop, and leave the metrics."""
    metrics: list[dict[str, Any]] = []

    def stop() -> bool:
        return ranks.rank == ranks.world_size - 1 and len(metrics) >= steps

    try:
        Phase(made, ranks).train(metrics.append, stop)
        finished = True
    except Interrupted:
        finished = False
    if ranks.is_main:
        path = Path(made.scratch, "all.json")
        before = json.loads(path.read_text()) if path.exists() else []
        path.write_text(json.dumps(before + metrics))
        Path(made.scratch, "finished").write_text(str(finished))


def test_a_phase_goes_on_with_another_number_of_ranks(worlds: Worlds, tmp_path: Path) -> None:
    model, _, bins = worlds
    single = spec(tmp_path / "single", model, bins, parameters(**RAGGED))
    ours = spec(tmp_path / "parts", model, bins, parameters(**RAGGED))
    train_all(Ranks(), {"single": single})
    forked.run(2, train_until, ours, 4)
    train_until(Ranks(), ours, 4)
    assert Path(ours.scratch, "finished").read_text() == "False"
    forked.run(2, train_until, ours, 99)
    assert Path(ours.scratch, "finished").read_text() == "True"
    assert_equal(ours, single)
    lines = Path(ours.scratch, "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 13))


def test_phases_are_handed_on_between_numbers_of_ranks(worlds: Worlds, tmp_path: Path) -> None:
    """Weights, moments, cursors: 1, 2 and 1 ranks train what one process does in all phases."""
    model, _, bins = worlds
    courses: dict[str, list[Spec]] = {"single": [], "resized": []}
    for phase in range(3):
        for name, course in courses.items():
            before = Path(course[-1].output) if course else None
            previous = before / "checkpoint" if before else model
            state = str(before / "state") if before else None
            values = parameters(**RAGGED | {"tokens": "20 rows"})
            made = spec(tmp_path / f"{name}-{phase}", previous, bins, values, state=state)
            if name == "resized" and phase == 1:
                forked.run(2, train_all, {name: made})
            else:
                train_all(Ranks(), {name: made})
            course.append(made)
    for ours, single in zip(courses["resized"], courses["single"], strict=True):
        assert_equal(ours, single)
    written = sorted(path.name for path in Path(courses["resized"][1].output).rglob("*"))
    assert written == sorted(p.name for p in Path(courses["single"][1].output).rglob("*"))


def train_without_memory(ranks: Ranks, made: Spec, steps: int) -> None:
    """The same, where the main rank has no memory for copies: it waits for each checkpoint."""
    if ranks.is_main:
        staging.free_memory_bytes = lambda: 0
    save = Checkpointer.save

    def watched(checkpoints: Checkpointer, *args: Any) -> None:
        save(checkpoints, *args)
        assert not (ranks.is_main and checkpoints.is_writing)

    Checkpointer.save = watched  # type: ignore[method-assign]
    train_until(ranks, made, steps)


def test_two_ranks_stopped_and_resumed_give_the_same_bytes(worlds: Worlds, tmp_path: Path) -> None:
    """Also where one of them cannot copy what it saves, and where the newest is truncated."""
    model, _, bins = worlds
    values = parameters(tokens="60 rows", batch=5 * LENGTH, checkpoint_every="2 steps")
    whole = spec(tmp_path / "whole", model, bins, values)
    parts = spec(tmp_path / "parts", model, bins, values)
    forked.run(2, train_all, {"whole": whole})
    forked.run(2, train_without_memory, parts, 5)
    assert len(list(Path(parts.scratch, "checkpoints").glob("step-*"))) == values.keep
    newest = sorted(Path(parts.scratch, "checkpoints").glob("step-*"))[-1]
    with (newest / "rank-00001.safetensors").open("r+b") as damaged:
        damaged.truncate(2000)
    forked.run(2, train_until, parts, 99)
    assert files(parts.output) == files(whole.output)


def fail_alone(ranks: Ranks, made: Spec) -> None:
    """The last rank's disk fills in its second checkpoint."""
    phase = Phase(made, ranks)
    save = phase.checkpoints.save
    saved: list[int] = []

    def full_disk(progress: Any, *rest: Any) -> None:
        saved.append(progress.step)
        if len(saved) == 2 and ranks.rank == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, -1))
        save(progress, *rest)

    phase.checkpoints.save = full_disk  # type: ignore[method-assign]
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with pytest.raises((RankFailed, TrainingStopped)) as raised:
        phase.train()
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    Path(made.scratch, f"reason-{ranks.rank}").write_text(str(raised.value))


def test_a_full_disk_on_one_rank_ends_all_and_keeps_the_checkpoint_before(
    worlds: Worlds, tmp_path: Path
) -> None:
    model, _, bins = worlds
    values = parameters(tokens="60 rows", batch=5 * LENGTH, checkpoint_every="2 steps")
    made = spec(tmp_path, model, bins, values)
    forked.run(2, fail_alone, made)
    for rank in (0, 1):
        reason = Path(made.scratch, f"reason-{rank}").read_text()
        assert "the checkpoint of step 4 could not be written" in reason
        assert "step-00000002, is intact and will be continued from" in reason
    names = sorted(path.name for path in Path(made.scratch, "checkpoints").iterdir())
    assert names == ["step-00000002"]
    phase = Phase(made)
    assert phase.resumed and phase.progress.step == 2


def read_badly(ranks: Ranks, made: Spec) -> None:
    """One rank cannot read its rows of the second step: all end, with its reason."""
    phase = Phase(made, ranks)
    batch, calls = phase.data.batch, stop_after(2)

    def unreadable(rows: Any) -> Any:
        if ranks.rank == 1 and calls():
            raise OSError("bad sector")
        return batch(rows)

    phase.data.batch = unreadable  # type: ignore[method-assign]
    with pytest.raises(OSError if ranks.rank == 1 else RankFailed, match="bad sector"):
        phase.train()
    assert phase.progress.step == 1


def test_what_one_rank_cannot_read_ends_all(worlds: Worlds, tmp_path: Path) -> None:
    model, _, bins = worlds
    values = parameters(tokens="60 rows", batch=4 * LENGTH, micro_batch=1)
    made = spec(tmp_path, model, bins, values)
    forked.run(2, read_badly, made)  # which asserts in each rank
    assert not Path(made.output).exists()


def sum_whole(ranks: Ranks, inputs: torch.Tensor, expected: torch.Tensor) -> None:
    """Each rank has the layer whole, and one of the inputs."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2, dtype=torch.float64)
    layer.bias.requires_grad_(False)
    layer(inputs[ranks.rank]).square().sum().backward()
    sum_replicated(layer, ranks)
    gradient = layer.weight.grad
    assert gradient is not None and layer.bias.grad is None
    assert torch.allclose(gradient, expected, rtol=1e-14)
    assert gradients.norm([gradient], ranks) == pytest.approx(float(expected.norm()), rel=1e-14)


def test_gradients_of_parameters_that_ranks_hold_whole_are_summed() -> None:
    """As of a model with 4-bit layers, which is not split."""
    inputs = torch.randn(2, 3, dtype=torch.float64)
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2, dtype=torch.float64)
    layer(inputs).square().sum().backward()
    assert layer.weight.grad is not None
    forked.run(2, sum_whole, inputs, layer.weight.grad)


def test_ranks_that_do_not_fit_are_refused() -> None:
    alone: dict[str, str] = {}
    assert join(Devices(), alone).world_size == 1
    with pytest.raises(DeviceError, match="ranks is 2, but 1 process was started"):
        join(Devices(ranks=2), alone)
    with pytest.raises(DeviceError, match="MASTER_ADDR, MASTER_PORT is not set"):
        join(Devices(), {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"})
    with pytest.raises(DeviceError, match="RANK is 2, but WORLD_SIZE is 2"):
        join(Devices(), {"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0"})
    with pytest.raises(DeviceError, match="ranks: 5, but a step has at most 4 rows"):
        require_rows(4, 4, 5)
    require_rows(4, 4, 4)


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(Devices(), 0).type == "cpu"
    with pytest.raises(DeviceError, match="kind is cuda, but torch sees no GPU"):
        choose_device(Devices(kind="cuda"), 0)
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    assert choose_device(Devices(), 1) == torch.device("cuda", 1) == chosen[0]
    assert choose_device(Devices(kind="cpu"), 1).type == "cpu"
    with pytest.raises(DeviceError, match="torch sees 2 GPUs"):
        choose_device(Devices(), 2)
