"""Advice after a failure, by its cause. "Run the same command again" only where that can help."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from flows.running.failures import AGAIN, Failure, advise, in_words
from infra.build import LedgerDoesNotBalance
from infra.engine import ShardFailed
from infra.engine.launch import LaunchError
from infra.stage import GateError, StageError
from infra.store import Damaged, NotDeterministic
from tests.end_to_end.fixtures import Puna


def os_error(number: int, file: str = "/some/file") -> OSError:
    return OSError(number, os.strerror(number), file)


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def ended(returncode: int, tail: str) -> BaseException:
    """As the training stage reports its process."""
    cause = LaunchError(["python", "-m", "tasks.training", "spec.json"], returncode, tail)
    return caused(StageError(f"training/one failed\n{cause}"), cause)


TRACEBACK = "Traceback (most recent call last):\n  File 'x'\nZeroDivisionError: division by zero\n"
BUG = "this is a bug in puna or in a library"
GOES_ON = "once this is fixed, a run continues at training/one"


def test_a_disk_without_inodes_is_not_called_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SimpleNamespace(f_files=1000, f_favail=0, f_bavail=1 << 20, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda place: found)
    said = advise(Failure(os_error(errno.ENOSPC, str(tmp_path / "a" / "b")), "cut/main")).action
    assert said.startswith(f"the disk under {tmp_path} can hold no more files (no inodes are left")
    assert "make room" in said and AGAIN in said


@pytest.mark.parametrize(
    ("error", "action", "again", "traceback"),
    [
        (StageError("vocabulary is too small; raise it"), GOES_ON, False, False),
        (GateError("too much goes; set dedup.accept"), "", False, False),
        (Damaged("x is damaged; build it again"), "", False, False),
        (NotDeterministic("other bytes; remove it"), "", False, False),
        (LedgerDoesNotBalance("read 3 but accounted for 2"), BUG, False, False),
        (ShardFailed("the worker of shard 3 died"), GOES_ON, False, False),
        (KeyError("nonsense"), BUG, False, True),
        (ZeroDivisionError(), BUG, False, True),
        (os_error(errno.ENOSPC), "the disk is full", True, False),
        (os_error(errno.EDQUOT), "the disk is full", True, False),
        (
            ended(1, "OSError: [Errno 30] Read-only file system: 'results.json'"),
            "lies on a file system that is mounted read-only",
            True,
            False,
        ),
        (
            RuntimeError("Unknown error: Failed to launch worker thread: Resource temporarily un"),
            "training/one ran out of memory: lower training.micro_batch",
            True,
            False,
        ),
        (
            RuntimeError("Write failed: No space left on device (os error 28)"),
            "the disk is full",
            True,
            False,
        ),
        (
            caused(ValueError("cannot write"), os_error(errno.ENOSPC)),
            "make room (puna artifacts gc",
            True,
            False,
        ),
        (
            os_error(errno.EACCES),
            "this user may not use /some/file (Permission denied)",
            True,
            False,
        ),
        (
            os_error(errno.EROFS),
            "/some/file lies on a file system that is mounted read-only: mount it for writing",
            True,
            False,
        ),
        (os_error(errno.EMFILE), "raise the limit (ulimit -n 65536)", True, False),
        (os_error(errno.EIO), "the disk under /some/file fails", True, False),
        (MemoryError(), "ran out of memory: lower training.micro_batch", True, False),
        (
            ImportError("x.so: failed to map segment from shared object"),
            "ran out of memory: lower training.micro_batch",
            True,
            False,
        ),
        (
            ended(-9, ""),
            "was killed from outside, most likely because memory ran out: lower training.micro_ba",
            True,
            False,
        ),
        (
            ended(1, "torch.OutOfMemoryError: CUDA out of memory. Tried"),
            "lower training.micro_batch",
            True,
            False,
        ),
        (ended(1, "OSError: [Errno 28] No space left on device"), "the disk is full", True, False),
        (ended(1, TRACEBACK), BUG, False, False),
        (ended(-11, ""), BUG, False, False),
        (ended(1, "checkpoint belongs to another run; remove it\n"), GOES_ON, False, False),
        (httpx.ConnectError("refused"), "the Prefect server stopped answering", True, False),
        (
            RuntimeError("Failed to reach API at http://127.0.0.1:4200/api/"),
            "stopped answering",
            True,
            False,
        ),
    ],
)
def test_each_kind_of_failure_has_its_own_next_action(
    error: BaseException, action: str, again: bool, traceback: bool
) -> None:
    advice = advise(Failure(error, "training/one", "/tmp", "/tmp/runs/r.json"))
    assert (action in advice.action) if action else advice.action == ""
    assert (AGAIN in advice.action) == again and ("same command again" in advice.action) == again
    assert advice.traceback == traceback
    assert ("/tmp/runs/r.json" in advice.action) == (action == BUG)


def test_errors_in_words() -> None:
    assert in_words(os_error(errno.ENOSPC)) == "/some/file: No space left on device"
    unfinished = OSError(errno.EROFS, "Read-only", "/some/.file.json.12-ab.partial")
    assert in_words(unfinished) == "/some: Read-only"
    assert "/some lies on a file system" in advise(Failure(unfinished)).action
    assert in_words(KeyError("x")) == "KeyError: 'x'" and in_words(MemoryError()) == "MemoryError"
    assert in_words(StageError("lower it")) == "lower it"


FAILING = """
import sys
import tasks.ingest.run
def run(context):
    raise {error}
tasks.ingest.run.run = run
from flows.cli import main
main()
"""


@pytest.mark.timeout(300)
def test_a_run_that_fails_says_what_to_do_and_records_why(puna: Puna, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "one"}\n')
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "name: r\nengine: {kind: inline}\nsources: {web: {ingest: {format: jsonl, paths: "
        "[in.jsonl]}}}\n"
    )

    def run(error: str) -> str:
        command = [
            sys.executable,
            "-c",
            FAILING.format(error=error),
            "run",
            recipe,
            "--store",
            tmp_path / "store",
        ]
        done = subprocess.run(
            command, env=puna.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1, done.stderr
        return done.stderr

    said = run("{}['nonsense']")
    (record,) = (tmp_path / "store" / "runs").iterdir()
    assert (
        "KeyError: 'nonsense'" in said
        and "Traceback" in said
        and BUG in said
        and "same command" not in said
    )
    assert (
        f"The run's record has it too: {record}." in said
        and "KeyError: 'nonsense'" in json.loads(record.read_text())["failure"]
    )
    said = run("OSError(28, 'No space left on device', '/x')")
    assert (
        "error: ingest/web failed: /x: No space left on device\nthe disk is full" in said
        and "Traceback" not in said
    )


CHATTY = """
import logging, sys
import flows.cli.artifacts
def list_():
    logging.getLogger("a.library").warning("building a cache")
flows.cli.artifacts.app.registered_commands[0].callback = list_
from flows.cli import main
main()
"""
WORKER = """
import logging
from infra.engine.processes import Processes
def chat(number):
    logging.getLogger("a.library").warning("building a cache")
    return number
"""


def test_what_libraries_log_does_not_reach_the_terminal(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHATTY, "artifacts", "list"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (tmp_path / "chatty.py").write_text(WORKER)
    code = (
        "import chatty; e = chatty.Processes(1, 0); print(list(e.map(chatty.chat, [7]))); e.close()"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])]),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[7]\n", "")
