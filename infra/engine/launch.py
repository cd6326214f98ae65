"""Launch a stage in a process of its own: it reads a JSON spec, prints its progress line by line,
and never outlives its parent.

The parent holds the child's stdin open. A child that calls `exit_with_parent` ends when that pipe
closes, which the kernel does however the parent dies. Training nodes import this with the standard
library only.

No process of ours imports modules from the working directory, where a user may keep a `tasks.py` or
a `json.py`: each is started with `safe_environment`, which its children inherit, and runs our
modules through `BOOTSTRAP`.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.interrupts import INTERRUPTED

BOOTSTRAP = Path(__file__).resolve().with_name("bootstrap") / "puna_packages.py"


class LaunchError(Exception):
    """A child process failed. Carries its exit status and the last lines of its stderr."""

    def __init__(self, command: Sequence[str], returncode: int, tail: str) -> None:
        ending = (
            f"was killed by signal {-returncode}"
            if returncode < 0
            else f"exited with status {returncode}"
        )
        super().__init__(f"{' '.join(command)} {ending}:\n{tail.rstrip() or '(nothing on stderr)'}")
        self.returncode = returncode
        self.tail = tail

    def how_it_ended(self, less_memory: str) -> str:
        """The end in words, without the command; `less_memory` says how to use less memory."""
        if self.returncode < 0:
            return (
                f"was ended by signal {-self.returncode} (9 usually means that memory ran out: "
                f"{less_memory})"
            )
        return (
            f"exited with status {self.returncode}, which is a bug; please report it with the "
            "output below"
        )


def safe_environment() -> dict[str, str]:
    """Variables with which Python processes and their children find our packages, and nothing in
    the working directory.

    The user's folders stay in PYTHONPATH, after ours, which holds a single module. Empty entries
    are removed: `$PYTHONPATH:folder` has one where the variable was not set, and Python reads it as
    the working directory.
    """
    ours = str(BOOTSTRAP.parent)
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    theirs = [entry for entry in entries if entry not in ("", ours)]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join([ours, *theirs])}


def module_command(name: str, spec: Path) -> list[str]:
    """The words that run our module `name` with a spec, from any working directory."""
    return [sys.executable, "-P", str(BOOTSTRAP), name, str(spec)]


def launch_module(
    name: str,
    spec: Path,
    on_message: Callable[[dict[str, Any]], None],
    *,
    cpu_threads: int,
    grace_s: float = 20.0,
    forked: Sequence[str] = (),
) -> None:
    """Run our module `name` as `launch` does; `on_message` gets every JSON object that it prints.

    Other lines are ignored: a library printed them. `forked`: the process is forked from one that
    has imported these modules. Raises `LaunchError`.
    """

    def on_line(line: str) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return
        if isinstance(message, dict):
            on_message(message)

    # Waiting threads sleep rather than spin: on two cores that others used too, 400 questions took
    # 40 s of wall-clock time instead of 195 s.
    threads = {"OMP_NUM_THREADS": str(cpu_threads), "OMP_WAIT_POLICY": "PASSIVE"}
    environment = {**safe_environment(), **threads}
    launch(
        module_command(name, spec),
        on_line,
        environment=environment,
        grace_s=grace_s,
        forked=forked,
    )


def launch(
    words: Sequence[str],
    on_line: Callable[[str], None],
    *,
    environment: Mapping[str, str] | None = None,
    grace_s: float = 20.0,
    forked: Sequence[str] = (),
) -> None:
    """Run a command until it ends; `on_line` gets every line of its stdout as it comes.

    When `on_line` raises, or this thread is interrupted, the command and all that it started end as
    `ProcessGroup.end` says: stdin is closed, so that they can save their work.

    Args:
        on_line: called in this thread, without the newline.
        environment: variables added to those of this process.
        grace_s: seconds that they have to exit on their own.
        forked: see `infra.engine.group.ProcessGroup`.

    Raises:
        LaunchError: the exit status is not 0.
    """
    from infra.engine.group import ProcessGroup  # needs psutil, which training nodes may lack

    group = ProcessGroup(words, {**os.environ, **(environment or {})}, forked)
    try:
        for line in group.lines():
            on_line(line)
        returncode = group.wait()
    finally:
        group.end(grace_s)
    if returncode != 0:
        raise LaunchError(words, returncode, "".join(group.tail))


def exit_with_parent(
    stop: Callable[[], None] | None = None, *, grace_s: float = 10.0, status: int = INTERRUPTED
) -> None:
    """In the child: exit when stdin closes. `stop` is called first, and the process exits `grace_s`
    seconds later if it has not ended by then.

    Only a pipe means a parent: with a terminal or /dev/null as stdin nothing is watched. The
    default status means interrupted and resumable.
    """
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return

    def watch() -> None:
        # not sys.stdin, whose lock a daemon thread must not hold at interpreter exit
        while os.read(0, 4096):
            pass
        if stop is not None:
            stop()
            timer.wait(grace_s)
        os._exit(status)

    timer = threading.Event()
    threading.Thread(target=watch, daemon=True, name="exit-with-parent").start()
