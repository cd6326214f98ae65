"""Launch a stage's own process: a command that reads a JSON spec, reports lines, and never outlives
its parent.

The parent holds the child's stdin open; a child that calls `exit_with_parent` ends when that pipe
closes, which the kernel does however the parent dies. Stdlib only: training nodes import this.

No process of ours takes modules from the working directory, where a user's `tasks.py` or `json.py`
may lie: each is started with `safe_environment`, which its own children inherit, and modules of
ours through `BOOTSTRAP`.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

TAIL_LINES = 40
BOOTSTRAP = Path(__file__).resolve().with_name("bootstrap") / "puna_packages.py"


class LaunchError(Exception):
    """The process failed: carries its exit status and the last lines of its stderr."""

    def __init__(self, command: Sequence[str], returncode: int, tail: str) -> None:
        how = f"signal {-returncode}" if returncode < 0 else f"status {returncode}"
        super().__init__(
            f"{' '.join(command)} ended with {how}:\n{tail.rstrip() or '(nothing on stderr)'}"
        )
        self.returncode = returncode
        self.tail = tail

    def how_it_ended(self, less_memory: str) -> str:
        """For a person, without the command: "ended with ..."; `less_memory`: what to do."""
        if self.returncode < 0:
            return (
                f"was ended by signal {-self.returncode} (9 is mostly a machine without memory "
                f"left: {less_memory})"
            )
        return (
            f"ended with status {self.returncode}, which is a defect; please report it with what "
            "follows"
        )


def safe_environment() -> dict[str, str]:
    """Variables for Python processes, and theirs, that are to find our packages and nothing in the
    working directory.

    Of PYTHONPATH the user's folders stay, behind ours with the one module in it; an empty entry,
    such as `$PYTHONPATH:folder` leaves where the variable was not set, means the working directory
    and goes.
    """
    ours = str(BOOTSTRAP.parent)
    given = [
        entry
        for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)
        if entry not in ("", ours)
    ]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join([ours, *given])}


def launch_module(
    name: str,
    spec: Path,
    on_message: Callable[[dict[str, Any]], None],
    *,
    cpu_threads: int,
    grace_s: float = 20.0,
) -> None:
    """Run our module `name` with a spec as `launch` does; `on_message` gets every JSON object that
    it prints.

    Lines that are no JSON object are something that a library printed. Raises `LaunchError`.
    """

    def on_line(line: str) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return
        if isinstance(message, dict):
            on_message(message)

    # Waiting threads sleep: where others use the cores, spinning ones take five times the wall
    # clock (measured: 195 s against 40 s for 400 questions on two busy cores).
    threads = {"OMP_NUM_THREADS": str(cpu_threads), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-P", str(BOOTSTRAP), name]
    launch(command, spec, on_line, environment={**safe_environment(), **threads}, grace_s=grace_s)


def launch(
    command: Sequence[str],
    spec: Path,
    on_line: Callable[[str], None],
    *,
    environment: Mapping[str, str] | None = None,
    grace_s: float = 20.0,
) -> None:
    """Run `command SPEC` to its end; `on_line` gets every line of its stdout as it comes.

    When `on_line` raises, or this thread is interrupted, the child's stdin is closed (it may save
    its work), and after `grace_s` seconds it is killed.

    Args:
        command: words of the command, without the spec.
        spec: path of the JSON file that is its last argument.
        on_line: called in this thread, without the newline.
        environment: variables added to this process's own.
        grace_s: seconds a child gets to end by itself.

    Raises:
        LaunchError: the exit status is not 0.
    """
    words = [*command, str(spec)]
    child = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **(environment or {})},
        # Ctrl-C reaches the parent only, which ends the child in good order
        start_new_session=True,
    )
    tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
    stderr = threading.Thread(target=lambda: tail.extend(child.stderr or ()), daemon=True)
    stderr.start()
    try:
        for line in child.stdout or ():
            on_line(line.rstrip("\n"))
        returncode = child.wait()
    finally:
        _end(child, grace_s)
        stderr.join(timeout=5)
    if returncode != 0:
        raise LaunchError(words, returncode, "".join(tail))


def _end(child: subprocess.Popen[str], grace_s: float) -> None:
    """See that the child is gone, gently first, and its pipes closed."""
    with contextlib.suppress(OSError):
        if child.stdin:
            child.stdin.close()
    try:
        child.wait(timeout=grace_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    finally:
        if child.stdout:
            child.stdout.close()


def exit_with_parent(
    stop: Callable[[], None] | None = None, *, grace_s: float = 10.0, status: int = 75
) -> None:
    """In the child: end when stdin closes. `stop` is told first; `grace_s` seconds later the
    process ends hard.

    Only a pipe means a parent: started from a terminal, or by a launcher that gives /dev/null,
    nothing is watched. Status 75 says interrupted and resumable.
    """
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return

    def watch() -> None:
        while os.read(
            0, 4096
        ):  # not sys.stdin, whose lock a daemon thread must not hold at interpreter exit
            pass
        if stop is not None:
            stop()
            timer.wait(grace_s)
        os._exit(status)

    timer = threading.Event()
    threading.Thread(target=watch, daemon=True, name="exit-with-parent").start()
