"""All kinds of directory keep one contract, also with several writers at once, in threads and in
processes.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from infra.io.files import sha256_file
from infra.remote.access import Access
from infra.stage import StageError
from infra.store import Damaged, Store
from infra.store.backends import LocalDirectory, NotExclusive, RemoteDirectory, open_directory
from infra.store.directory import Directory
from tests.loopback.s3 import bucket_server, s3_server

WRITERS = 8
PROCESSES = 4
KINDS = ["local", "file", "memory", "s3", "bucket"]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Access]]:
    """Two servers of S3, by name, each with a bucket `puna`."""
    cache = tmp_path_factory.mktemp("cache")
    folder = tmp_path_factory.mktemp("buckets")
    with contextlib.ExitStack() as stack:
        servers = {
            "s3": stack.enter_context(s3_server()),
            "bucket": stack.enter_context(bucket_server(folder)),
        }
        for server in servers.values():
            server.make_bucket("puna")
        yield {
            name: Access(cache=cache / name, endpoint=server.endpoint, retry_limit_s=30)
            for name, server in servers.items()
        }


@pytest.fixture(params=KINDS)
def directory(request: pytest.FixtureRequest, tmp_path: Path, s3: dict[str, Access]) -> Directory:
    """An empty folder on every backend that tests can use."""
    kind = request.param
    if kind in s3:
        return open_directory(f"s3://puna/{tmp_path.name}", s3[kind])
    urls = {
        "local": str(tmp_path / "d"),
        "file": f"file://{tmp_path}/d",
        "memory": f"memory://{tmp_path.name}",
    }
    return open_directory(urls[kind])


def test_directory_contract(directory: Directory, tmp_path: Path) -> None:
    assert directory.files() == [] and directory.folders() == []
    directory.create("a/x.json", b"1")
    with pytest.raises(FileExistsError):
        directory.create("a/x.json", b"2")
    assert directory.read("a/x.json") == b"1"
    directory.replace("a/x.json", b"3")
    with pytest.raises(Damaged, match=r"a/x\.json is damaged"):
        directory.read_json("a/x.json")
    directory.replace("a/x.json", b'{"x": 3}')
    assert directory.read_json("a/x.json") == {"x": 3}
    staged = directory.staging("b/y.bin")
    staged.write_bytes(b"yy")
    assert "b/y.bin" not in directory.files()
    directory.publish(staged, "b/y.bin")
    assert not staged.exists()
    second = directory.staging("b/y.bin")
    second.write_bytes(b"zz")
    with pytest.raises(FileExistsError):
        directory.publish(second, "b/y.bin")
    assert directory.local("b/y.bin").read_bytes() == b"yy"
    assert directory.files() == ["a/x.json", "b/y.bin"] and directory.files("b/") == ["b/y.bin"]
    assert directory.folders() == ["a", "b"]
    directory.remove("a")
    assert directory.files() == ["b/y.bin"]
    directory.remove()
    assert directory.files() == [] and not directory.exists("b/y.bin")
    directory.remove("b/y.bin")
    directory.remove_file("b/y.bin")


def test_what_is_read_of_several_files(directory: Directory) -> None:
    for name, text in (("r/a.json", b'{"a": 1}'), ("r/b.json", b"{"), ("r/c.json", b'{"c": 1}')):
        directory.create(name, text)
    directory.create("r/deep/empty", b"")
    first, second, third = directory.read_jsons(["r/a.json", "r/b.json", "r/c.json"])
    assert (first, third) == ({"a": 1}, {"c": 1}) and isinstance(second, Damaged)
    sizes = {"r/a.json": 8, "r/b.json": 1, "r/c.json": 8, "r/deep/empty": 0}
    assert directory.sizes() == sizes == directory.sizes("r/") and directory.sizes("x") == {}
    folder = directory.local_folder("r")
    assert sha256_file(folder / "a.json") == directory.sha256("r/a.json")
    assert (folder / "deep" / "empty").read_bytes() == b""
    with pytest.raises(FileNotFoundError):
        directory.sha256("r/d.json")
    with pytest.raises(FileNotFoundError):
        directory.read_jsons(["r/a.json", "r/d.json"])


def test_a_finished_file_replaces_an_older_one(directory: Directory) -> None:
    for text in (b"old", b"newer"):
        staged = directory.staging("log.txt")
        staged.write_bytes(text)
        directory.replace_file(staged, "log.txt")
        assert directory.read("log.txt") == text and not staged.exists()
    assert directory.place("log.txt").endswith("/log.txt")


def test_size_kind_and_pickle(directory: Directory) -> None:
    below = directory.child("a")
    below.create("x", b"123")
    assert directory.size("a/x") == below.size("x") == 3
    with pytest.raises(FileNotFoundError):
        directory.size("a/y")
    assert type(below) is type(directory)
    copy = pickle.loads(pickle.dumps(below))
    assert copy == below and copy.read("x") == b"123"


def test_scratch_stays_and_goes_with_its_folder(directory: Directory) -> None:
    version = directory.child("v")
    place = version.child("attempt").scratch()
    (place / "checkpoint").write_bytes(b"x")
    assert (version.child("attempt").scratch() / "checkpoint").read_bytes() == b"x"
    version.create("attempt/data/x", b"")
    version.remove("attempt")
    assert version.files() == [] and not (place / "checkpoint").exists()


def create(directory: Directory, name: str, data: bytes) -> None:
    """Write as a manifest is written."""
    directory.create(name, data)


def publish(directory: Directory, name: str, data: bytes) -> None:
    """Write as a shard does."""
    staged = directory.staging(name)
    staged.write_bytes(data)
    try:
        directory.publish(staged, name)
    finally:
        assert not staged.exists()


Write = Callable[[Directory, str, bytes], None]


def attempt(directory: Directory, write: Write, number: int, name: str, at: float) -> int | None:
    """Write at a time (of `time.time`), and return the number where it was the first."""
    time.sleep(max(at - time.time(), 0))
    try:
        write(directory, name, b"%d" % number)
    except FileExistsError:
        return None
    return number


def assert_one_wins(
    pool: Executor, writers: int, directory: Directory, write: Write, turns: int, ahead_s: float
) -> None:
    """Have so many write the same names at once; one of them wins each."""
    for turn in range(turns):
        name, at = f"folder/{turn}", time.time() + ahead_s
        asked = [
            pool.submit(attempt, directory, write, number, name, at) for number in range(writers)
        ]
        winners = [number for one in asked if (number := one.result(timeout=60)) is not None]
        assert len(winners) == 1 and directory.read(name) == b"%d" % winners[0]


@pytest.mark.parametrize("write", [create, publish])
def test_of_many_writers_exactly_one_wins(
    directory: Directory, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Time enough between looking and writing for all others to look too.
    monkeypatch.setattr(
        MemoryFileSystem,
        "exists",
        lambda self, path, exists=MemoryFileSystem.exists, **more: (
            exists(self, path, **more),
            time.sleep(0.002),
        )[0],
    )
    with ThreadPoolExecutor(WRITERS) as pool:
        assert_one_wins(pool, WRITERS, directory, write, turns=5, ahead_s=0.0)


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    """Processes that have started, so that they write at once."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(PROCESSES, context) as pool:
        list(pool.map(sha256_file, [Path(__file__)] * PROCESSES))
        yield pool


