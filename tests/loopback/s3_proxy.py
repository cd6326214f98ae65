"""A proxy before the loopback S3, whose answers go wrong by plan."""

from __future__ import annotations

import contextlib
import http.server
import socket
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Answer:
    """An answer in place of S3's: an XML error, or one of `reset`, `drop` and `short` (half of what
    S3 answers). `done`: S3 has done what was asked, and the answer to it is lost.
    """

    kind: str = "error"
    status: int = 500
    code: str = "InternalError"
    body: str = ""
    region: str = ""
    done: bool = False


@dataclass
class Proxy:
    """Its address, the answers that go wrong (None: S3's own), and the paths that were asked.

    `choose`, called with method and path, says what goes wrong where `plan` is empty; `drops` are
    names of headers (lower case) that are not passed on, for requests that `dropping` chooses.
    """

    address: str = ""
    plan: list[Answer | None] = field(default_factory=list)
    choose: Callable[[str, str], Answer | None] = lambda method, path: None
    drops: frozenset[str] = frozenset()
    dropping: Callable[[str, str], bool] = lambda method, path: True
    asked: list[str] = field(default_factory=list)
    payers: list[str] = field(default_factory=list)
    """Who pays, by each request's header."""


@contextlib.contextmanager
def before(endpoint: str, port: int = 0) -> Iterator[Proxy]:
    """A proxy before the S3 at that address, at a free port or the one given."""
    shared = Proxy()

    class Handler(_Handler):
        proxy, upstream = shared, endpoint

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    shared.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield shared
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy
    upstream: str

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""

    def do_GET(self) -> None:
        self.proxy.asked.append(self.path)
        self.proxy.payers.append(self.headers.get("x-amz-request-payer", ""))
        plan = self.proxy.plan
        wrong = plan.pop(0) if plan else self.proxy.choose(self.command, self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if wrong is None or wrong.kind == "short":
            self._say(*self._asked(body), half=wrong is not None)
            return
        if wrong.done:
            self._asked(body)
        if wrong.kind == "error":
            region = f"<Region>{wrong.region}</Region>" if wrong.region else ""
            body = wrong.body or (
                f'<?xml version="1.0"?><Error><Code>{wrong.code}</Code><Message>said</Message>'
                f"{region}</Error>"
            )
            self._say(wrong.status, {"Content-Type": "application/xml"}, body.encode())
        else:
            if wrong.kind == "reset":
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.connection.close()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def _asked(self, sent: bytes) -> tuple[int, dict[str, str], bytes]:
        """What S3 answers: status, headers and body."""
        dropped = self.proxy.drops if self.proxy.dropping(self.command, self.path) else frozenset()
        given = {k: v for k, v in self.headers.items() if k.lower() not in dropped}
        if sent and "Content-Type" not in given:  # urllib would call it a form
            given["Content-Type"] = "binary/octet-stream"
        request = urllib.request.Request(
            self.upstream + self.path, sent or None, given, method=self.command
        )
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            answer = error
        body = answer.read()
        own = ("transfer-encoding", "content-length", "connection", "date", "server")
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in own}
        if self.command == "HEAD":
            headers["Content-Length"] = answer.headers.get("Content-Length", "0")
        return answer.status or 0, headers, body

    def _say(self, status: int, headers: dict[str, str], body: bytes, half: bool = False) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = self.close_connection or half
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if half else body)
