"""Byte ranges of remote objects: neighbours joined, several requests in flight, in order."""

from __future__ import annotations

import concurrent.futures
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from infra.remote.access import Access
from infra.remote.answers import Response, conditions, contradiction, validator_of
from infra.remote.errors import Changed, RemoteError, Transient
from infra.remote.locations import is_remote, shown
from infra.remote.request import chunks, request
from infra.remote.retry import persist
from infra.remote.schemes import scheme
from infra.stage import Pin

GAP_BYTES = 64 << 10
"""Ranges this far apart are one request: the bytes between cost less than a request does."""

MOST_BYTES = 8 << 20
"""A request joins ranges up to this size, so that memory is bounded."""


@dataclass(frozen=True)
class Range:
    """Bytes `start` to `stop` (not included) of an object."""

    pin: Pin
    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop or 0 <= self.pin.bytes < self.stop:
            raise ValueError(
                f"{shown(self.pin.path)}: bytes {self.start} to {self.stop} are no range of an "
                f"object of {self.pin.bytes} bytes"
            )


@dataclass
class _Joined:
    """Ranges that one request reads."""

    members: list[Range] = field(default_factory=list)

    @property
    def start(self) -> int:
        return self.members[0].start

    @property
    def stop(self) -> int:
        return max(member.stop for member in self.members)

    def takes(self, other: Range, gap: int, most: int) -> bool:
        """Whether a further range may be part of the same request."""
        return (
            other.pin == self.members[0].pin
            and self.start <= other.start <= self.stop + gap
            and max(self.stop, other.stop) - self.start <= most
        )


def read_range(
    pin: Pin, start: int, stop: int, access: Access, given_up: threading.Event | None = None
) -> bytes:
    """Bytes `start` to `stop` of a pinned object.

    Raises `Changed` where the object is no longer the pinned one, `Stopped` when `given_up` is set,
    and as `objects.stat` does.
    """
    wanted = Range(pin, start, stop)
    if not is_remote(pin.path):
        return _local(wanted)
    known = scheme(pin.path)
    what = f"{shown(pin.path)} (bytes {start:,} to {stop:,})"
    got = bytearray()
    seen = ""

    def ask() -> bytes:
        nonlocal seen
        target = known.target(pin, access)
        expected = target.validator or seen
        first, before = start + len(got), len(got)
        headers = {"Range": f"bytes={first}-{stop - 1}", **conditions(expected)}
        try:
            with request(target, access, headers=headers, what=what, stop=given_up) as response:
                _check(response, pin, expected, first, stop, what)
                seen = validator_of(response)
                for data in chunks(response):
                    got.extend(data)
        except Transient as trouble:
            progress = len(got) > before
            raise Transient(trouble.why, wait_s=trouble.wait_s, progress=progress) from None
        if len(got) < stop - start:
            raise Transient(
                f"cut after {len(got):,} of {stop - start:,} bytes", progress=len(got) > before
            )
        if len(got) > stop - start:
            raise RemoteError(f"{what}: the server sent more than was asked for")
        return bytes(got)

    return persist(ask, what, known.target(pin, access).host, access, given_up)


def read_ranges(
    wanted: Iterable[Range], access: Access, gap: int = GAP_BYTES, most: int = MOST_BYTES
) -> Iterator[bytes]:
    """The bytes of each range, in order.

    Consecutive ranges of one object that lie within `gap` bytes are one request of up to `most`
    bytes, and `access.connections` requests are in flight: at most twice as many answers are held.
    """
    pool = concurrent.futures.ThreadPoolExecutor(access.connections)
    given_up = threading.Event()
    flying: deque[tuple[_Joined, concurrent.futures.Future[bytes]]] = deque()
    try:
        for joined in join(wanted, gap, most):
            pin = joined.members[0].pin
            flying.append(
                (joined, pool.submit(read_range, pin, joined.start, joined.stop, access, given_up))
            )
            if len(flying) >= 2 * access.connections:
                yield from _taken_apart(*flying.popleft())
        while flying:
            yield from _taken_apart(*flying.popleft())
    finally:
        given_up.set()  # no request is tried again for nobody
        pool.shutdown(wait=False, cancel_futures=True)


def join(wanted: Iterable[Range], gap: int, most: int) -> Iterator[_Joined]:
    """Consecutive ranges that are to be read by one request."""
    joined = _Joined()
    for one in wanted:
        if joined.members and not joined.takes(one, gap, most):
            yield joined
            joined = _Joined()
        joined.members.append(one)
    if joined.members:
        yield joined


def _taken_apart(joined: _Joined, future: concurrent.futures.Future[bytes]) -> Iterator[bytes]:
    data = future.result()
    for member in joined.members:
        yield data[member.start - joined.start : member.stop - joined.start]


def _local(wanted: Range) -> bytes:
    with open(wanted.pin.path, "rb") as file:
        file.seek(wanted.start)
        data = file.read(wanted.stop - wanted.start)
    if len(data) < wanted.stop - wanted.start:
        raise Changed(
            f"{wanted.pin.path}: had {wanted.pin.bytes:,} bytes when the run was planned, and is "
            "shorter now; run again once nothing writes to it"
        )
    return data


def _check(response: Response, pin: Pin, validator: str, first: int, stop: int, what: str) -> None:
    stated = contradiction(response, validator)
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    moved = response.status in (412, 416) or stated
    resized = total.isdigit() and pin.bytes >= 0 and int(total) != pin.bytes
    if moved or resized:
        now = f"{total} bytes" if resized else stated or "another object"
        before = f"{pin.bytes} bytes" if resized else validator or f"{pin.bytes} bytes"
        raise Changed(
            f"{what}: was {before} when the run was planned, and is {now} now; run again to use "
            "what is there now"
        )
    if response.status == 200:
        raise RemoteError(
            f"{what}: the server does not serve byte ranges; download it, and name the local path"
        )
    if not response.headers.get("Content-Range", "").startswith(f"bytes {first}-{stop - 1}/"):
        raise RemoteError(
            f"{what}: the server answers another range "
            f"({response.headers.get('Content-Range', '')!r})"
        )
