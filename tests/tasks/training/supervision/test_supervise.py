"""Supervision of the ranks: launchers that fail, ranks that die, and who is blamed; acted by the
processes of `launched.py`.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.engine.launch import LaunchError
from infra.stage import StageError
from tasks.training.supervision import supervise
from tasks.training.supervision.supervise import Listener, Stopped, Supervisor
from tests.tasks.training.toys import parameters

ACTORS = Path(__file__).with_name("launched.py")


class Heard:
    """What a listener is told."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.restarts: list[str] = []


def train(
    scratch: Path,
    scene: str,
    *,
    heard: Heard | None = None,
    stopped: Any = lambda: False,
    **devices: Any,
) -> dict[str, Any]:
    launcher = [sys.executable, str(ACTORS), scene]
    values = parameters(devices={"launcher": launcher} | devices)
    heard = heard or Heard()
    listener = Listener(
        lambda metrics: heard.steps.append(metrics["step"]), heard.restarts.append, stopped
    )
    spec = {"scratch": str(scratch)}
    return Supervisor(values, spec, scratch, 1, listener).train()


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended may not have been waited for."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def starts(scratch: Path) -> int:
    return len((scratch / "starts").read_text().splitlines())


def test_a_launcher_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"^the command `no-such-srun` of devices.launcher cannot"):
        train(tmp_path, "", launcher=["no-such-srun", "--nodes=2"])


def test_a_launcher_that_fails_at_once(tmp_path: Path) -> None:
    with pytest.raises(StageError) as caught:
        train(tmp_path, "fails_at_once")
    assert "fails_at_once` exited with status 3 and no rank has started" in str(caught.value)
    assert "(it said: queue: account expired); correct devices.launcher" in str(caught.value)
    assert "\n" not in str(caught.value) and starts(tmp_path) == 1
    with pytest.raises(StageError, match="exited with status 0 and no rank has started; correct"):
        train(tmp_path, "starts_nothing")


def test_a_start_that_waits_for_ranks_says_for_which(tmp_path: Path) -> None:
    with pytest.raises(StageError) as caught:
        train(tmp_path, "half_of_the_ranks", start_timeout=4.0, ranks=4)
    assert "within 4 s (devices.start_timeout) 2 of 4 ranks have started: ranks 1, 3 did not" in (
        str(caught.value)
    )


def test_nothing_is_left_of_a_launcher_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "GRACE_S", 0.2)
    monkeypatch.setattr("infra.engine.group.TERM_S", 0.2)
    with pytest.raises(StageError, match="no rank has started within 4 s"):
        train(tmp_path, "hangs", start_timeout=4.0)
    for file in ("starts", "child"):
        assert not runs(int((tmp_path / file).read_text()))


def test_what_dies_and_comes_further_is_started_again(tmp_path: Path) -> None:
    heard = Heard()
    done = train(tmp_path, "is_killed_twice_on_its_way", heard=heard)
    assert heard.steps == [1, 2, 3, 4, 5, 6] and done["steps"] == 6
    first, second = heard.restarts
    assert first.startswith("the training process was ended by signal 9")
    assert first.endswith("starts again from the last checkpoint (restart 1 of at most 3)")
    assert "restart 2 of at most 3" in second
    assert done["time"]["restarts"] == 2 and done["time"]["starts"] == 1
    assert done["time"]["steps_s"] == 6.0


def test_what_dies_at_the_same_step_again_is_not(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="started again once, and came no further") as caught:
        train(tmp_path, "is_killed_at_the_same_step")
    assert starts(tmp_path) == 2
    assert caught.value.__cause__ is None  # the reason says all; no bug is looked for


@pytest.mark.parametrize("restarts", [0, 2])
def test_restarts_end_at_the_limit(tmp_path: Path, restarts: int) -> None:
    with pytest.raises(StageError, match="was ended by signal 9") as caught:
        train(tmp_path, "is_killed_always", restarts=restarts)
    assert starts(tmp_path) == restarts + 1
    assert ("devices.restarts is 2" in str(caught.value)) == (restarts == 2)


def test_errors_that_come_again_are_not_tried_again(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"^the data is bad; mend it$"):
        train(tmp_path, "has_bad_data")
    assert starts(tmp_path) == 1


def test_the_output_of_a_failure_that_nobody_foresaw_is_shown(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"^KeyError: 'x' \(it was started again once") as caught:
        train(tmp_path, "has_a_bug")
    assert "Traceback (most recent call last)" in str(caught.value)
    assert isinstance(caught.value.__cause__, LaunchError)


def test_the_rank_that_failed_first_is_blamed(tmp_path: Path) -> None:
    with pytest.raises(
        StageError, match=r"^rank 1 of 2 failed: memory ran out on cuda:1 in step 1"
    ):
        train(tmp_path, "second_rank_runs_out_of_memory")
    assert starts(tmp_path) == 1  # in the first step: it would run out again


def test_a_stop_is_not_a_failure(tmp_path: Path) -> None:
    heard = Heard()

    def stopped() -> bool:
        if heard.steps:
            (tmp_path / "stop").touch()
        return bool(heard.steps)

    with pytest.raises(Stopped):
        train(tmp_path, "saves_when_asked", heard=heard, stopped=stopped)
    assert starts(tmp_path) == 1


def test_an_interrupt_ends_the_ranks(tmp_path: Path) -> None:
    def interrupted() -> bool:
        if (tmp_path / "starts").exists():
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, "half_of_the_ranks", stopped=interrupted)
    assert not runs(int((tmp_path / "starts").read_text()))


def test_a_launcher_is_shown_as_a_shell_would_write_it(tmp_path: Path) -> None:
    launcher = ["sh", "-c", "echo 'no nodes' >&2; exit 9", "{command}"]
    with pytest.raises(StageError) as caught:
        train(tmp_path, "", launcher=launcher)
    assert shlex.join(launcher) in str(caught.value) and "it said: no nodes" in str(caught.value)
