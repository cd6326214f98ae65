"""A file server with ranges, validators, latency, a bandwidth limit, and faults by plan.

By itself: `python -m tests.loopback.http FOLDER LATENCY_S BYTES_PER_S` prints its address and
serves until its standard input is closed.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Fault = str
"""`drop` (no answer), `reset`, `short` (half a body), `503`, `429`, `slowdown` (a 403 of S3)."""

FAULTS: tuple[Fault, ...] = ("drop", "short", "503", "slowdown", "reset", "429")
_SLOWDOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)
_DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
_BLOCK_BYTES = 64 << 10


def a_third(number: int) -> Fault | None:
    """A plan of faults: one of three requests fails, each time in another way."""
    return FAULTS[number // 3 % len(FAULTS)] if number % 3 == 1 else None


@dataclass(frozen=True)
class Seen:
    """A request as the server got it."""

    method: str
    path: str
    headers: Mapping[str, str]
    fault: Fault | None
    at: float


@dataclass
class FileServer:
    """What is served; change it while it serves."""

    files: dict[str, bytes | Path]
    latency_s: float = 0.0
    bytes_per_s: float | None = None
    faults: Callable[[int], Fault | None] = lambda number: None
    retry_after: str = "0"
    ranges: bool = True
    methods: tuple[str, ...] = ("GET", "HEAD")
    refusal: int = 405
    """The status that other methods get; 0 closes the connection."""
    validators: bool = True
    denied: frozenset[str] = frozenset()
    unreadable: dict[str, bytes] = field(default_factory=dict)
    """Path -> the body with which GET is refused, though HEAD is answered."""
    redirects: dict[str, str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    on_block: Callable[[str, int], None] = lambda path, sent: None
    """Called with the path and the bytes of its body that were sent, after each block."""
    address: str = ""
    seen: list[Seen] = field(default_factory=list)
    sent_bytes: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    _free_at: float = 0.0

    def url(self, path: str) -> str:
        """The address of a file."""
        return f"http://{self.address}{path}"

    def etag(self, path: str, body: bytes | Path) -> str:
        """The quoted validator of a file: by its content, or of a path by size and time."""
        if path in self.etags:
            return self.etags[path]
        if isinstance(body, Path):
            status = body.stat()
            return f'"{status.st_size:x}-{status.st_mtime_ns:x}"'
        return f'"{hashlib.sha256(body).hexdigest()[:16]}"'

    def throttle(self, count: int) -> None:
        """Wait for the turn of so many bytes, over all connections."""
        with self.lock:
            self.sent_bytes += count
            if self.bytes_per_s is None:
                return
            now = time.monotonic()
            # a turn that was slept past is made up for, up to a fifth of a second
            self._free_at = max(self._free_at, now - 0.2) + count / self.bytes_per_s
            wait_s = max(self._free_at - now, 0.0)
        time.sleep(wait_s)


@contextlib.contextmanager
def serving(
    files: Mapping[str, bytes | Path], host: str = "127.0.0.1", port: int = 0, **settings: Any
) -> Iterator[FileServer]:
    """A server of these files (`/name` -> content), in threads of this process; on a free port
    where none is given.
    """
    shared = FileServer(dict(files), **settings)
    connections: set[socket.socket] = set()

    class Handler(_Handler):
        server_of_files = shared
        open_connections = connections

    server = _Quiet((host, port), Handler)
    server.daemon_threads = True
    server.request_queue_size = 128
    shared.address = f"{host}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield shared
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        for connection in list(connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Quiet(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave early are part of the plan."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_files: FileServer
    open_connections: set[socket.socket]

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.open_connections.add(self.connection)

    def finish(self) -> None:
        self.open_connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        served = self.server_of_files
        with served.lock:
            served.in_flight += 1
            served.most_in_flight = max(served.most_in_flight, served.in_flight)
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._answer()
        finally:
            with served.lock:
                served.in_flight -= 1

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self) -> None:
        served = self.server_of_files
        path = self.path.partition("?")[0]
        with served.lock:
            fault = served.faults(len(served.seen))
            served.seen.append(
                Seen(self.command, self.path, dict(self.headers), fault, time.monotonic())
            )
        time.sleep(served.latency_s)
        if self.command not in served.methods and not served.refusal:
            fault = "drop"
        if fault in ("drop", "reset"):
            if fault == "reset":
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.connection.close()
        elif fault == "503":
            self._say(503, b"<html>Service Unavailable</html>")
        elif fault == "429":
            self._say(429, b"", {"Retry-After": served.retry_after})
        elif fault == "slowdown":
            self._say(403, _SLOWDOWN, {"Content-Type": "application/xml"})
        elif self.command not in served.methods:
            self._say(served.refusal, b"")
        elif path in served.redirects:
            self._say(302, b"", {"Location": served.redirects[path]})
        elif path in served.denied:
            self._say(403, _DENIED, {"Content-Type": "application/xml"})
        elif path in served.unreadable and self.command == "GET":
            self._say(403, served.unreadable[path], {"Content-Type": "application/xml"})
        elif path not in served.files:
            self._say(404, b"<html>not found</html>")
        else:
            self._file(path, short=fault == "short")

    def _file(self, path: str, short: bool) -> None:
        served = self.server_of_files
        body = served.files[path]
        size = body.stat().st_size if isinstance(body, Path) else len(body)
        headers = {"Content-Type": served.types.get(path, "application/octet-stream")}
        if served.validators:
            etag = headers["ETag"] = served.etag(path, body)
            if (wanted := self.headers.get("If-Match")) and wanted != etag:
                self._say(412, b"", headers)
                return
        start, stop, status = 0, size, 200
        asked = self.headers.get("Range", "")
        if served.ranges and asked.startswith("bytes="):
            low, _, high = asked.removeprefix("bytes=").partition("-")
            start, stop, status = int(low), min(int(high) + 1 if high else size, size), 206
            if start >= size:
                self._say(416, b"", headers | {"Content-Range": f"bytes */{size}"})
                return
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(stop - start)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        end = start + (stop - start) // 2 if short else stop
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(body.open("rb")) if isinstance(body, Path) else None
            for place in range(start, end, _BLOCK_BYTES):
                count = min(_BLOCK_BYTES, end - place)
                served.throttle(count)
                if file is not None:
                    file.seek(place)
                    self.wfile.write(file.read(count))
                else:
                    assert isinstance(body, bytes)
                    self.wfile.write(body[place : place + count])
                served.on_block(path, place + count - start)
        if short:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def _say(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def main() -> None:
    """See the module."""
    root, latency_s, bytes_per_s = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    files: dict[str, bytes | Path] = {
        f"/{path.relative_to(root).as_posix()}": path for path in root.rglob("*") if path.is_file()
    }
    with serving(files, latency_s=latency_s, bytes_per_s=bytes_per_s or None) as server:
        sys.stdout.write(f"{server.address}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
