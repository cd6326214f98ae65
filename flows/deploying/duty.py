"""When a recipe runs on its own, and what becomes of runs that cannot start in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flows.running.catch_up import CatchUp

Overlap = Literal["queue", "skip"]
"""What becomes of a run that is due while another of its deployment runs."""


@dataclass(frozen=True)
class Duty:
    """Schedules of a recipe as cron lines, each of which makes its own runs."""

    crons: tuple[str, ...] = ()
    timezone: str = "UTC"
    catch_up: CatchUp = "newest"
    overlap: Overlap = "queue"
    maintenance: tuple[str, ...] = ()
    """Schedules of maintenance."""
