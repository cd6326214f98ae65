"""Runs of `puna` in seconds: each is a fork of this process, which has imported everything.

This process must stay without threads, as a fork of a process with threads can deadlock: it runs no
flow, opens no remote store, and computes nothing. `call` does such things in a fork.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import inspect
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

REPOSITORY = Path(__file__).resolve().parents[3]
SURROUNDINGS = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}


def import_everything() -> None:
    """What runs and all stages need, with loops compiled. Twenty seconds, or minutes where loops
    have to be compiled.
    """
    os.environ.update(SURROUNDINGS)
    from flows.monitoring import server

    server.prepare_environment()
    for module in (
        "flows.cli.running",
        "flows.pipeline",
        "flows.monitoring.console",
        "infra.engine.processes",
        "infra.store.s3_directory",
        "s3fs",
        "torch",
        "transformers",
        "tasks.training.loop",
        "tasks.evaluation.evaluate",
        "tests.end_to_end.direct",
    ):
        importlib.import_module(module)
    from infra.engine.libraries import import_all
    from infra.store.identity import source_digest

    import_all()
    for name in sorted(path.parent.name for path in (REPOSITORY / "tasks").glob("*/stage.py")):
        stage = importlib.import_module(f"tasks.{name}.stage").STAGE
        stage.load()
        for module in stage.compiles:
            importlib.import_module(module)
        source_digest(stage)
    _fill_tables()
    assert threading.active_count() == 1, threading.enumerate()
    gc.freeze()  # forks share what is never looked at again


def _fill_tables() -> None:
    """Call what is cached and takes no arguments: tables of characters, the state of the checkout.
    Every process would build them anew, the largest in a quarter of a second.
    """
    for name, module in sorted(sys.modules.items()):
        if not name.startswith(("tasks.text.", "tasks.ingest.", "tasks.quality.", "infra.")):
            continue
        for cached in list(vars(module).values()):
            if not isinstance(cached, functools._lru_cache_wrapper):
                continue
            required = [
                parameter
                for parameter in inspect.signature(cached).parameters.values()
                if parameter.default is parameter.empty
            ]
            if not required:
                cached()
    from tasks.line_dedup import units
    from tasks.line_dedup.stage import LineDedupParameters

    units._forms(LineDedupParameters().normalise)


@dataclass
class Run:
    """A started command: its process, what it says, and the stages that it began and ended."""

    pid: int
    folder: Path
    started: float = field(default_factory=time.monotonic)
    status: int | None = None

    def poll(self) -> int | None:
        """How it ended (negative: by that signal); None while it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def wait(self, within_s: float) -> int | None:
        """How it ended; None if it still runs after so long."""
        deadline = time.monotonic() + within_s
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.status

    def said(self) -> str:
        """What it wrote to stderr."""
        return (self.folder / "stderr").read_text(encoding="utf-8", errors="replace")

    def printed(self) -> dict[str, Any]:
        """The JSON object on its stdout; {} if there is none."""
        with contextlib.suppress(ValueError):
            found: dict[str, Any] = json.loads(
                (self.folder / "stdout").read_text().splitlines()[-1]
            )
            return found
        return {}

    def events(self) -> list[tuple[str, str, float]]:
        """("begin" or "end", step, seconds since the start), in order."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self.folder / "events").read_text().splitlines()
            return [(a, b, float(c) - self.started) for a, b, c in map(str.split, lines)]
        return []

    def running(self) -> list[str]:
        """The steps under way."""
        begun: dict[str, None] = {}
        for what, step, _ in self.events():
            if what == "begin":
                begun[step] = None
            else:
                begun.pop(step, None)
        return list(begun)

    def kill(self) -> None:
        """`kill -9` of its process and of what that started, as when the power goes."""
        for pid in [self.pid, *self.children()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait(10)

    def children(self) -> list[int]:
        """Processes that it started, and those that these did; found by their mark."""
        return [pid for pid in marked(str(self.folder)) if pid != self.pid]


def marked(mark: str) -> list[int]:
    """Living processes below a run's folder: their working directory is that folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str((entry / "cwd").readlink()) != mark:
                continue
            if (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(int(entry.name))
    return found


def start(
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    *,
    prefect: bool = True,
    patch: Callable[[], None] = lambda: None,
) -> Run:
    """Start `puna` with these words in `folder`, a new one, which then has `stdout`, `stderr` and
    `events`. Without `prefect`, the run's walk and stages are the same, and no flow runs are kept.
    """
    folder.mkdir(parents=True)
    for name in ("stdout", "stderr", "events"):
        (folder / name).touch()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        _be(words, folder, environment or {}, prefect, patch)
    return Run(pid, folder)


def call(function: Callable[[], Any], timeout_s: float = 60) -> Any:
    """What `function` returns (JSON) in a fork. `RuntimeError` with its traceback if it raises."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        os.close(reading)
        try:
            answer = json.dumps([True, function()])
        except BaseException:
            answer = json.dumps([False, traceback.format_exc()])
        with open(writing, "w") as stream:
            stream.write(answer)
        os._exit(0)
    os.close(writing)
    with open(reading) as stream:
        signal.alarm(int(timeout_s) + 1)
        try:
            text = stream.read()
        finally:
            signal.alarm(0)
    os.waitpid(pid, 0)
    fine, value = json.loads(text)
    if not fine:
        raise RuntimeError(value)
    return value


def _be(
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    prefect: bool,
    patch: Callable[[], None],
) -> None:
    """Be the run; does not return."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the forking process has a handler
        for number, name in ((1, "stdout"), (2, "stderr")):
            opened = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(opened, number)
            os.close(opened)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.chdir(folder)
        os.environ.update(environment)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        sys.argv = ["puna", *words]
        from tests.faults.runs import forking

        launcher = forking.Launcher()
        forking.fork_pool_server()
        mock.patch("infra.engine.group.subprocess", launcher.stand_in()).start()
        _tell_of_stages(folder / "events")
        if prefect:
            from prefect.context import refresh_global_settings_context

            refresh_global_settings_context()  # Prefect read the environment when it was imported
        else:
            from tests.faults.runs import without_prefect

            without_prefect.patch()
        patch()
        from flows.cli import main

        main()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _tell_of_stages(file: Path) -> None:
    """Write the begin and end of every build to a file."""
    import infra.build

    build = infra.build.build
    events = os.open(file, os.O_WRONLY | os.O_APPEND)

    def telling(order: Any, *arguments: Any, **named: Any) -> Any:
        step = f"{order.stage.name}/{order.name}"
        os.write(events, f"begin {step} {time.monotonic()}\n".encode())
        try:
            return build(order, *arguments, **named)
        finally:
            os.write(events, f"end {step} {time.monotonic()}\n".encode())

    mock.patch("flows.stage.build", telling).start()
    mock.patch("tests.end_to_end.direct.build", telling).start()
