"""The cache of remote objects: bounded, shared by processes, never half a file."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
import traceback
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.remote import objects
from infra.remote.access import Access
from infra.remote.ahead import local_pins
from infra.remote.cache import holds, local_copy, local_pin
from infra.remote.errors import NoRoom, NoSuchObject
from infra.stage import Pin
from tests.loopback.http import serving

SIZE = 300_000
FILES: dict[str, bytes | Path] = {
    f"/{number}.bin": random.Random(number).randbytes(SIZE) for number in range(6)
}


def access_to(tmp_path: Path, **settings: Any) -> Access:
    limits: dict[str, Any] = {"retry_interval_s": 0.01, "retry_limit_s": 5.0, **settings}
    return Access(cache=tmp_path / "cache", **limits)


def pins_of(server: Any, access: Access) -> list[Pin]:
    return [objects.stat(server.url(name), access) for name in server.files]


def cached_bytes(access: Access) -> int:
    total = 0
    for path in (access.cache / "content").rglob("*-*"):
        with contextlib.suppress(FileNotFoundError):  # another process has just made room
            total += path.stat().st_size
    return total


def test_the_longest_unused_goes_first_and_what_is_in_use_stays(tmp_path: Path) -> None:
    access = access_to(tmp_path, cache_bytes=3 * SIZE, retry_limit_s=0.1)
    with serving(FILES) as server:
        pins = pins_of(server, access)
        with local_copy(pins[0], access) as first:
            for number in (1, 2, 3):
                with local_copy(pins[number], access) as path:
                    os.utime(path, (number, number))
            assert [holds(pin, access) for pin in pins[:4]] == [True, False, True, True]
            assert first.read_bytes() == FILES["/0.bin"]
            with local_copy(pins[2], access), local_copy(pins[3], access):
                assert cached_bytes(access) <= access.cache_bytes
                no_room = pytest.raises(NoRoom, match="300,000 bytes do not fit beside what is in")
                with no_room, local_pin(pins[4], access, wait=False):
                    pass
                with local_copy(pins[4], access) as more:  # grows, rather than fail
                    assert more.read_bytes() == FILES["/4.bin"]
                    assert all(holds(pins[number], access) for number in (0, 2, 3, 4))
        with local_copy(pins[5], access):
            assert cached_bytes(access) <= access.cache_bytes


def test_an_object_larger_than_the_bound_is_cached_while_it_is_used(tmp_path: Path) -> None:
    access = access_to(tmp_path, cache_bytes=SIZE - 1)
    with serving(FILES) as server:
        first, second, *_ = pins_of(server, access)
        started = time.monotonic()
        with local_copy(first, access) as path, local_copy(second, access):
            assert path.read_bytes() == FILES["/0.bin"] and holds(first, access)
        assert time.monotonic() - started < access.retry_limit_s / 2
        with local_copy(second, access):
            pass
        assert server.sent_bytes == 2 * SIZE
        with local_copy(first, access):
            pass


@pytest.mark.parametrize("bound", [SIZE - 1, 10 * SIZE])
def test_a_full_disk_is_told_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: int
) -> None:
    access = access_to(tmp_path, cache_bytes=bound)
    usage = namedtuple("usage", "total used free")

    def disk(folder: Path) -> Any:
        return usage(3 * SIZE, 0, 2 * SIZE - cached_bytes(access) - 1)

    monkeypatch.setattr(shutil, "disk_usage", disk)
    with serving(FILES) as server:
        pins = pins_of(server, access)
        for pin in pins[:3]:  # what nobody uses makes room for what is wanted
            with local_copy(pin, access):
                assert cached_bytes(access) < 2 * SIZE
        sent = server.sent_bytes
        no_room = pytest.raises(
            NoRoom, match=r"300,000 bytes do not fit on the disk .* 299,999 bytes left; free some"
        )
        with local_copy(pins[2], access), no_room, local_copy(pins[3], access):
            pass
        assert server.sent_bytes == sent


def test_equal_content_at_two_addresses_is_fetched_once_where_its_sha256_is_known(
    tmp_path: Path,
) -> None:
    access = access_to(tmp_path)
    with serving({"/a.bin": FILES["/0.bin"], "/b.bin": FILES["/0.bin"]}) as server:
        with local_pin(objects.stat(server.url("/a.bin"), access), access) as found:
            sha256 = found.sha256
        for name in ("a.bin", "b.bin", "c.bin"):
            with local_copy(Pin(server.url(f"/{name}"), name, sha256, SIZE), access):
                pass
        assert server.sent_bytes == 2 * SIZE


def end_after(target: Any, *arguments: Any) -> None:
    """Python's own end would wait for threads that only the forking process has."""
    try:
        target(*arguments)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


@contextlib.contextmanager
def process(target: Any, *arguments: Any) -> Iterator[multiprocessing.Process]:
    """A forked process, which is gone at the end."""
    started = multiprocessing.get_context("fork").Process(
        target=end_after, args=(target, *arguments)
    )
    started.start()
    try:
        yield started  # type: ignore[misc]
    finally:
        if started.is_alive():
            started.kill()
        started.join()


