"""The engine on Ray: what the other engines do, and what only a cluster can meet with.

Most tests share a cluster of two nodes on this machine: a head, and a second `ray start` that is
killed. One starts a cluster of the engine's own, and is killed with it.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.engine import EngineConfig, ShardFailed, start
from infra.engine.base import Engine
from infra.engine.config import Resources
from infra.engine.ray_cluster.cluster import Cluster, HeadLost
from infra.engine.ray_cluster.connection import require_installed
from infra.engine.ray_cluster.engine import Ray, environment_of_workers
from infra.engine.ray_cluster.entry import ClusterUnusable
from infra.engine.ray_cluster.nodes import Probe, difference, fingerprint
from infra.engine.ray_cluster.pool import Pool
from infra.engine.ray_cluster.work import result_of, run
from infra.engine.window import WINDOW_PER_WORKER
from infra.stage import StageError
from infra.store.backends import open_directory
from tests.end_to_end.fixtures import MARK
from tests.infra.test_engine import PARENT, _environment, _square, ended
from tests.loopback.ray_nodes import SECOND, RayNodes
from tests.stage_harness import data_digests, run_stage
from tests.toy import TOY, ToyParameters, hang_once

pytest.importorskip(
    "ray", reason="Ray is not installed: pip install -c constraints.txt 'puna[ray]'"
)


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    with RayNodes() as nodes, pytest.MonkeyPatch.context() as patched:
        nodes.known_to(patched)
        yield nodes


@pytest.fixture
def address(nodes: RayNodes) -> EngineConfig:
    return EngineConfig(kind="ray", address=nodes.address, timeout_s=120)


_HELD: list[int] = []


def _hold(number: int) -> tuple[int, int]:
    if not _HELD:
        _HELD.append(number)
    return os.getpid(), _HELD[0]


class TestMap:
    """What the other engines do too, with one connection to the cluster."""

    @pytest.fixture(scope="class")
    def ray(self, nodes: RayNodes) -> Iterator[Engine]:
        second = {"second": Resources(custom={SECOND: 1})}
        config = EngineConfig(kind="ray", address=nodes.address, timeout_s=120, resources=second)
        with start(config) as engine:
            yield engine

    def test_results_come_in_order_and_items_are_drawn_as_needed(self, ray: Engine) -> None:
        drawn: list[int] = []

        def items() -> Iterator[int]:
            for number in range(40):
                drawn.append(number)
                yield number

        results = ray.map(_square, items())
        assert next(results) == 0
        assert len(drawn) <= 1 + WINDOW_PER_WORKER * 2
        assert list(results) == [number * number for number in range(1, 40)]

    def test_it_writes_the_bytes_of_inline(self, ray: Engine, tmp_path: Path) -> None:
        inline = run_stage(TOY, ToyParameters(shards=7), tmp_path=tmp_path / "inline")
        other = run_stage(TOY, ToyParameters(shards=7), tmp_path=tmp_path / "ray", engine=ray)
        assert data_digests(inline) == data_digests(other) and inline.digest == other.digest

    def test_an_exception_keeps_its_type_and_the_workers_traceback(
        self, ray: Engine, tmp_path: Path
    ) -> None:
        with pytest.raises(ValueError, match="shard 1 is bad") as caught:
            run_stage(TOY, ToyParameters(fail=(1,)), tmp_path=tmp_path, engine=ray)
        assert "toy.py" in str(caught.value.__cause__)

    def test_a_dead_worker_fails_the_stage_and_the_pool_lives_on(
        self, ray: Engine, tmp_path: Path
    ) -> None:
        with pytest.raises(ShardFailed, match=r"shard part-00001 died \(.*\), 2 time\(s\)"):
            run_stage(TOY, ToyParameters(die=(1,)), tmp_path=tmp_path, engine=ray)
        assert len(run_stage(TOY, ToyParameters(), tmp_path=tmp_path, engine=ray).files()) == 3

    def test_a_hanging_shard_is_killed_at_its_deadline_and_tried_again(
        self, ray: Engine, tmp_path: Path
    ) -> None:
        hanging = ray.map(functools.partial(hang_once, tmp_path), [1], timeout_s=3)
        assert list(hanging) == [1]

    def test_what_a_worker_has_loaded_it_keeps(self, ray: Engine) -> None:
        list(ray.map(_square, range(8)))
        found = set(ray.map(_hold, range(50)))
        assert len(found) == len({process for process, _ in found}) <= 2

    def test_workers_have_one_thread_each(self, ray: Engine) -> None:
        assert {threads for _, threads in ray.map(_environment, ["PATH"] * 4)} == {"1"}

    def test_stages_with_workers_of_other_sizes_run_side_by_side(self, ray: Engine) -> None:
        """Two workers of one CPU are all that the cluster holds: they make room and come again."""
        second = ray.of_stage("second")
        assert second.workers == 1
        found: dict[str, list[int]] = {}
        maps = [("small", ray), ("second", second), ("again", ray)]
        threads = [
            threading.Thread(
                target=lambda name, engine: found.update(
                    {name: list(engine.map(_square, range(6)))}
                ),
                args=one,
            )
            for one in maps
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        squares = [0, 1, 4, 9, 16, 25]
        assert found == {"small": squares, "second": squares, "again": squares}


def test_too_large_a_worker_is_refused_by_its_stage(nodes: RayNodes) -> None:
    large = {"langid": Resources(cpus=64, custom={"big_disk": 1})}
    config = EngineConfig(kind="ray", address=nodes.address, timeout_s=2, resources=large)
    with (
        pytest.raises(
            ClusterUnusable,
            match=r"a worker of stage langid takes 64 CPUs, 1 big_disk, and no node of the Ray "
            r"cluster has so much \(they have 1 CPU, 0 big_disk\); lower engine.resources.langid",
        ),
        start(config) as engine,
    ):
        list(engine.of_stage("langid").map(_square, [1]))


def _wait(folder: Path, number: int) -> None:
    (folder / f"{number}-{os.getpid()}").touch()
    time.sleep(600)


def test_a_closed_engine_ends_what_runs(address: EngineConfig, tmp_path: Path) -> None:
    ended_by: list[BaseException] = []

    def wait_for(results: Iterator[object]) -> None:
        try:
            next(results)
        except BaseException as error:
            ended_by.append(error)

    with start(address) as engine:
        results = engine.map(functools.partial(_wait, tmp_path), range(5))
        waiting = threading.Thread(target=wait_for, args=(results,))
        waiting.start()
        while len(list(tmp_path.iterdir())) < 2:
            assert not ended_by
            time.sleep(0.1)
    waiting.join(30)
    assert isinstance(ended_by[0], concurrent.futures.CancelledError)
    processes = [int(file.name.partition("-")[2]) for file in tmp_path.iterdir()]
    deadline = time.monotonic() + 20
    while any(psutil.pid_exists(process) for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.duty  # its server gives up after half a minute, which a busy machine takes
def test_a_client_far_from_the_cluster_gets_the_same(nodes: RayNodes, tmp_path: Path) -> None:
    inline = run_stage(TOY, ToyParameters(shards=5), tmp_path=tmp_path / "inline")
    config = EngineConfig(kind="ray", address=nodes.client, timeout_s=120)
    with start(config, open_directory(str(tmp_path / "ray" / "store"))) as engine:
        other = run_stage(TOY, ToyParameters(shards=5), tmp_path=tmp_path / "ray", engine=engine)
        with pytest.raises(ValueError, match="shard 1 is bad"):
            run_stage(TOY, ToyParameters(fail=(1,)), tmp_path=tmp_path / "ray", engine=engine)
    assert inline.digest == other.digest


def test_a_killed_node_loses_nothing(
    nodes: RayNodes, address: EngineConfig, tmp_path: Path
) -> None:
    inline = run_stage(TOY, ToyParameters(shards=5), tmp_path=tmp_path / "inline")
    store = open_directory(str(tmp_path / "ray" / "store"))
    with start(address, store) as engine:
        assert engine.workers == 2
        other = run_stage(TOY, ToyParameters(shards=5), tmp_path=tmp_path / "ray", engine=engine)
        nodes.kill_second()
        killed = run_stage(
            TOY, ToyParameters(shards=6, word="on"), tmp_path=tmp_path / "ray", engine=engine
        )
    assert inline.digest == other.digest and len(killed.files()) == 6
    assert not list((tmp_path / "ray/store/runs/.probes").iterdir())


def test_a_node_that_is_killed_as_a_run_joins_is_not_missed_and_one_that_joins_later_is_used(
    nodes: RayNodes, address: EngineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.start_second()  # the tests before this may have killed it
    answer, killed = Cluster._answer, []

    def killing(*given: object) -> object:
        if not killed:
            killed.append(nodes.kill_second())
        return answer(*given)

    monkeypatch.setattr(Cluster, "_answer", killing)
    with start(address) as engine:
        assert list(engine.map(_square, range(4))) == [0, 1, 4, 9]
        assert killed[0] > 1 and len(_nodes_of(engine)) == 1
        nodes.start_second()
        give_up = time.monotonic() + 60
        while len(_nodes_of(engine)) < 2 and time.monotonic() < give_up:
            list(engine.map(time.sleep, [0.2] * 4))
        assert len(_nodes_of(engine)) == 2


def _nodes_of(engine: Engine) -> set[str]:
    assert isinstance(engine, Ray)
    return {worker.node for worker in engine._pool._workers if worker.ready}


HEADLESS = """
import sys, time
from infra.engine import EngineConfig, start
from infra.stage import StageError
try:
    with start(EngineConfig(kind="ray", address="ADDRESS", timeout_s=60)) as engine:
        for number, _ in enumerate(engine.map(time.sleep, [0.2] * 1000)):
            print(number, flush=True)
