"""Which process wrote a lease or a run record, and whether it is still running."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.process import is_alive, process_identity

ME = process_identity()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_identity_is_what_earlier_versions_wrote() -> None:
    """Leases, run records and flow runs' tags have always held the kernel's start time."""
    stat = Path(f"/proc/{os.getpid()}/stat").read_text(encoding="utf-8", errors="replace")
    assert ME["started"] == stat.rpartition(")")[2].split()[19]
    assert list(ME) == ["host", "pid", "started"] and ME["pid"] == os.getpid()


def test_a_living_process_stays_alive_when_the_clock_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boot = psutil.boot_time()
    for module in (psutil, psutil._psplatform):
        monkeypatch.setattr(module, "boot_time", lambda: boot + 86_400.0)
    assert is_alive(ME) is True


def test_a_process_that_is_gone_or_another_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = psutil.Process(child.pid).create_time() - psutil.boot_time()
        owner = ME | {
            "pid": child.pid,
            "started": str(round(started * os.sysconf("SC_CLK_TCK"))),
        }
        assert is_alive(owner) is True
        assert is_alive(owner | {"started": "1"}) is False  # the pid belongs to another by now
        assert is_alive(owner | {"started": "alive"}) is False  # once written where /proc is not
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_alive(owner) is False  # a zombie
    assert is_alive(owner) is False
    for pid in (-1, 2**31, 10**30):
        assert is_alive(ME | {"pid": pid}) is False


def test_another_host_cannot_be_judged() -> None:
    assert is_alive(ME | {"host": "elsewhere"}) is None
