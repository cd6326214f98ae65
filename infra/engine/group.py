"""A command with all the processes that it starts: their lines, their end, and nobody left over.

A launcher such as torchrun puts its processes into sessions of their own, so neither their parent
nor their process group finds them once it is gone. Each carries a variable of its environment
instead, by which they are found (`members`). All hold the read end of one pipe as stdin, and this
process alone the other end: the kernel closes it however this process dies, and processes that call
`infra.engine.launch.exit_with_parent` then save and end.
"""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

import psutil

from infra.engine.forking import MARK, Forked

TAIL_LINES = 40
"""Last lines of stderr that are kept."""

TERM_S = 10.0
"""Time between SIGTERM and SIGKILL, in which a launcher can end what runs elsewhere."""

_POLL_S = 0.1


class ProcessGroup:
    """A started command.

    Args:
        words: the command.
        environment: all variables of its processes.
        forked: a command of `infra.engine.launch.module_command` is forked from a process that has
            imported these modules, instead of being started.

    Raises:
        OSError: it cannot be started (not found, not permitted).
    """

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], forked: Sequence[str] = ()
    ) -> None:
        self.words = tuple(words)
        self.tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        """Last lines of stderr."""
        self._mark = secrets.token_hex(8)
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._child = self._start({**environment, MARK: self._mark}, forked)
        self._readers = [
            threading.Thread(target=self._read_stdout, daemon=True, name="stdout"),
            threading.Thread(target=self._read_stderr, daemon=True, name="stderr"),
        ]
        for reader in self._readers:
            reader.start()

    def _start(
        self, environment: Mapping[str, str], forked: Sequence[str]
    ) -> subprocess.Popen[str] | Forked:
        if forked:
            return Forked(self.words[-2:], env=environment, modules=forked)
        return subprocess.Popen(
            self.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
            # ^C reaches this process only, which then ends the group
            start_new_session=True,
        )

    def _read_stdout(self) -> None:
        with contextlib.suppress(ValueError):  # closed by `end`
            for line in self._child.stdout or ():
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _read_stderr(self) -> None:
        with contextlib.suppress(ValueError):
            self.tail.extend(self._child.stderr or ())

    def line(self, timeout_s: float) -> str | None:
        """The next line of stdout; None if there is none within `timeout_s` seconds."""
        with contextlib.suppress(queue.Empty):
            line = self._lines.get(timeout=timeout_s)
            if line is not None:
                return line
            self._lines.put(None)  # no more lines will come, at the next call neither
            if self._child.poll() is None:
                time.sleep(min(timeout_s, _POLL_S))
        return None

    def lines(self) -> Iterator[str]:
        """The lines of stdout as they come, until it closes."""
        while (line := self._lines.get()) is not None:
            yield line
        self._lines.put(None)

    def wait(self) -> int:
        """How the command ended, once it has (negative: by that signal)."""
        return self._child.wait()

    @property
    def returncode(self) -> int | None:
        """How the command ended (negative: by that signal); None while it runs."""
        return self._child.poll()

    def members(self) -> list[psutil.Process]:
        """The processes of the group on this machine that are running, in no order."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid == self._child.pid:
                    running = self._child.poll() is None
                else:
                    running = (
                        process.environ().get(MARK) == self._mark
                        and process.status() != psutil.STATUS_ZOMBIE
                    )
                if running:
                    found.append(process)
        return found

    def close_stdin(self) -> None:
        """Ask the processes to save their work and end."""
        with contextlib.suppress(OSError, ValueError):
            if self._child.stdin:
                self._child.stdin.close()

    def end(self, grace_s: float) -> None:
        """End all processes: stdin closes, SIGTERM follows `grace_s` seconds later to those that
        still run, then SIGKILL. Afterwards none is left on this machine.
        """
        self.close_stdin()
        if not self._gone(grace_s):
            self._signal(signal.SIGTERM)
            if not self._gone(TERM_S):
                self._signal(signal.SIGKILL)
                self._gone(TERM_S)
        for reader in self._readers:
            reader.join(timeout=5)

    def _gone(self, within_s: float) -> bool:
        give_up = time.monotonic() + within_s
        while self._child.poll() is None or self.members():
            if time.monotonic() >= give_up:
                return False
            time.sleep(_POLL_S)
        return True

    def _signal(self, number: signal.Signals) -> None:
        if self._child.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(self._child.pid, number)
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
