"""AdamW of bitsandbytes: moments in 8 bits (Dettmers et al. 2022, arXiv:2110.02861), or paged.

8-bit moments are codes in blocks of 256 over a tensor laid end to end, each block with its largest
magnitude. Tensors of fewer than 4,096 elements, and the input embeddings (as the authors advise),
keep moments in float32. Paged ones are in CUDA's managed memory, which moves to the CPU's when the
GPU's is full.

Files hold moments as torch's AdamW has them, in float32, so that either kind continues the other
and any number of ranks reads them; beside them are the magnitudes of blocks, with which the same
codes come back to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tasks.training.distributed.parts import Part, part_of
from tasks.training.recipe.exclusions import (
    compact_with_offload,
    compact_without_float32,
    paging_on,
)
from tasks.training.recipe.sections import Optimizer, OptimizerName

BLOCK = 256
"""Elements of a block; bitsandbytes' own number."""

MAGNITUDES = ("absmax1", "absmax2")
_MOMENTS = {"exp_avg": ("state1", "qmap1", "absmax1"), "exp_avg_sq": ("state2", "qmap2", "absmax2")}


class OptimizerUnusable(ValueError):
    """An optimizer that cannot be used here; says why and what to do."""


def require_compact(
    name: OptimizerName, device: torch.device, dtype: torch.dtype, *, offload: bool
) -> Any:
    """The module `bitsandbytes`, once an optimizer of it has been seen to work on the device.

    Raises:
        OptimizerUnusable: not installed, or it would fall back silently.
    """
    try:
        import bitsandbytes
    except ImportError as error:
        raise OptimizerUnusable(
            f"optimizer.name: {name} needs bitsandbytes, which is not installed; install "
            "puna[quantized], or set name: adamw"
        ) from error
    if reason := (
        compact_without_float32(name, "fp32" if dtype == torch.float32 else "fp64")
        or compact_with_offload(name, "optimizer" if offload else "none")
        or paging_on(name, device.type)
    ):
        raise OptimizerUnusable(reason)
    if reason := _fault(bitsandbytes, name, device):
        raise OptimizerUnusable(
            f"optimizer.name: {name}, but bitsandbytes {bitsandbytes.__version__} does not work on "
            f"{device}: {reason}. Set name: adamw"
        )
    return bitsandbytes


def _fault(bitsandbytes: Any, name: str, device: torch.device) -> str:
    """Why a first step is not AdamW's; "" where it is."""
    weights = torch.zeros(2 * 4096, device=device)
    options = Optimizer(lr=0.5, weight_decay=0.0)
    try:
        adamw = CompactAdamW(bitsandbytes, [{"params": [weights]}], name, options)
        weights.grad = torch.ones_like(weights)
        adamw.step()
        moments = adamw.moments(weights)
    except Exception as error:  # missing kernels raise what they like
        lines = str(error).splitlines()
        return lines[0] if lines else type(error).__name__
    expected = (1 - options.betas[0]) * torch.ones(weights.shape)
    if not torch.allclose(weights.cpu(), torch.full(weights.shape, -0.5), rtol=1e-3):
        return "its first step is not that of AdamW"
    if not torch.allclose(moments["exp_avg"], expected, rtol=1e-3):
        return "its moments are not those of AdamW"
    return ""


