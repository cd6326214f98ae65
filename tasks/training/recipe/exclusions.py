"""Settings of `training:` that exclude each other, whatever the machine.

Each function gives the reason and the next action, or "" where nothing is wrong. A recipe is
refused by them as far as it states devices and ranks; a running phase asks them again with what it
found. Imports are light.
"""

from __future__ import annotations

from collections.abc import Iterator

from tasks.training.recipe.devices import Devices
from tasks.training.recipe.sections import AttentionKind, OptimizerName, Precision


def fp16_on_ranks(precision: Precision, ranks: int) -> str:
    """The loss scale of fp16 is that of one process."""
    if precision != "fp16" or ranks < 2:
        return ""
    return (
        f"precision: fp16 on {ranks} ranks; its loss scale works on one device only: use bf16, or "
        "fp32 where the devices lack bf16"
    )


def idle_ranks(ranks: int, rows: int) -> str:
    """Ranks divide the rows of a step; `rows`: of the largest."""
    if ranks <= rows:
        return ""
    return (
        f"devices.ranks: {ranks}, but a step has at most {rows} rows, so {ranks - rows} of them "
        f"would never get one; start at most {rows} ranks or raise the batch"
    )


def compact_without_float32(name: OptimizerName, precision: Precision) -> str:
    """Optimizers of bitsandbytes update float32 weights, which fp64 has none of."""
    if name == "adamw" or precision != "fp64":
        return ""
    return (
        f"optimizer.name: {name} updates float32 weights only, and precision: fp64 makes them "
        "float64; set name: adamw"
    )


def compact_with_offload(name: OptimizerName, offload: str) -> str:
    """Moments are made small on the device, or moved away from it."""
    if name == "adamw" or offload == "none":
        return ""
    return (
        f"optimizer.name: {name} with devices.offload: optimizer; both keep moments small on the "
        "device, each in its way: set name: adamw, or offload: none"
    )


def paging_on(name: OptimizerName, device: str) -> str:
    """bitsandbytes pages between a GPU and its host."""
    if not name.startswith("paged") or device == "cuda":
        return ""
    return (
        f"optimizer.name: {name} pages moments between a GPU's memory and the CPU's; on {device} "
        f"bitsandbytes would silently not page: set name: {name.removeprefix('paged-')}"
    )


def kernel_on(device: str) -> str:
    """Why attention by document lengths cannot run on a kind of device."""
    return "" if device == "cuda" else f"its kernel runs on CUDA devices, not on {device}"


def kernel_in(precision: Precision) -> str:
    """Why attention by document lengths cannot run in a precision."""
    if precision in ("bf16", "fp16"):
        return ""
    return f"its kernel computes in 16 bits, not in {precision}; set precision: bf16"


def attention_unusable(wanted: AttentionKind, reason: str) -> str:
    """A sentence for attention that the recipe asks for by name; "" without a reason."""
    if wanted in ("auto", "sdpa") or not reason:
        return ""
    return f"attention: {wanted} cannot be used: {reason}. Use attention: auto, or sdpa"


def exclusions(
    devices: Devices,
    precision: Precision,
    optimizer: OptimizerName,
    attention: AttentionKind,
    rows: int,
) -> Iterator[str]:
    """What is wrong with a phase's settings together, before any device is seen.

    `kind: auto` may become either kind, and `ranks: auto` any number, so they exclude nothing.
    `rows`: of the phase's largest step.
    """
    stated = devices.kind if devices.kind != "auto" else "cuda"
    ranks = devices.ranks if devices.ranks != "auto" else 1
    found = (
        idle_ranks(ranks, rows),
        fp16_on_ranks(precision, ranks),
        compact_without_float32(optimizer, precision),
        compact_with_offload(optimizer, devices.offload),
        paging_on(optimizer, stated),
        attention_unusable(attention, kernel_on(stated) or kernel_in(precision)),
    )
    return filter(None, found)
