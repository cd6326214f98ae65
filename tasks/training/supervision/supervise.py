"""Start the ranks of a phase, watch them, and start them again from the last checkpoint.

One attempt: the command of `commands.py` runs; the main rank prints JSON lines, and every rank
keeps a record of itself in the attempt's folder. When one ends, all end, and `endings.py` says why.
An attempt that died is followed by another, `devices.restarts` times at most and only while each
comes further than those before; errors that would come again are not tried again.
"""

from __future__ import annotations

import json
import secrets
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.engine.forking import has_gpu
from infra.engine.group import TAIL_LINES, ProcessGroup
from infra.engine.launch import LaunchError
from infra.secrets import redacted
from infra.stage import StageError
from tasks.documents.proposals import PROXY_MODULES
from tasks.training.stage import TrainingParameters
from tasks.training.supervision.commands import rank_count, start_command, start_environment
from tasks.training.supervision.endings import Ended, Failure, failure_of, waiting_for
from tasks.training.supervision.held_time import HeldTime, step_times
from tasks.training.supervision.memory_words import less_memory, oom_kills
from tasks.training.supervision.rank_record import ALIVE, RankRecord, log_of, read_records

GRACE_S = 120.0
"""Time that the ranks have to save their work when they are asked to end; they may end earlier."""

TICK_S = 0.5
ALIVE_S = 5.0
"""Pause between signs of life for ranks that no pipe connects with this process."""

TAIL_BYTES = 20_000
"""Of each rank's stderr, kept in records and in errors."""


_TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Listener:
    """Who is told while training runs."""

    progress: Callable[[dict[str, Any]], None]
    """Gets the metrics of a step."""
    restart: Callable[[str], None]
    """Gets a sentence about a failure that is followed by another attempt."""
    stopped: Callable[[], bool]
    """Whether somebody has asked for the end."""


@dataclass
class _Heard:
    """What the main rank printed in one attempt."""

    done: dict[str, Any] | None = None
    error: str = ""
    first_step: int | None = None
    """Steps done when training began; None before."""


class Stopped(Exception):
    """The ranks have ended because somebody asked for it."""


