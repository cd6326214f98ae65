"""Copies of tensors in the CPU's memory that training no longer changes, for writing meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

SHARE = 0.5
"""Of the memory that is free, at most this much is taken for copies."""


def stage(tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Copies on the CPU; None where these would need more than half of the free memory.

    Tensors of a GPU are always copied, as they cannot be written from there.
    """
    on_cpu = sum(t.numel() * t.element_size() for t in tensors.values() if t.device.type == "cpu")
    free = free_memory_bytes()
    if free is not None and on_cpu > SHARE * free:
        return None
    copies = {}
    for name, tensor in tensors.items():
        pinned = tensor.is_cuda
        copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)
        copies[name] = copy.copy_(tensor, non_blocking=pinned)
    if any(tensor.is_cuda for tensor in tensors.values()):
        torch.cuda.synchronize()
    return copies


def free_memory_bytes() -> int | None:
    """Memory that this process may still take: the machine's, or its control group's where that
    is less. None where neither says.
    """
    found = []
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        values = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        if "MemAvailable" in values:
            found.append(int(values["MemAvailable"].split()[0]) * 1024)
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        reclaimable = dict(
            line.split() for line in (group / "memory.stat").read_text().splitlines()
        )
        if limit != "max":
            found.append(max(0, int(limit) - used + int(reclaimable.get("inactive_file", 0))))
    except (OSError, ValueError):
        pass  # no control group of version 2, or one that does not tell
    return min(found) if found else None
