"""Processes forked from a server behave as if they had been started by themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.engine import forking
from infra.engine.forking import Forked, close_servers
from infra.engine.group import ProcessGroup

MODULES = ("json.tool",)
"""Stands for libraries that take long to import."""


@pytest.fixture(autouse=True)
def servers() -> Iterator[None]:
    yield
    processes = [server.process for server in forking._servers.values()]
    close_servers()
    for process in processes:
        assert process.wait(10) == 0


@pytest.fixture
def script(tmp_path: Path) -> Iterator[str]:
    """A module `script_of_test`, found by PYTHONPATH."""
    (tmp_path / "script_of_test.py").write_text(
        "import os, sys, time\n"
        "if __name__ == '__main__':\n"
        "    what = sys.argv[1]\n"
        "    if what == 'say':\n"
        "        own = os.getsid(0) == os.getpid()\n"
        "        print(os.environ['WORD'], own, 'json.tool' in sys.modules)\n"
        "        print('to stderr', file=sys.stderr)\n"
        "        sys.exit(3)\n"
        "    if what == 'raise':\n"
        "        raise ValueError('it broke')\n"
        "    if what == 'stdin':\n"
        "        sys.exit(int(len(sys.stdin.read()) == 0) + 40)\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    yield str(tmp_path)


def forked(folder: str, what: str, **variables: str) -> Forked:
    environment = {**os.environ, "PYTHONPATH": folder, **variables}
    return Forked(["script_of_test", what], env=environment, modules=MODULES)


def test_it_has_its_own_environment_pipes_session_and_status(script: str) -> None:
    one, other = forked(script, "say", WORD="one"), forked(script, "say", WORD="other")
    for process, word in ((one, "one"), (other, "other")):
        assert process.stdout.read() == f"{word} True True\n"
        assert process.stderr.read() == "to stderr\n"
        assert process.wait() == 3 and process.poll() == 3
    assert one.pid != other.pid
    assert len(forking._servers) == 1  # both were forked from one


def test_an_exception_ends_with_its_traceback(script: str) -> None:
    process = forked(script, "raise")
    assert "ValueError: it broke" in process.stderr.read()
    assert process.wait() == 1


def test_stdin_closes_and_a_signal_is_told(script: str) -> None:
    process = forked(script, "stdin")
    assert process.poll() is None
    process.stdin.close()
    assert process.wait() == 41
    sleeping = forked(script, "sleep")
    assert sleeping.stdout.readline() == "ready\n"
    os.kill(sleeping.pid, signal.SIGKILL)
    assert sleeping.wait() == -signal.SIGKILL


def test_a_group_ends_one_that_does_not_end_by_itself(script: str) -> None:
    environment = {**os.environ, "PYTHONPATH": script}
    group = ProcessGroup(["python", "script_of_test", "sleep"], environment, MODULES)
    assert next(group.lines()) == "ready"
    (member,) = group.members()
    group.end(grace_s=0.2)
    assert group.returncode == -signal.SIGTERM
    assert not psutil.pid_exists(member.pid)


def test_a_server_that_was_killed_is_followed_by_another(script: str) -> None:
    running = forked(script, "sleep")
    assert running.stdout.readline() == "ready\n"
    (server,) = forking._servers.values()
    server.process.kill()
    server.process.wait()
    assert running.wait() == forking.GONE
    os.kill(running.pid, signal.SIGKILL)
    again = forked(script, "say", WORD="again")
    assert again.stdout.readline().startswith("again") and again.wait() == 3


def test_nothing_is_left_when_the_parent_is_killed(script: str) -> None:
    code = (
        "import os, sys, time\n"
        "from infra.engine.forking import Forked, _servers\n"
        "f = Forked(['script_of_test', 'stdin'], env=dict(os.environ), modules=('json.tool',))\n"
        "print(f.pid, next(iter(_servers.values())).process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[3]}:{script}"}
    parent = subprocess.Popen(
        [sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, pids))