@dataclass
class Supervisor:
    """The attempts of one phase.

    Args:
        parameters: of the phase.
        values: the spec of a rank, as JSON, without the attempt's folder.
        scratch: the phase's folder, which all ranks see.
        cpu_threads: of this machine, divided among its ranks.
    """

    parameters: TrainingParameters
    values: Mapping[str, Any]
    scratch: Path
    cpu_threads: int
    listener: Listener
    logs: dict[int, list[str]] = field(default_factory=dict)
    """Rank -> the last of its stderr in each attempt."""

    def __post_init__(self) -> None:
        self._held = HeldTime(self.scratch)
        self._folders = self.scratch / "ranks"
        shutil.rmtree(self._folders, ignore_errors=True)
        self._ranks = rank_count(self.parameters.devices)

    def train(self) -> dict[str, Any]:
        """Train to the end of the phase; returns its statistics, `time` among them.

        Raises:
            StageError: it failed; its steps up to the last checkpoint are kept.
            Stopped: `listener.stopped`, and the ranks have saved their work.
        """
        furthest, restarts = -1, 0
        while True:
            self._held.begins(again=restarts > 0)
            heard, failure, group = self._attempt()
            self._held.failed()
            if heard.done is not None:
                return heard.done | {"time": self._held.summary()}
            if self.listener.stopped():
                raise Stopped
            assert failure is not None
            reached = max(step_times(self.scratch / "metrics.jsonl"), default=0)
            further = reached > max(furthest, heard.first_step or 0)
            furthest = max(furthest, reached)
            ending = self._no_restart(failure, restarts, further=further)
            if ending is not None:
                cause = self._cause(failure, group)
                output = f"\n{cause.tail.strip()}" if cause and _TRACEBACK in cause.tail else ""
                raise StageError(f"{failure.reason}{ending}{output}") from cause
            restarts += 1
            self.listener.restart(
                f"{failure.reason.split('. ')[0]}; training starts again from the last checkpoint "
                f"(restart {restarts} of at most {self.parameters.devices.restarts})"
            )

    def _no_restart(self, failure: Failure, restarts: int, *, further: bool) -> str | None:
        """Words that follow the reason of a failure that ends the phase; None for a restart."""
        limit = self.parameters.devices.restarts
        if failure.kind in ("again", "start", "outside") or limit == 0:
            return ""
        # The first death may be chance; one that returns before any new step is not.
        if not further and (restarts > 0 or failure.kind == "memory"):
            return (
                f" (it was started again {_times(restarts)}, and came no further the last time)"
                if restarts
                else ""
            )
        if restarts >= limit:
            return f" (it had been started again {_times(restarts)}: devices.restarts is {limit})"
        return None

    def _attempt(self) -> tuple[_Heard, Failure | None, ProcessGroup | None]:
        folder = self._folders / secrets.token_hex(4)
        folder.mkdir(parents=True)
        spec = folder / "spec.json"
        threads = max(1, self.cpu_threads // (self._local_ranks()))
        values = {**self.values, "cpu_threads": threads, "supervised": str(folder)}
        spec.write_text(json.dumps(values, sort_keys=True), encoding="utf-8")
        words = start_command(self.parameters.devices, self._ranks, spec)
        kills = oom_kills()
        try:
            group = ProcessGroup(words, start_environment(threads), self._forked())
        except OSError as error:
            reason = (
                f"the command `{words[0]}` of devices.launcher cannot be started "
                f"({error.strerror}); install it, give its full path, or correct devices.launcher"
            )
            return _Heard(), Failure("start", reason), None
        heard = _Heard()
        try:
            late = self._listen(group, folder, heard)
        finally:
            group.end(GRACE_S)
            self._keep_logs(folder, group)
        if heard.done is not None:
            return heard, None, group
        if late:
            return heard, Failure("start", late), group
        killed = oom_kills()
        ended = Ended(
            read_records(folder),
            heard.error,
            group.returncode or 0,
            "".join(group.tail),
            self._ranks,
            shlex.join(self.parameters.devices.launcher),
            less_memory(self.parameters),
            None if kills is None or killed is None else killed - kills,
        )
        return heard, failure_of(ended), group

    def _forked(self) -> tuple[str, ...]:
        """What a proxy's process is forked with: many start one after the other, on a CPU."""
        devices = self.parameters.devices
        alone = self._ranks == 1 and not devices.launcher and not has_gpu()
        return PROXY_MODULES if self.parameters.proxy and alone else ()

    def _local_ranks(self) -> int:
        """Ranks on this machine, as far as it is known here."""
        return 1 if self.parameters.devices.launcher else self._ranks or 1

    def _listen(self, group: ProcessGroup, folder: Path, heard: _Heard) -> str:
        """Pass on what the main rank prints until the command ends; returns what a start waited
        for in vain, else "".
        """
        start = _Start(self.parameters, self._ranks, folder)
        alive_at = 0.0
        while True:
            ended = group.returncode is not None  # asked first: it may print and end while we wait
            line = group.line(TICK_S)
            for message in _messages(line):
                self._hear(message, heard)
            if self.listener.stopped():
                group.close_stdin()
            now = time.monotonic()
            if now - alive_at >= ALIVE_S:
                alive_at = now
                self._held.count()
                _show_life(folder, now)
            if line is None:
                if ended:
                    return ""
                if waited := start.too_late(now):
                    return waited

    def _hear(self, message: dict[str, Any], heard: _Heard) -> None:
        if "training" in message:
            heard.first_step = int(message["training"]["step"])
            self._held.trains(heard.first_step)
        if "progress" in message:
            self.listener.progress(message["progress"])
        heard.error = message.get("error", heard.error)
        if "done" in message:
            heard.done = message["done"]

    def _keep_logs(self, folder: Path, group: ProcessGroup) -> None:
        for record in read_records(folder):
            log = log_of(folder, record.rank)
            text = _tail_of(log) if log.exists() else "".join(group.tail)
            self.logs.setdefault(record.rank, []).append(redacted(text))

    def _cause(self, failure: Failure, group: ProcessGroup | None) -> LaunchError | None:
        """The failed process, for those who look for a bug in its output; None where the reason
        says all.
        """
        if group is None or failure.kind == "start" or failure.returncode == -signal.SIGKILL:
            return None
        texts = self.logs.get(failure.rank or 0)
        lines = texts[-1].splitlines(keepends=True) if texts else list(group.tail)
        return LaunchError(group.words, failure.returncode or 1, "".join(lines[-TAIL_LINES:]))


class _Start:
    """Watches that a start goes on: ranks come, find each other, and load the model."""

    def __init__(self, parameters: TrainingParameters, ranks: int | None, folder: Path) -> None:
        self._folder, self._ranks = folder, ranks
        self._limit_s = parameters.devices.start_timeout
        self._launcher = shlex.join(parameters.devices.launcher)
        self._seen: object = None
        self._since = time.monotonic()
        self._done = False

    def too_late(self, now: float) -> str:
        """What the start waited for longer than it may; "" otherwise."""
        if self._done:
            return ""
        records = read_records(self._folder)
        seen = {(record.rank, record.stage) for record in records}
        if seen != self._seen:
            self._seen, self._since = seen, now
        self._done = _all_train(records, self._ranks)
        if self._done or now - self._since < self._limit_s:
            return ""
        return waiting_for(records, self._ranks, self._launcher, self._limit_s)


def _all_train(records: list[RankRecord], ranks: int | None) -> bool:
    size = ranks or max((record.world_size for record in records), default=1)
    return len(records) >= size and all(record.stage == "training" for record in records)


def _messages(line: str | None) -> Iterator[dict[str, Any]]:
    """The JSON object of a line; libraries and launchers print other lines."""
    if line is None:
        return
    try:
        message = json.loads(line)
    except ValueError:
        return
    if isinstance(message, dict):
        yield message


def _show_life(folder: Path, now: float) -> None:
    try:
        (folder / ALIVE).write_text(f"{now}\n", encoding="utf-8")
    except OSError as error:
        sys.stderr.write(f"{folder / ALIVE}: {error.strerror}\n")


def _tail_of(log: Path) -> str:
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        return file.read().decode("utf-8", errors="replace")


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
