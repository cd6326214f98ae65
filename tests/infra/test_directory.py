"""All kinds of directory keep one contract, also with several writers at once."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from infra.stage import StageError
from infra.store import Damaged, Store
from infra.store.backends import LocalDirectory, NotExclusive, RemoteDirectory, open_directory
from infra.store.directory import Directory

WRITERS = 8


@pytest.fixture(params=["local", "file", "memory"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Directory:
    """An empty folder on every backend that tests can use."""
    url = {
        "local": str(tmp_path / "d"),
        "file": f"file://{tmp_path}/d",
        "memory": f"memory://{tmp_path.name}",
    }[request.param]
    return open_directory(url)


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


def test_size_kind_and_pickle(directory: Directory) -> None:
    below = directory.child("a")
    below.create("x", b"123")
    assert directory.size("a/x") == below.size("x") == 3
    with pytest.raises(FileNotFoundError):
        directory.size("a/y")
    assert type(below) is type(directory)
    copy = pickle.loads(pickle.dumps(below))
    assert copy == below and copy.read("x") == b"123"


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


@pytest.mark.parametrize("write", [create, publish])
def test_of_many_writers_exactly_one_wins(
    directory: Directory,
    write: Callable[[Directory, str, bytes], None],
    monkeypatch: pytest.MonkeyPatch,
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
    start = threading.Barrier(WRITERS)

    def attempt(number: int, name: str) -> int | None:
        start.wait(timeout=60)
        try:
            write(directory, name, b"%d" % number)
        except FileExistsError:
            return None
        return number

    with ThreadPoolExecutor(WRITERS) as pool:
        for turn in range(5):
            name = f"folder/{turn}"
            outcomes = list(pool.map(attempt, range(WRITERS), [name] * WRITERS))
            winners = [number for number in outcomes if number is not None]
            assert len(winners) == 1 and directory.read(name) == b"%d" % winners[0]


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