def read_all(pins: list[Pin], access: Access, seed: int) -> None:
    shuffled = random.Random(seed).sample(pins, len(pins))
    for pin in shuffled * 3:
        with local_copy(pin, access) as path:
            assert path.read_bytes() == FILES[f"/{pin.name}"]
            assert cached_bytes(access) <= access.cache_bytes


def test_processes_share_it_within_its_bound(tmp_path: Path) -> None:
    access = access_to(tmp_path, cache_bytes=4 * SIZE, retry_limit_s=30.0)
    with serving(FILES) as server:
        pins = pins_of(server, access)
        with (
            process(read_all, pins, access, 1) as one,
            process(read_all, pins, access, 2) as two,
            process(read_all, pins, access, 3) as three,
        ):
            for worker in (one, two, three):
                worker.join(60)
                assert worker.exitcode == 0


def test_processes_that_want_the_same_fetch_it_once(tmp_path: Path) -> None:
    access = access_to(tmp_path)
    with serving(FILES, bytes_per_s=3_000_000) as server:
        pins = pins_of(server, access)[:1]
        with process(read_all, pins, access, 1) as one, process(read_all, pins, access, 2) as two:
            for worker in (one, two):
                worker.join(60)
                assert worker.exitcode == 0
        assert server.sent_bytes == SIZE


def test_a_kill_leaves_nothing_half_and_its_beginning_is_used(tmp_path: Path) -> None:
    access = access_to(tmp_path)
    body = random.Random(9).randbytes(4_000_000)
    killed = threading.Event()

    def stall(path: str, sent: int) -> None:
        if sent > len(body) // 2:
            killed.wait(30)

    with serving({"/b.bin": body}, on_block=stall) as server:
        pin = objects.stat(server.url("/b.bin"), access)
        with process(read_all, [pin], access, 1) as reader:
            content = access.cache / "content"
            wait_until(lambda: any(part.stat().st_size for part in content.rglob("*.part")))
            assert reader.pid is not None
            os.kill(reader.pid, signal.SIGKILL)
            reader.join()
            killed.set()
        assert not holds(pin, access)
        (left,) = (access.cache / "content").rglob("*.part")
        assert 0 < left.stat().st_size < len(body)
        server.on_block = lambda path, sent: None
        with local_copy(pin, access) as path:
            assert path.read_bytes() == body
        assert server.seen[-1].headers["Range"].startswith("bytes=")
        assert not list((access.cache / "content").rglob("*.part"))


def test_what_a_killed_process_left_is_evicted_for_room(tmp_path: Path) -> None:
    access = access_to(tmp_path, cache_bytes=2 * SIZE)
    folder = access.cache / "content" / "ab"
    folder.mkdir(parents=True)
    (folder / f"ab12.0badb007.{2 * SIZE}.part").write_bytes(b"x")
    with serving(FILES) as server, local_copy(pins_of(server, access)[0], access):
        pass
    assert not list(folder.glob("*.part"))


def test_the_next_object_is_fetched_while_one_is_read(tmp_path: Path) -> None:
    access = access_to(tmp_path)
    local = tmp_path / "local.bin"
    local.write_bytes(b"local")
    with serving(FILES) as server:
        remote = pins_of(server, access)[:3]
        pins = [remote[0], Pin(str(local), "local.bin", "ab", 5), *remote[1:]]
        seen = []
        for pin, found in zip(pins, local_pins(pins, access), strict=True):
            if pin is remote[1]:
                wait_until(lambda: holds(remote[2], access))
            seen.append(Path(found.path).read_bytes())
        assert seen == [FILES["/0.bin"], b"local", FILES["/1.bin"], FILES["/2.bin"]]
        assert server.sent_bytes == 3 * SIZE


def test_what_follows_the_last_is_fetched_for_others(tmp_path: Path) -> None:
    access = access_to(tmp_path)
    with serving(FILES) as server:
        first, second, last, *_ = pins_of(server, access)
        assert len(list(local_pins([first, second], access, last))) == 2
        wait_until(lambda: holds(last, access))
        assert list(local_pins([], access, last)) == []


def test_what_is_wrong_with_an_object_is_raised_in_its_turn(tmp_path: Path) -> None:
    access = access_to(tmp_path)
    with serving(FILES) as server:
        pins = pins_of(server, access)[:3]
        del server.files["/1.bin"]
        reading = local_pins(pins, access)
        assert next(reading).name == "0.bin"
        with pytest.raises(NoSuchObject, match=r"/1.bin: no such object"):
            next(reading)
        assert not holds(pins[2], access)


def test_who_stops_reading_stops_the_fetch(tmp_path: Path) -> None:
    access = access_to(tmp_path)
    with serving(FILES) as server:
        pins = pins_of(server, access)[:2]
        with local_copy(pins[0], access):
            pass
        server.bytes_per_s = 200_000  # 1.5 s an object
        reading = local_pins(pins, access)
        next(reading)
        wait_until(lambda: bool(list((access.cache / "content").rglob("*.part"))))
        begun = time.monotonic()
        reading.close()
        assert time.monotonic() - begun < 1.0 and not holds(pins[1], access)


def wait_until(done: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not done():
        assert time.monotonic() < until
        time.sleep(0.01)
