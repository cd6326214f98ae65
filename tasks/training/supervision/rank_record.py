"""What each rank leaves in a folder about itself: how far its start came, and how it ended.

The process that supervises the ranks reads these records, whatever launcher started them: which
ranks there are, what one waits for that does not come, which failed first. The folder need only be
on a file system that all ranks see. Standard library only: training nodes import this before torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from infra.secrets import redacted

ALIVE = "alive"
"""File in the folder that the supervisor writes again and again while it lives."""

Stage = Literal["started", "joined", "loading", "training"]

Ending = Literal["", "done", "interrupted", "error", "memory", "unforeseen", "lost"]
"""How a rank ended: "" not (yet, or it was killed), `error` a reason that will come again, `memory`
ran out, `unforeseen` any other exception, `lost` only because another rank ended.
"""


@dataclass(frozen=True)
class RankRecord:
    """A rank's own account."""

    rank: int
    world_size: int
    host: str
    pid: int
    stage: Stage = "started"
    ending: Ending = ""
    reason: str = ""
    ended_at: float = 0.0
    """Seconds since 1970 by the clock of its machine."""

    @property
    def name(self) -> str:
        """The rank as errors name it."""
        return f"rank {self.rank} of {self.world_size}"


class RankRecorder:
    """Writes the record of this rank, and its stderr to a file where it is one of several.

    Args:
        folder: the folder; None writes nothing.
        rank, world_size: of this process.
    """

    def __init__(self, folder: Path | None, rank: int, world_size: int) -> None:
        self._folder = folder
        self._record = RankRecord(rank, world_size, socket.gethostname(), os.getpid())
        if folder is not None:
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                if world_size > 1:
                    _stderr_to(log_of(folder, rank))
        self._write()

    def reached(self, stage: Stage) -> None:
        """The start has come this far."""
        self._record = replace(self._record, stage=stage)
        self._write()

    def ended(self, ending: Ending, reason: str = "") -> None:
        """The rank ends. Only the first call counts: what follows is a consequence."""
        if not self._record.ending:
            self._record = replace(
                self._record, ending=ending, reason=redacted(reason), ended_at=time.time()
            )
            self._write()

    def _write(self) -> None:
        if self._folder is None:
            return
        path = self._folder / f"rank-{self._record.rank:05d}.json"
        partial = path.with_name(f".{path.name}")
        with contextlib.suppress(OSError):  # a full disk must not hide why a rank ends
            partial.write_text(json.dumps(asdict(self._record)), encoding="utf-8")
            partial.replace(path)


def log_of(folder: Path, rank: int) -> Path:
    """The file of a rank's stderr."""
    return folder / f"rank-{rank:05d}.log"


def read_records(folder: Path) -> list[RankRecord]:
    """The records in a folder, by rank."""
    records = []
    for path in sorted(folder.glob("rank-*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            records.append(RankRecord(**json.loads(path.read_text(encoding="utf-8"))))
    return records


def rank_of_environment() -> tuple[int, int]:
    """Rank and world size by torchrun's variables; (0, 1) where they do not say."""
    values = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE")]
    rank, world_size = (int(value) if value.isdecimal() else -1 for value in values)
    return (rank, world_size) if 0 <= rank < world_size else (0, 1)


def _stderr_to(path: Path) -> None:
    """From here on everything on stderr, also what libraries in C write, goes to a file."""
    sys.stderr.flush()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 2)
    os.close(file)
