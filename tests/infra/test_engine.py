"""Engines: order, failures, deadlines, back-pressure."""

from __future__ import annotations

import multiprocessing.forkserver
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.engine import EngineConfig, ShardFailed, start
from infra.engine.base import Engine
from infra.engine.processes import WINDOW_PER_WORKER
from tests.end_to_end.fixtures import MARK, marked_processes
from tests.stage_harness import data_digests, run_stage
from tests.toy import TOY, ToyParameters


@pytest.fixture(scope="module")
def processes() -> Iterator[Engine]:
    with start(EngineConfig(kind="processes", workers=2)) as engine:
        yield engine


def _square(number: int) -> int:
    time.sleep(0.02 * (number % 3))
    return number * number


def test_results_come_in_order_and_items_are_drawn_as_needed(processes: Engine) -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for number in range(40):
            drawn.append(number)
            yield number

    results = processes.map(_square, items())
    assert next(results) == 0
    assert len(drawn) <= 1 + WINDOW_PER_WORKER * 2
    assert list(results) == [number * number for number in range(1, 40)]


@pytest.mark.parametrize("workers", [1, 2])
def test_engines_write_the_same_bytes(workers: int, tmp_path: Path) -> None:
    inline = run_stage(TOY, ToyParameters(shards=7), tmp_path=tmp_path / "inline")
    with start(EngineConfig(kind="processes", workers=workers)) as engine:
        other = run_stage(
            TOY, ToyParameters(shards=7), tmp_path=tmp_path / "processes", engine=engine
        )
    assert data_digests(inline) == data_digests(other) and inline.digest == other.digest


def test_an_exception_keeps_its_type_and_the_workers_traceback(
    processes: Engine, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="shard 1 is bad") as caught:
        run_stage(TOY, ToyParameters(fail=(1,)), tmp_path=tmp_path, engine=processes)
    assert "tests/toy.py" in str(caught.value.__cause__) or "toy.py" in str(caught.value.__cause__)


def test_a_dead_worker_fails_the_stage_and_the_pool_lives_on(
    processes: Engine, tmp_path: Path
) -> None:
    with pytest.raises(ShardFailed, match=r"part-00001 died \(exit code 7"):
        run_stage(TOY, ToyParameters(die=(1,)), tmp_path=tmp_path, engine=processes)
    assert len(run_stage(TOY, ToyParameters(), tmp_path=tmp_path, engine=processes).files()) == 3


def _kill_the_others(own: int) -> int:
    """`kill -9` of the workers beside this one, which have nothing to do."""
    siblings = psutil.Process().parent().children()
    for other in siblings:
        if other.pid != os.getpid():
            other.kill()
    return own


def test_a_worker_that_dies_idle_breaks_nothing() -> None:
    with start(EngineConfig(kind="processes", workers=2)) as engine:
        assert list(engine.map(_square, range(4))) == [0, 1, 4, 9]
        server = psutil.Process(multiprocessing.forkserver._forkserver._forkserver_pid)  # type: ignore[attr-defined]
        for worker in server.children():
            worker.kill()
        time.sleep(0.5)  # the pool notices that its idle workers are gone
        assert list(engine.map(_square, range(4))) == [0, 1, 4, 9]
        assert list(engine.map(_kill_the_others, range(3))) == [0, 1, 2]


def test_a_hanging_shard_is_killed_at_its_deadline(tmp_path: Path) -> None:
    with (
        start(EngineConfig(kind="processes", workers=1, retries=0)) as engine,
        pytest.raises(ShardFailed, match="part-00000 overran its deadline of 5 s"),
    ):
        run_stage(TOY, ToyParameters(hang=(0,)), tmp_path=tmp_path, engine=engine)


def _environment(name: str) -> tuple[str | None, str | None]:
    return os.environ.get(name), os.environ.get("OMP_NUM_THREADS")


def test_workers_have_the_environment_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("first", "second"):
        monkeypatch.setenv("PUNA_TEST_VALUE", value)
        with start(EngineConfig(kind="processes", workers=1)) as engine:
            assert list(engine.map(_environment, ["PUNA_TEST_VALUE"])) == [(value, "1")]


PARENT = """
import os, time
from infra.engine import EngineConfig, start
with start(EngineConfig(kind="processes", workers=2)) as engine:
    print(*engine.map(os.path.abspath, ["a", "b"]), flush=True)
    time.sleep(600)
"""


PREPARING = """
import time
from infra.engine import EngineConfig, warm_up
warm_up(EngineConfig(kind="processes"), ["slow_to_import"])
time.sleep(600)
"""
SLOW_TO_IMPORT = """
import pathlib, time
pathlib.Path(__file__).with_name("begun").touch()
time.sleep(600)
"""


def ended(mark: str) -> bool:
    """Whether all processes that carry the mark end; on a busy machine they may notice late."""
    deadline = time.monotonic() + 120
    while (left := marked_processes(mark)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return not left


def test_a_killed_parent_takes_server_and_workers_with_it() -> None:
    mark = uuid.uuid4().hex
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env={**os.environ, MARK: mark},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None and parent.stdout.readline()
    assert len(marked_processes(mark)) >= 4  # parent, server, two workers
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert ended(mark)


def test_a_killed_parent_takes_a_server_with_it_that_still_imports(tmp_path: Path) -> None:
    (tmp_path / "slow_to_import.py").write_text(SLOW_TO_IMPORT)
    mark = uuid.uuid4().hex
    found_in = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, MARK: mark, "PYTHONPATH": found_in}
    with subprocess.Popen([sys.executable, "-c", PREPARING], env=environment) as parent:
        while not (tmp_path / "begun").exists():
            assert parent.poll() is None
            time.sleep(0.05)
        parent.kill()
    assert ended(mark)