except StageError as error:
    print(error)
"""


@pytest.mark.duty  # a cluster of its own
def test_a_lost_head_ends_a_run_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, which Ray would end after a minute."""
    with RayNodes() as own:
        own.known_to(monkeypatch)
        words = [sys.executable, "-c", HEADLESS.replace("ADDRESS", own.address)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            assert run.stdout.readline() == "0\n"
            own.kill_head()
            started = time.monotonic()
            said = run.communicate(timeout=60)[0]
    assert time.monotonic() - started < 30
    assert "the head of the Ray cluster at" in said.splitlines()[-1]
    assert "finished shards are kept: start the cluster, and run again" in said.splitlines()[-1]


def test_whoever_waits_for_a_cluster_whose_head_is_lost_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While it joins, and while it is asked for its room: the pool's own thread waits for Ray."""
    ever, asked = threading.Event(), threading.Event()
    lost = HeadLost("the head is gone")

    def join(cluster: Cluster, ended: threading.Event, tell: Callable[[HeadLost], None]) -> None:
        tell(lost)
        ever.wait(60)

    def totals(cluster: Cluster) -> list[dict[str, float]]:
        asked.set()
        ever.wait(60)
        return []

    def pool() -> Pool:
        return Pool(EngineConfig(kind="ray", address="h:1"), None, environment_of_workers, [])

    with monkeypatch.context() as patched:
        patched.setattr(Cluster, "join", join)
        with pytest.raises(HeadLost, match="the head is gone"):
            pool().connect()
    monkeypatch.setattr(Cluster, "join", lambda *_: None)
    monkeypatch.setattr(Cluster, "totals", totals)
    waiting = pool()
    teller = threading.Thread(target=lambda: asked.wait(60) and waiting._give_up(lost))
    teller.start()
    with pytest.raises(HeadLost, match="the head is gone"):
        waiting.room("langid", Resources())
    ever.set()
    teller.join()


REFUSED = """
from infra.engine import EngineConfig, start
from infra.stage import StageError
from infra.store.backends import open_directory
try:
    with start(EngineConfig(kind="ray", address="ADDRESS", timeout_s=3)):
        print("let in")
except StageError as error:
    print(error)
"""


def test_another_token_is_refused_in_its_time(nodes: RayNodes) -> None:
    """In a process of its own, since Ray goes on asking after that."""
    environment = {**os.environ, "RAY_AUTH_TOKEN": "0" * 32}
    del environment["RAY_AUTH_TOKEN_PATH"]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", REFUSED.replace("ADDRESS", nodes.address)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "no Ray cluster lets this machine in within 3 s: it has another token" in done.stdout
    assert done.stdout.count("\n") == 1
    assert time.monotonic() - started < 20


def test_a_killed_parent_takes_its_cluster_with_it(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    for name in ("tasks.py", "colorsys.py", "pebble.py"):  # nothing is imported from here
        (tmp_path / name).write_text("raise SystemExit('a file of the user')")
    with subprocess.Popen(
        [sys.executable, "-P", "-c", PARENT.replace('"processes"', '"ray"')],
        env={**os.environ, MARK: mark},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None and parent.stdout.readline()
        parent.kill()
    assert ended(mark)


# Refusals that need no cluster


def test_an_address_is_checked_when_the_recipe_is_read() -> None:
    for address in ("none", "auto", "host:6379", "ray://10.0.0.1:10001", "ray://[fe80::1]:10001"):
        assert EngineConfig(kind="ray", address=address).address == address
    with pytest.raises(ValueError, match=r"'http://host' is no address of a Ray cluster; write"):
        EngineConfig(kind="ray", address="http://host")
    with pytest.raises(ValueError, match=r"is no address of a Ray cluster"):
        EngineConfig(kind="ray", address="planted@host:6379")
    for port in (0, 65_536, 99_999):  # a connection would go to that port, less 65,536
        with pytest.raises(ValueError, match=f"'head:{port}' is no address of a Ray cluster"):
            EngineConfig(kind="ray", address=f"head:{port}")
    with pytest.raises(ValueError, match=r"engine.resources is for engine.kind: ray"):
        EngineConfig(resources={"langid": Resources(cpus=2)})


def test_ray_that_is_not_installed_is_named_with_its_extra() -> None:
    def importing(name: str) -> object:
        raise ImportError(name)

    with pytest.raises(ClusterUnusable, match=r"pip install -c constraints.txt 'puna\[ray\]'"):
        require_installed(importing)


def test_an_address_that_does_not_answer_is_refused_within_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ab" * 16)
    config = EngineConfig(kind="ray", address="127.0.0.1:9", timeout_s=1)
    with (
        pytest.raises(
            ClusterUnusable, match=r"no Ray cluster answers at 127.0.0.1:9 within 1 s \(.*refused"
        ),
        start(config),
    ):
        pass


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 80])
def test_a_name_of_no_machine_is_refused_at_once(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ab" * 16)
    started = time.monotonic()
    with (
        pytest.raises(ClusterUnusable, match=rf"at {host}:9: there is no machine of that name \("),
        start(EngineConfig(kind="ray", address=f"{host}:9", timeout_s=60)),
    ):
        pass
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("stated", ["head", "http://127.0.0.1:8265", "ray://head", "local", "h:0"])
def test_an_address_of_the_environment_is_checked_as_the_recipes_is(
    stated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ab" * 16)
    monkeypatch.setenv("RAY_ADDRESS", stated)
    with (
        pytest.raises(ClusterUnusable, match=rf"RAY_ADDRESS is '{stated}', which is no address"),
        start(EngineConfig(kind="ray", address="auto", timeout_s=1)),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"cannot be read from .*token \(No such file"),
        (b"", "token holds no token"),
        (b" \n", "token holds no token"),
        (b"\xff\xfe\0\n", "token holds no token"),  # Ray would end this process
        (b"two\nlines", "token holds no token"),
        (b"x" * 70_000, "token holds no token"),
    ],
)
def test_a_file_without_a_token_is_named(
    content: bytes | None, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    with (
        pytest.raises(ClusterUnusable, match=said),
        start(EngineConfig(kind="ray", address="127.0.0.1:9", timeout_s=1)),
    ):
        pass


def test_a_mode_that_ray_does_not_have_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "tokn")
    with (
        pytest.raises(ClusterUnusable, match="RAY_AUTH_MODE is 'tokn'; set it to one of token,"),
        start(EngineConfig(kind="ray", address="127.0.0.1:9", timeout_s=1)),
    ):
        pass


def test_a_cluster_without_a_token_at_hand_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with (
        pytest.raises(ClusterUnusable, match="set RAY_AUTH_TOKEN_PATH to a file"),
        start(EngineConfig(kind="ray", address="127.0.0.1:9", timeout_s=1)),
    ):
        pass


def test_other_versions_are_named() -> None:
    ours = fingerprint()
    assert {"Python", "pyarrow", "numba", "kenlm", "puna (its code)"} <= set(ours)
    assert difference("n", ours, ours) == ""
    theirs = {**ours, "pyarrow": "25.0.0"}
    del theirs["kenlm"]
    sentence = difference("node-2", theirs, ours)
    assert f"node node-2 of the Ray cluster has pyarrow 25.0.0 (here {ours['pyarrow']})" in sentence
    assert f"kenlm none (here {ours['kenlm']}), and would write other bytes" in sentence


def test_a_store_that_a_node_does_not_see_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.engine.ray_cluster.nodes._VISIBLE_S", 0.0)
    here, there = (Probe(open_directory(str(tmp_path / name))) for name in ("here", "there"))
    here.place()
    here.require("n1", "node-1", here.answer("n1"))
    elsewhere = dataclasses.replace(there, token=here.token).answer("n2")
    with pytest.raises(StageError, match=r"node node-2 .* cannot use store .*another folder of"):
        here.require("n2", "node-2", elsewhere)
    with pytest.raises(StageError, match="what it writes there is not seen here"):
        here.require("n3", "node-3", "")
    here.remove()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


class _Unreadable(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


def _raise_unreadable(_: object) -> None:
    raise _Unreadable("of its own kind", "")


def test_an_exception_that_cannot_be_pickled_is_told_in_words() -> None:
    import pickle

    with pytest.raises(RuntimeError, match="_Unreadable: of its own kind") as caught:
        result_of(run(pickle.dumps(_raise_unreadable), pickle.dumps(1)))
    assert "_raise_unreadable" in str(caught.value.__cause__)


def test_a_file_that_only_the_runs_machine_has_is_named(tmp_path: Path) -> None:
    import pickle

    there = tmp_path / "file"
    returned = run(pickle.dumps(Path.read_bytes), pickle.dumps(there))
    with pytest.raises(FileNotFoundError):
        result_of(returned)
    there.touch()
    with pytest.raises(StageError, match="file is on this machine, and not on the node that reads"):
        result_of(returned)


def test_a_result_that_is_data_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    monkeypatch.setattr("infra.engine.ray_cluster.work.LARGEST_RESULT", 1000)
    with pytest.raises(ValueError, match=r"has 2,\d\d\d bytes, and Ray carries at most 1,000"):
        result_of(run(pickle.dumps(bytes), pickle.dumps(2000)))
