"""Cases of the fault table that are no moment of one run: several runs at once, a server that is
away for a minute, a place that cannot be written from the start, clocks that differ.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.faults.runs import fault, judge, warm
from tests.faults.runs.fault import Surroundings
from tests.faults.runs.kinds import KINDS, PROCESSES, Kind, fits
from tests.faults.runs.scene import RUN_LIMIT_S, Scene

Case = Callable[[Surroundings], str]
"""Makes the case; what was seen. `AssertionError` with what is wrong."""

CASES: dict[str, Case] = {}
_NEW_UTS = 0x04000000  # CLONE_NEWUTS of sched.h


def case(name: str) -> Callable[[Case], Case]:
    """Enter a case under its name."""

    def enter(function: Case) -> Case:
        CASES[name] = function
        return function

    return enter


def make(name: str, around: Surroundings) -> dict[str, Any]:
    """Make one case; its line of the table."""
    began, seen, wrong = time.monotonic(), "", ""
    try:
        seen = CASES[name](around)
    except Exception as error:  # of the case, or of what makes it: the others go on
        wrong = str(error)[:600] or type(error).__name__
    return {"case": name, "seen": seen, "wrong": wrong, "seconds": time.monotonic() - began}


def _scene(around: Surroundings, number: int, engine: Sequence[str] = (), **changed: Any) -> Scene:
    kind = Kind("named", lambda scene: "", **changed)
    return around.scene(kind, -number, tuple(engine), "loop")


def _is_as_undisturbed(scene: Scene, around: Surroundings) -> None:
    artifacts = around.undisturbed["artifacts"]["loop"]
    reference = {id: tuple(pair) for id, pair in artifacts.items()}
    wrong = judge.compared(judge.held(scene.files), reference, whole=True)
    assert not wrong, "; ".join(wrong[:3])
    left = judge.left_over(scene.files)
    assert not left, f"left over: {left[0]}"


def _ended(runs: Sequence[warm.Run], *statuses: int) -> None:
    for run in runs:
        status = run.wait(RUN_LIMIT_S)
        assert status in statuses, f"ended with {status}: {run.said()[-400:]}"


def _beside(around: Surroundings, count: int, engine: Sequence[str]) -> str:
    with _scene(around, 10 + count, engine) as scene:
        runs = [scene.begin() for _ in range(count)]
        _ended(runs, 0)
        _is_as_undisturbed(scene, around)
    return "all end well, and the store holds each artifact once"


@case("two runs at once on one store")
def two(around: Surroundings) -> str:
    """Started in the same instant."""
    return _beside(around, 2, PROCESSES)


@case("ten runs at once on one store")
def ten(around: Surroundings) -> str:
    """Started in the same instant."""
    return _beside(around, 10, ())


@case("Prefect's server killed, and away for a minute")
def away(around: Surroundings) -> str:
    """The run goes on when it is back, and so does the history."""
    with _scene(around, 3, prefect=True) as scene:
        run = scene.begin()
        while len(run.events()) < 8:
            time.sleep(0.05)
            assert run.poll() is None, run.said()[-400:]
        around.prefect.signal(signal.SIGKILL)
        time.sleep(60)
        assert run.poll() is None, f"ended meanwhile: {run.said()[-400:]}"
        around.prefect.begin()
        back = time.monotonic()
        _ended([run], 0)
        seconds = time.monotonic() - back
        _is_as_undisturbed(scene, around)
        wrong = fault._unfinished(scene)
        assert not wrong, wrong[0]
    return f"the run waits, goes on and ends {seconds:.0f} s after; no flow run is left unfinished"


def _from_the_start(around: Surroundings, number: int, name: str) -> str:
    kind = next(kind for kind in KINDS if kind.name == name)
    with around.scene(kind, -number, (), "loop") as scene:
        assert kind.strike(scene)
        run = scene.begin()
        status = run.wait(RUN_LIMIT_S)
        kind.mend(scene)
        wrong = fits(kind, status, run.said()) or judge.unclear(run.said())
        assert status in (1, 2) and not wrong, wrong or f"ended with {status}"
        _ended([scene.begin()], 0)
        _is_as_undisturbed(scene, around)
        said = judge.error_of(run.said()).splitlines()
    return f"{said[0].removeprefix('error: ')}: {said[1]} The same command completes then"


@case("a full disk from the start")
def full(around: Surroundings) -> str:
    """Not a byte is left when the run begins."""
    return _from_the_start(around, 4, "disk full")


@case("a disk without inodes from the start")
def no_inodes(around: Surroundings) -> str:
    """No file can be made when the run begins."""
    return _from_the_start(around, 5, "no inodes")


@case("SIGTERM in every stage")
def terminated(around: Surroundings) -> str:
    """One run: terminated in its first stage, started again, terminated in the next, and so on."""
    steps = around.undisturbed["steps"]["disk, inline"]
    stages = list(dict.fromkeys(step.partition("/")[0] for step in steps))
    struck: list[str] = []
    with _scene(around, 6) as scene:
        for stage in stages:
            run = scene.begin()
            while run.poll() is None:
                if any(step.startswith(f"{stage}/") for step in run.running()):
                    os.kill(run.pid, signal.SIGTERM)
                    break
                time.sleep(0.0005)
            status = run.wait(RUN_LIMIT_S)
            said = run.said()
            assert status in (0, 75), f"{stage}: ended with {status}: {said[-300:]}"
            if status == 75:
                assert "run the same command again to continue" in said, f"{stage}: {said[-300:]}"
                struck.append(stage)
        _ended([scene.begin()], 0)
        _is_as_undisturbed(scene, around)
    assert len(struck) > len(stages) // 2, f"only in {struck}"
    seen = f"exit status 75 and what to do in {len(struck)} of {len(stages)} stages"
    return f"{seen}; the others had ended when the signal came"


@case("S3's server killed, and back after ten seconds")
def s3_away(around: Surroundings) -> str:
    """Within the two minutes that the run has patience."""
    with _scene(around, 7, PROCESSES, place="s3") as scene:
        run = scene.begin("-s", "remote.retry_limit_s=120")
        while len(run.events()) < 12:
            time.sleep(0.02)
            assert run.poll() is None, run.said()[-400:]
        around.s3.signal(signal.SIGKILL)
        time.sleep(10)
        around.s3.begin()
        _ended([run], 0)
        _is_as_undisturbed(scene, around)
    return "the run asks again until it is back, and ends well"


def _other_host(name: str) -> Callable[[], None]:
    """Be on a host of another name, as far as this process and its children see."""

    def patch() -> None:
        assert ctypes.CDLL(None).unshare(_NEW_UTS) == 0
        socket.sethostname(name)

    return patch


def _clocks_apart(around: Surroundings, number: int, seconds: float) -> str:
    with _scene(around, number, moved_clock=True) as scene:
        scene.move_clock(0)
        first = scene.begin()
        clock, scene.clock = scene.clock, scene.folder / "other-clock"
        scene.move_clock(seconds)
        scene.host = _other_host(f"other-{number}")
        second = scene.begin()
        scene.clock, scene.host = clock, None
        _ended([first, second], 0)
        _is_as_undisturbed(scene, around)
        waited = [run.said().count("another run is building it") for run in (first, second)]
    assert any(waited), "neither waited for a lease of the other"
    return f"both end well; they waited {waited[0]} and {waited[1]} times for the other's lease"


@case("two hosts on one store, one clock an hour ahead")
def ahead(around: Surroundings) -> str:
    """Leases of another host are judged by their beats."""
    return _clocks_apart(around, 8, 3600)


@case("two hosts on one store, one clock an hour behind")
def behind(around: Surroundings) -> str:
    """Leases of another host are judged by their beats."""
    return _clocks_apart(around, 9, -3600)
