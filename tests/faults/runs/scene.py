"""A fault's scene: a store of its own, what the run reads, and the commands run there."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.runs import warm
from tests.faults.runs.places import S3, Disk, Prefect
from tests.faults.runs.world import READ

RUN_LIMIT_S = 240.0
"""A run that takes longer hangs: it takes 2 s undisturbed on a free machine, 30 s on S3."""


@dataclass
class Scene:
    """See the module docstring. `store`: its URL; `files`: the folder that its files lie in."""

    folder: Path
    recipe: Path
    store: str
    files: Path
    rng: random.Random
    engine: tuple[str, ...] = ()
    disk: Disk | None = None
    s3: S3 | None = None
    prefect: Prefect | None = None
    nodes: Any = None
    clock: Path | None = None
    host: Callable[[], None] | None = None
    """What puts a run on another host."""
    environment: dict[str, str] = field(default_factory=dict)
    runs: list[warm.Run] = field(default_factory=list)
    away: list[tuple[Path, Path]] = field(default_factory=list)
    """Files that were damaged, with copies of what they held."""

    @property
    def run(self) -> warm.Run:
        """The run that the fault strikes."""
        return self.runs[0]

    def begin(self, *more: str) -> warm.Run:
        """Start a run of the recipe."""
        self.runs.append(self.puna("run", self.recipe, "--json", *self.engine, *more))
        return self.runs[-1]

    def puna(self, *words: object) -> warm.Run:
        """Start a command about the store."""
        environment = {"HOME": str(self.folder), "XDG_CACHE_HOME": str(self.folder / "cache")}
        environment |= self.environment
        for place in (self.s3, self.prefect):
            environment |= place.environment if place is not None else {}
        folder = self.folder / f"command-{len(list(self.folder.glob('command-*')))}"
        return warm.start(
            [*map(str, words), "--store", self.store],
            folder,
            environment,
            prefect=self.prefect is not None,
            patch=self._patch,
        )

    def _patch(self) -> None:
        if self.host is not None:
            self.host()
        if self.clock is not None:
            os.environ["PUNA_CLOCK"] = str(self.clock)
            ctypes.CDLL(None).move_with(str(self.clock).encode())

    def move_clock(self, seconds: float) -> None:
        """Shift the clock of everything that runs here by so much from the true one."""
        assert self.clock is not None
        with self.clock.open("r+b" if self.clock.exists() else "wb") as stream:
            stream.write(struct.pack("d", seconds))

    def inputs(self) -> list[Path]:
        """The files that the recipe reads."""
        found = (path for read in READ for path in self.recipe.parent.glob(read))
        return sorted(found)

    def keep(self, file: Path) -> None:
        """Keep what a file holds, for `put_back`."""
        copy = self.folder / f"kept-{len(self.away)}"
        shutil.copyfile(file, copy)
        self.away.append((file, copy))

    def put_back(self) -> None:
        """Give damaged files back what they held."""
        for file, copy in self.away:
            shutil.copyfile(copy, file)
        self.away.clear()

    def __enter__(self) -> Scene:
        if self.disk is not None:
            self.disk.__enter__()
        if self.clock is not None:
            self.move_clock(0)
        return self

    def __exit__(self, *_: object) -> None:
        for run in self.runs:
            run.kill()
        if self.s3 is not None:
            self.s3.go_right()
            shutil.rmtree(self.files, ignore_errors=True)
        if self.disk is not None:
            self.disk.__exit__()
        shutil.rmtree(self.folder, ignore_errors=True)


def clock_library(folder: Path) -> Path | None:
    """`clock.c`, compiled; None where there is no compiler."""
    library = folder / "clock.so"
    source = Path(__file__).with_name("clock.c")
    words = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)]
    try:
        subprocess.run(words, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return library


def is_preloaded(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process's clock can be moved."""
    return "clock.so" in environment.get("LD_PRELOAD", "")
