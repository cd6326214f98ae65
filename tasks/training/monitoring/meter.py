"""What a step costs: model FLOPs utilisation, memory, and the time that is left."""

from __future__ import annotations

import collections
import re
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tasks.training.predict.flops import MatmulShape, shape_of, training_flops
from tasks.training.recipe.accelerators import ACCELERATORS, Accelerator

_NAMES = (
    (r"\bH200\b", "H200"),
    (r"\bB200\b", "B200"),
    (r"\bH100\b.*\b(HBM3|SXM)", "H100-SXM"),
    (r"\bA800\b.*\b80GB", "A800-80G"),
    (r"\bA100\b.*\b80GB", "A100-80G"),
    (r"\bA100\b.*\b40GB", "A100-40G"),
    (r"\bRTX 6000 Ada\b", "RTX-6000-Ada"),
    (r"\bRTX 4090$", "RTX-4090"),
    (r"\bL40S\b", "L40S"),
    (r"\bMI300X\b", "MI300X"),
)
"""Names that drivers give to the accelerators of the table. Relatives with other peaks (H100 PCIe
and NVL, RTX 4090 D and Laptop, GH200) match none."""

WINDOW_S = 120.0
"""Time over which the speed is measured that the time left follows from."""


def accelerator_of(device_name: str) -> Accelerator | None:
    """The datasheet of a device by the name that its driver gives it; None for an unknown one."""
    if re.search(r"\b(NVL|Laptop|MIG)\b", device_name):
        return None
    for pattern, name in _NAMES:
        if re.search(pattern, device_name):
            return ACCELERATORS[name]
    return None


def peak_flops(device: torch.device, precision: str) -> float | None:
    """FLOP/s that the datasheet states for this rank's device in a precision; None where unknown.

    A CPU has no datasheet here: what its cores reach depends on clock and vector units.
    """
    if device.type != "cuda":
        return None
    known = accelerator_of(torch.cuda.get_device_name(device))
    if known is None:
        return None
    tflops = {"bf16": known.peak_tflops, "fp16": known.peak_tflops, "fp32": known.peak_fp32_tflops}
    return 1e12 * tflops[precision] if precision in tflops else None


@dataclass(frozen=True)
class Utilisation:
    """Model FLOPs utilisation of steps (tasks/training/predict/flops.py)."""

    shape: MatmulShape
    peak: float | None
    """FLOP/s of all ranks together."""

    def of(self, tokens: int, pairs: int, seconds: float) -> float | None:
        """The share of the peak that a step of `tokens` with `pairs` of attention reached."""
        if self.peak is None or seconds <= 0:
            return None
        return training_flops(self.shape, tokens, pairs) / seconds / self.peak


def utilisation(
    language_model: Any, device: torch.device, ranks: int, precision: str
) -> Utilisation:
    """The utilisation of a loaded model on this many ranks with one such device each."""
    peak = peak_flops(device, precision)
    if peak is None:
        return Utilisation(MatmulShape(0, 0, 0), None)
    return Utilisation(shape_of(language_model), ranks * peak)


def attention_pairs(positions: Sequence[Tensor]) -> int:
    """Pairs of query and key of causal attention within documents, from batches' positions (B, T).

    Example: documents of 2 and 1 tokens have the positions 0, 1, 0 and 3 + 1 pairs.
    """
    return sum(int((positions_BT + 1).sum()) for positions_BT in positions)


def memory_bytes(device: torch.device) -> dict[str, int]:
    """Peaks of this process: `peak_rss`, and `peak_cuda` of tensors on its GPU."""
    unit = 1 if sys.platform == "darwin" else 1024
    found = {"peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if device.type == "cuda":
        found["peak_cuda"] = torch.cuda.max_memory_allocated(device)
    return found


class TimeLeft:
    """Seconds until a phase ends, at the speed of the last two minutes, whatever took the time
    (steps, checkpoints, evaluations).
    """

    def __init__(self) -> None:
        self._seen: collections.deque[tuple[float, int]] = collections.deque()

    def after(self, tokens: int, total: int, now: float | None = None) -> float | None:
        """Seconds left after `tokens` of `total`; None before the second step.

        `now`: a monotonic clock's seconds.
        """
        now = time.monotonic() if now is None else now
        self._seen.append((now, tokens))
        while len(self._seen) > 2 and now - self._seen[1][0] >= WINDOW_S:
            self._seen.popleft()
        began, before = self._seen[0]
        if tokens <= before or now <= began:
            return None
        return (total - tokens) * (now - began) / (tokens - before)
