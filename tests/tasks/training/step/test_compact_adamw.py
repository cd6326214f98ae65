"""AdamW in 8 bits against torch's; its moments in files; what is refused."""

from __future__ import annotations

from pathlib import Path

import bitsandbytes.functional
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tasks.training.distributed.parts import StoredTensors
from tasks.training.recipe.sections import Optimizer
from tasks.training.step.compact_adamw import (
    BLOCK,
    OptimizerUnusable,
    encode,
    magnitudes_part,
    require_compact,
)
from tasks.training.step.optimizer import AdamW

OPTIONS = Optimizer(lr=1e-2, weight_decay=0.1)
COMPACT = OPTIONS.model_copy(update={"name": "adamw-8bit"})


def parameters(seed: int = 0) -> dict[str, nn.Parameter]:
    draw = torch.Generator().manual_seed(seed)
    shapes = {"matrix": (70, 90), "embeddings": (96, 64), "vector": (33,)}
    return {
        name: nn.Parameter(torch.randn(shape, generator=draw)) for name, shape in shapes.items()
    }


def take_steps(optimizer: AdamW, trained: dict[str, nn.Parameter], steps: range) -> None:
    for step in steps:
        draw = torch.Generator().manual_seed(step)
        for parameter in trained.values():
            parameter.grad = torch.randn(parameter.shape, generator=draw)
        optimizer.step(1e-2, 1.0)


def stored(optimizer: AdamW, folder: Path) -> StoredTensors:
    folder.mkdir()
    moments = {name: tensor.clone() for name, tensor in optimizer.moments().items()}
    save_file(moments, folder / "moments.safetensors")
    return StoredTensors([folder / "moments.safetensors"])


def test_8_bits_follow_adamw() -> None:
    exact, compact = parameters(), parameters()
    ours = AdamW(compact, COMPACT, wide=["embeddings"])
    take_steps(AdamW(exact, OPTIONS), exact, range(20))
    take_steps(ours, compact, range(20))
    start = parameters()
    for name in exact:
        moved = (exact[name] - start[name]).norm()
        limit = 0.05 if name == "matrix" else 1e-4
        assert (compact[name] - exact[name]).norm() <= limit * moved, name
    kinds = {key: tensor.dtype for key, tensor in ours.moments().items()}
    assert set(kinds.values()) == {torch.float32}
    assert {key for key in kinds if "absmax" in key} == {"absmax1/matrix", "absmax2/matrix"}
    assert not [key for key in ours.portable() if "absmax" in key]


def test_resumed_8_bit_moments_are_the_same_bits(tmp_path: Path) -> None:
    straight, resumed = parameters(), parameters()
    take_steps(AdamW(straight, COMPACT), straight, range(12))
    first = AdamW(resumed, COMPACT)
    take_steps(first, resumed, range(5))
    second = AdamW(resumed, COMPACT)
    second.load_moments(stored(first, tmp_path / "moments"))
    for key, tensor in first.moments().items():
        assert torch.equal(tensor, second.moments()[key]), key
    take_steps(second, resumed, range(5, 12))
    for name, parameter in straight.items():
        assert torch.equal(parameter, resumed[name]), name


def test_either_kind_continues_the_other(tmp_path: Path) -> None:
    exact = parameters()
    before = AdamW(exact, OPTIONS)
    take_steps(before, exact, range(10))
    moments = stored(before, tmp_path / "exact")
    compact = AdamW(exact, COMPACT, moments)
    assert not compact.fresh
    for key, tensor in before.moments().items():
        got = compact.moments()[key]
        assert (got - tensor).norm() <= 0.03 * tensor.norm(), key
    back = AdamW(exact, OPTIONS, stored(compact, tmp_path / "compact"))
    for key, tensor in compact.portable().items():
        assert torch.equal(back.moments()[key], tensor), key


@pytest.mark.parametrize("size", [4096, 4097, 5000, 256 * 40])
@pytest.mark.parametrize("signed", [True, False])
def test_codes_come_back_from_decoded_values(size: int, signed: bool) -> None:
    draw = torch.Generator().manual_seed(size)
    code = bitsandbytes.functional.create_dynamic_map(signed=signed)
    values = torch.randn(size, generator=draw) * 10 ** torch.randn(size, generator=draw)
    values = values if signed else values.abs()
    values[:BLOCK] = 0
    codes, state = bitsandbytes.functional.quantize_blockwise(values, code=code, blocksize=BLOCK)
    decoded = bitsandbytes.functional.dequantize_blockwise(codes, state)
    again, magnitudes = encode(decoded, state.code, state.absmax)
    assert torch.equal(magnitudes, state.absmax)
    assert torch.equal(again[BLOCK:], codes[BLOCK:])
    # without magnitudes, or with those of other blocks, as near as 8 bits are
    for given in (None, torch.full_like(state.absmax, 1e6)):
        rough, found = encode(decoded, state.code, given)
        back = state.code[rough.long()] * found.repeat_interleave(BLOCK)[:size]
        assert (back - decoded).norm() <= 0.02 * decoded.norm()


def test_magnitudes_of_a_whole_tensor_are_one_part() -> None:
    part = magnitudes_part(nn.Parameter(torch.zeros(7, 100)))
    assert part.is_whole
    assert part.shape == (3,)


@pytest.mark.parametrize(
    ("name", "device", "dtype", "offload", "says"),
    [
        ("paged-adamw", "cpu", torch.float32, False, "silently not page: set name: adamw"),
        ("paged-adamw-8bit", "cpu", torch.float32, False, "set name: adamw-8bit"),
        ("adamw-8bit", "cpu", torch.float64, False, "float32 weights only.*float64"),
        ("adamw-8bit", "cpu", torch.float32, True, "offload: optimizer"),
        ("adamw-8bit", "meta", torch.float32, False, "does not work on meta"),
    ],
)
def test_what_would_fall_back_is_refused(
    name: str, device: str, dtype: torch.dtype, offload: bool, says: str
) -> None:
    with pytest.raises(OptimizerUnusable, match=says):
        require_compact(name, torch.device(device), dtype, offload=offload)
