"""Disk that training takes: what finished phases leave, checkpoints of a running one, bins.

| on disk | bytes |
|---|---|
| a finished phase | its model in float32, with the moments of what it trained, or the adapter |
| a running phase | `keep` checkpoints and one being written: what it trains, and its moments |
| bins | 8 a token: `input_ids` and `labels` (docs/bins.md), for tokens that are read once |

Text and what stages before binning write depends on the corpora, and is in no plan before there is
a history (`flows.planning.estimates`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tasks.checkpoints.shapes import ModelShape
from tasks.training.predict.memory import MOMENTS_8BIT
from tasks.training.predict.setup import Setup

BIN_BYTES = 8
"""Of a token: both columns have four."""


@dataclass(frozen=True)
class Disk:
    """Bytes on disk. `finished`: of all phases together; `running`: the most that a running one
    adds; `bins`: of the tokens of all phases, if each is read once (less with several epochs).
    """

    finished: int
    running: int
    bins: int

    def to_json(self) -> dict[str, int]:
        """The figures by name."""
        return asdict(self)


def disk_of(shape: ModelShape, phases: Sequence[tuple[Setup, int]], tokens: int, keep: int) -> Disk:
    """The disk of a training.

    Args:
        phases: set-up and trained parameters of each.
        tokens: of all phases.
        keep: checkpoints kept of a running phase, as `training.keep`.
    """
    finished, running = 0, 0
    for setup, trained in phases:
        moments = round(trained * (MOMENTS_8BIT if setup.optimizer.endswith("8bit") else 8))
        finished += 4 * shape.parameters + (4 * trained if setup.adapter else moments)
        running = max(running, (keep + 1) * (4 * trained + moments))
    return Disk(finished, running, tokens * BIN_BYTES)
