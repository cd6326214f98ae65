"""What a hostile input is, and what becomes of it: how it ended, what was said, time and memory."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[3]
PUNA = str(Path(sys.executable).with_name("puna"))
DIRECT = (sys.executable, "-m", "tests.faults.hostile.direct")
"""Builds a recipe up to a stage without a Prefect server: `*DIRECT, RECIPE, STORE, STAGE`."""

TIME_LIMIT_S = 60.0
MEMORY_LIMIT_MIB = 2_000
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Controls that a terminal obeys, and those that turn the direction of text."""

Command = tuple[str, ...]
Make = Callable[[Path], list[Command] | AbstractContextManager[list[Command]]]


@dataclass(frozen=True)
class Case:
    """A hostile input.

    `make` writes it into a folder and returns the commands that meet it, of which the last one
    counts; where a server is needed meanwhile, within a context. `end`: "refused" says so in words
    that `says` (a pattern) matches; "done" goes on, because the input is counted or cannot harm,
    and says what `says` matches.
    """

    name: str
    make: Make
    end: Literal["refused", "done"]
    says: str
    within: str = ""
    """Part of the name of a file below the folder that must not be there afterwards."""


@dataclass(frozen=True)
class Seen:
    """What became of it."""

    status: int
    said: str
    seconds: float
    peak_mib: int


def meet(case: Case, folder: Path) -> Seen:
    """Write the input and run its commands."""
    seen, made = Seen(0, "", 0.0, 0), case.make(folder)
    with contextlib.nullcontext(made) if isinstance(made, list) else made as commands:
        for command in commands:
            seen = run(command, folder)
    return seen


def run(command: Command, folder: Path) -> Seen:
    """Run one command; killed when it takes too long, its memory limited."""
    began = time.monotonic()
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
    }
    output = folder.parent / f"{folder.name}.said"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            preexec_fn=_limit,
            start_new_session=True,
        )
        usage = _ended(process, began + TIME_LIMIT_S)
    said = output.read_bytes().decode("utf-8", "replace")
    return Seen(process.returncode, said, time.monotonic() - began, usage >> 10)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _ended(process: subprocess.Popen[bytes], deadline: float) -> int:
    """Wait for it, or kill it at the deadline; returns its peak resident memory in KiB."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, _peak_kib(process.pid))
        if time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
            deadline = float("inf")
        time.sleep(0.01)
    return peak


def _peak_kib(process: int) -> int:
    """So far; what `wait4` tells counts the process that it was forked from."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) if found else 0


def fault(case: Case, seen: Seen, folder: Path) -> str:
    """What is wrong with what became of it; "" if nothing is."""
    if seen.status < 0:
        return f"killed by {signal.Signals(-seen.status).name} after {seen.seconds:.0f} s"
    if "Traceback (most recent call last)" in seen.said:
        return f"uncaught: {seen.said.strip().splitlines()[-1][:200]}"
    if (seen.status == 0) != (case.end == "done"):
        return f"exit status {seen.status}: {seen.said.strip()[-300:]}"
    if not re.search(case.says, seen.said):
        return f"does not say {case.says!r}: {seen.said.strip()[-300:]}"
    if found := _UNSEEN.search(seen.said):
        return f"a terminal gets {found[0]!r}"
    if seen.peak_mib > MEMORY_LIMIT_MIB:
        return f"{seen.peak_mib} MiB"
    if case.within and (left := [str(path) for path in folder.rglob(f"*{case.within}*")]):
        return f"left {left[0]}"
    return ""