@pytest.mark.parametrize("write", [create, publish])
@pytest.mark.parametrize("directory", [kind for kind in KINDS if kind != "memory"], indirect=True)
def test_of_many_processes_exactly_one_wins(
    directory: Directory, write: Write, processes: ProcessPoolExecutor
) -> None:
    assert_one_wins(processes, PROCESSES, directory, write, turns=4, ahead_s=0.02)


class LooksFirst(MemoryFileSystem):
    """fsspec's default: checks whether a file exists before the write, not as part of it."""

    protocol = "looksfirst"


def test_storage_that_cannot_create_exclusively_is_read_but_not_written() -> None:
    fsspec.register_implementation("looksfirst", LooksFirst, clobber=True)
    MemoryFileSystem().pipe_file("/s/a/x", b"1")
    store = Store.at("looksfirst://s")
    try:
        assert isinstance(store.root, RemoteDirectory)
        for write in (
            lambda: store.root.create("y", b""),
            lambda: publish(store.root, "y", b""),
            store.make,
        ):
            with pytest.raises(NotExclusive, match="looksfirst:// cannot refuse to overwrite"):
                write()
        assert not store.root.exists("y") and issubclass(NotExclusive, StageError)
    finally:
        MemoryFileSystem().rm("/s", recursive=True)


def test_a_damaged_record_s_path_stays_inside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    directory = open_directory(str(tmp_path / "d"))
    assert isinstance(directory, LocalDirectory)
    directory.remove(str(outside))
    assert outside.read_text() == "x"


def test_a_file_that_could_not_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        open_directory(str(tmp_path)).create("a.json", b"{}")
    assert list(tmp_path.iterdir()) == []