class CompactAdamW:
    """bitsandbytes' AdamW over groups of tensors, with moments read and set as torch's.

    Args:
        wide: ids of tensors whose moments stay in float32.
    """

    def __init__(
        self,
        bitsandbytes: Any,
        groups: list[dict[str, Any]],
        name: str,
        options: Optimizer,
        wide: Collection[int] = (),
    ) -> None:
        self._functional = bitsandbytes.functional

        class Adam(bitsandbytes.optim.AdamW):  # type: ignore[misc]
            def get_config(self, gindex: int, pindex: int, group: Any) -> Any:
                config = super().get_config(gindex, pindex, group)
                if id(group["params"][pindex]) in wide:
                    config["optim_bits"] = 32
                return config

        self._optimizer = Adam(
            groups,
            lr=options.lr,
            betas=options.betas,
            eps=options.eps,
            weight_decay=options.weight_decay,
            optim_bits=8 if name.endswith("8bit") else 32,
            is_paged=name.startswith("paged"),
        )

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Groups with their learning rates."""
        groups: list[dict[str, Any]] = self._optimizer.param_groups
        return groups

    def step(self) -> None:
        """One update of the tensors that have a gradient."""
        for group in self.param_groups:
            for tensor in group["params"]:
                if not tensor.numel():  # a rank may hold no row of a small matrix
                    tensor.grad = None
        self._optimizer.step()

    def moments(self, tensor: Tensor) -> dict[str, Tensor]:
        """Moments, step count and magnitudes of a tensor by kind, on the CPU; empty before its
        first step.
        """
        state = self._optimizer.state.get(tensor)
        if not state:
            return {}
        if tensor.is_cuda:
            torch.cuda.synchronize()  # paged memory is read from the CPU
        found = {"step": torch.tensor(float(state["step"]))}
        for kind, (stored, code, magnitudes) in _MOMENTS.items():
            values = state[stored]
            if values.dtype == torch.uint8:
                largest = state[magnitudes]
                found[magnitudes] = largest.cpu()
                values = self._functional.dequantize_blockwise(
                    values.to(largest.device), absmax=largest, code=state[code], blocksize=BLOCK
                )
            found[kind] = values.cpu().clone()
        return found

    @torch.no_grad()
    def load(self, tensor: Tensor, moments: Mapping[str, Tensor]) -> None:
        """Set what `moments` returned, or the moments of another AdamW."""
        place = next(
            (number, group, index)
            for number, group in enumerate(self.param_groups)
            for index, member in enumerate(group["params"])
            if member is tensor
        )
        number, group, index = place
        self._optimizer.init_state(group, tensor, number, index)
        state = self._optimizer.state[tensor]
        state["step"] = round(float(moments["step"]))
        for kind, (stored, code, magnitudes) in _MOMENTS.items():
            values = moments[kind]
            if state[stored].dtype == torch.uint8:
                codes, largest = encode(values, state[code].cpu(), moments.get(magnitudes))
                state[stored].copy_(codes)
                state[magnitudes].copy_(largest)
            else:
                state[stored].copy_(values)


def encode(values: Tensor, code: Tensor, magnitudes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Nearest codes of float32 values, uint8, and the magnitudes of their blocks.

    Args:
        code: the 256 values that codes stand for, ascending.
        magnitudes: those with which the values were decoded. A block's largest value tells all but
            a last rounding (codes reach +1 but not -1), so they are taken where they fit it.
    """
    flat = values.reshape(-1).float()
    blocks = -(-flat.numel() // BLOCK)
    padded = nn.functional.pad(flat, (0, blocks * BLOCK - flat.numel())).view(blocks, BLOCK)
    largest = padded.abs().amax(1)
    if magnitudes is not None and magnitudes.shape == largest.shape:
        fits = (largest <= magnitudes) & (largest >= 0.9 * magnitudes)
        largest = torch.where(fits, magnitudes, largest)
    scaled = padded / torch.where(largest > 0, largest, 1.0)[:, None]
    codes = torch.bucketize(scaled, (code[1:] + code[:-1]) / 2).to(torch.uint8)
    return codes.view(-1)[: flat.numel()].view(values.shape), largest


def magnitudes_part(parameter: Tensor) -> Part:
    """The part of a parameter's magnitudes that this rank holds: those of its own rows' blocks,
    after those of the ranks before it.
    """
    own = part_of(parameter)
    width = math.prod(own.shape[1:])

    def blocks(rows: int) -> int:
        return -(-rows * width // BLOCK)

    if not isinstance(parameter, DTensor) or own.is_whole:
        return Part.whole((blocks(own.shape[0] if own.shape else 1),))
    shards = max(
        parameter.device_mesh.size(dim)
        for dim, placement in enumerate(parameter.placements)
        if placement.is_shard(0)
    )
    rows, each = own.shape[0], -(-own.shape[0] // shards)
    sizes = [min(each, max(0, rows - shard * each)) for shard in range(shards)]
    first = sum(blocks(size) for size in sizes[: own.first // each if own.first < rows else shards])
    return Part((sum(map(blocks, sizes)),), first, first + blocks(own.last - own.first))
