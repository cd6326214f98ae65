"""The loss scale of fp16: gradients too small for float16 are made larger, then divided again.

Dynamic loss scaling (Micikevicius et al. 2018, arXiv:1710.03740) with the settings of torch's
`GradScaler`: begin at 65,536; halve it where a gradient overflows, and leave that step out; double
it after 2,000 steps without. An overflow says that the scale was too large, not that the batch is
bad, so the guard does not count it. Kept in checkpoints, so that a resumed run continues exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.training.errors import TrainingStopped

GROWS_AFTER = 2000
"""Steps without overflow after which the scale is doubled."""

SMALLEST = 2.0**-10
"""A gradient that still overflows below this scale is not finite whatever the scale."""

LARGEST = 2.0**24


@dataclass
class LossScale:
    """The scale of one phase and its history; part of a checkpoint."""

    scale: float = 2.0**16
    clean_steps: int = 0
    """Steps without overflow since the scale was last changed."""
    overflows: int = 0
    """Steps left out, in all."""

    def overflow(self) -> str:
        """Note an overflow; returns why the step is not taken.

        Raises:
            TrainingStopped: the scale cannot be lowered any further.
        """
        used = self.scale
        self.scale, self.clean_steps, self.overflows = used / 2, 0, self.overflows + 1
        if self.scale < SMALLEST:
            raise TrainingStopped(
                f"gradients overflow float16 even at a loss scale of {used:g}; use precision: bf16 "
                "where the device has it, else fp32, or a lower learning rate"
            )
        return f"a gradient overflowed float16 at a loss scale of {used:g}, now {self.scale:g}"

    def clean(self) -> None:
        """Note a step without overflow."""
        self.clean_steps += 1
        if self.clean_steps >= GROWS_AFTER:
            self.scale, self.clean_steps = min(2 * self.scale, LARGEST), 0


def unscale(gradients: Iterable[Tensor | None], scale: float) -> None:
    """Divide gradients by the scale, in place."""
    present = [gradient for gradient in gradients if gradient is not None]
    if scale != 1 and present:
        torch._foreach_mul_(present, 1 / scale)
