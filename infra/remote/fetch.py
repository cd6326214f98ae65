"""A whole object -> a local file: resumed by range after a cut, and verified.

What a file holds at the end is the pinned object, all of it: its size, its validator (ETag) in
every answer, its sha256 where that is known, and its first bytes agree.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from infra.remote import bodies
from infra.remote.access import Access
from infra.remote.answers import Response, conditions, contradiction, validator_of
from infra.remote.errors import Changed, Foreign, RemoteError, Stopped, Transient
from infra.remote.locations import shown
from infra.remote.request import Target, chunks, request
from infra.remote.retry import persist
from infra.stage import Pin

_BLOCK_BYTES = 1 << 20


def download(
    pin: Pin,
    target_of: Callable[[], Target],
    access: Access,
    path: Path,
    stop: threading.Event | None = None,
) -> str:
    """Fetch an object into `path`, which may hold its beginning already, and return its sha256.

    `target_of` is asked before every request, as signatures expire. Raises `Changed`, `Foreign`,
    `Unreachable`, `NoSuchObject`, `Denied`, and `Stopped` when `stop` is set.
    """
    transfer = _Transfer(pin, target_of, access, path, stop)
    return transfer.run()


class _Transfer:
    """One download; remembers over its requests which content the first answer was of."""

    def __init__(
        self,
        pin: Pin,
        target_of: Callable[[], Target],
        access: Access,
        path: Path,
        stop: threading.Event | None,
    ) -> None:
        self.pin, self.target_of, self.access = pin, target_of, access
        self.path, self.stop = path, stop
        self.what = shown(pin.path)
        self.validator = ""
        self.total = pin.bytes if pin.bytes >= 0 else None
        self.have = 0
        self.digest = hashlib.sha256()

    def run(self) -> str:
        host = self.target_of().host
        with self.path.open("r+b" if self.path.exists() else "w+b") as file:
            self._read_back(file)
            for fresh in (False, True):
                if fresh:
                    self._begin_again(file)
                persist(lambda: self._once(file), self.what, host, self.access, self.stop)
                found = self.digest.hexdigest()
                if not self.pin.sha256 or found == self.pin.sha256:
                    return found
            raise Changed(
                f"{self.what}: its sha256 was {self.pin.sha256[:12]} when the run was planned, and "
                f"is {found[:12]} now; run again to use what is there now"
            )

    def _read_back(self, file: IO[bytes]) -> None:
        """Hash what an earlier try left in the file."""
        while block := file.read(_BLOCK_BYTES):
            self.digest.update(block)
            self.have += len(block)
        if self.total is not None and self.have > self.total:
            self._begin_again(file)

    def _begin_again(self, file: IO[bytes]) -> None:
        file.seek(0)
        file.truncate()
        self.have, self.digest = 0, hashlib.sha256()

    def _once(self, file: IO[bytes]) -> None:
        """One request, up to the end of the object. Raises `Transient` where it is cut."""
        target = self.target_of()
        expected = self.validator or target.validator
        headers = conditions(expected)
        if self.have:
            headers["Range"] = f"bytes={self.have}-"
        before = self.have
        try:
            with request(
                target, self.access, headers=headers, what=self.what, stop=self.stop
            ) as response:
                if not self._is_complete(response, expected, file):
                    self._copy(response, file)
        except Transient as trouble:
            raise Transient(
                trouble.why, wait_s=trouble.wait_s, progress=self.have > before
            ) from None
        if self.total is not None and self.have < self.total:
            raise Transient(
                f"cut after {self.have:,} of {self.total:,} bytes", progress=self.have > before
            )
        if self.total is not None and self.have > self.total:
            raise self._changed(f"{self.total:,} bytes", f"{self.have:,} or more")

    def _is_complete(self, response: Response, expected: str, file: IO[bytes]) -> bool:
        """Check an answer's head against what is expected; True when nothing is left to read."""
        stated = validator_of(response)
        total = _total(response)
        if response.status == 416 and self.have and self.have == (total or self.total):
            return True
        if response.status in (412, 416):
            raise self._changed(expected or f"{self.total} bytes", stated or "another object")
        if other := contradiction(response, expected):
            raise self._changed(expected, other)
        self.validator = stated or expected
        if response.status == 200 and self.have:
            self._begin_again(file)  # a server that does not know ranges sends all of it again
        elif response.status == 206 and _start(response) != self.have:
            raise RemoteError(
                f"{self.what}: the server answers another range than was asked for "
                f"({response.headers.get('Content-Range', '')!r}); download it by other means"
            )
        if self.total is not None and total is not None and total != self.total:
            raise self._changed(f"{self.total:,} bytes", f"{total:,} bytes")
        if self.total is None:
            self.total = total
        if self.total is None and response.headers.get("Transfer-Encoding", "") != "chunked":
            raise RemoteError(
                f"{self.what}: the server does not say how long it is, so that a cut would not be "
                "noticed; download it, and name the local path"
            )
        return False

    def _copy(self, response: Response, file: IO[bytes]) -> None:
        kind = response.headers.get("Content-Type", "")
        head = b""
        file.seek(self.have)
        for data in chunks(response):
            if self.stop is not None and self.stop.is_set():
                raise Stopped
            if self.have < bodies.HEAD_BYTES:
                # the first bytes are written once there are enough to judge them
                head += data
                if len(head) < bodies.HEAD_BYTES:
                    continue
                self._refuse_foreign(head, kind)
                data, head = head, b""
            self._write(file, data)
        if head:
            self._refuse_foreign(head, kind)
            self._write(file, head)

    def _write(self, file: IO[bytes], data: bytes) -> None:
        file.write(data)
        self.digest.update(data)
        self.have += len(data)

    def _refuse_foreign(self, head: bytes, kind: str) -> None:
        if self.have == 0 and (other := bodies.foreign(self.pin.name, head, kind)):
            raise Foreign(
                f"{self.what}: what came is {other}, not {self.pin.name}; nothing of it was kept. "
                "Check the address, and whether it needs a login"
            )

    def _changed(self, before: str, now: str) -> Changed:
        return Changed(
            f"{self.what}: was {before} when the run was planned or the download begun, and is "
            f"{now} now; run again to use what is there now"
        )


def _total(response: Response) -> int | None:
    """Bytes of the whole object, where the answer states them."""
    if response.status in (206, 416):
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        total = response.headers.get("Content-Length", "")
    return int(total) if total.isdigit() else None


def _start(response: Response) -> int:
    """First byte of a range; -1 where it is not stated."""
    start = response.headers.get("Content-Range", "").partition("bytes ")[2].partition("-")[0]
    return int(start) if start.isdigit() else -1
