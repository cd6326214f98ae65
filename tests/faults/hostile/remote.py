"""Servers that lead elsewhere, or never end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.faults.hostile.case import Command
from tests.faults.hostile.table import case
from tests.faults.hostile.writing import PLAIN, build, write

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextlib.contextmanager
def _server(folder: Path, answer: Answer, name: str = "web.jsonl") -> Iterator[list[Command]]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                answer(self)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Clients leave early."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/{name}"
        text = PLAIN.replace("web.jsonl", url) + "remote: {retry_limit_s: 5, cache: cache}\n"
        yield [build(write(folder / "recipe.yaml", text))]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _redirect(location: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", location)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


@case(
    "http: a redirect to the address of a cloud's credentials",
    "refused",
    "private|link-local|redirect",
)
def _(folder: Path) -> contextlib.AbstractContextManager[list[Command]]:
    return _server(folder, _redirect("http://169.254.169.254/latest/meta-data/iam/"))


@case("http: a redirect to a file of this machine", "refused", "redirect")
def _(folder: Path) -> contextlib.AbstractContextManager[list[Command]]:
    return _server(folder, _redirect("file:///etc/passwd"))


@case("http: a redirect to itself", "refused", "redirect")
def _(folder: Path) -> contextlib.AbstractContextManager[list[Command]]:
    return _server(folder, _redirect("/web.jsonl"))


@case("http: headers without end", "refused", "web.jsonl")
def _(folder: Path) -> contextlib.AbstractContextManager[list[Command]]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(10_000_000):
            request.wfile.write(b"X-%d: y\r\n" % number)

    return _server(folder, answer)


@case("http: more bytes than it said", "done", '"documents": 1')
def _(folder: Path) -> contextlib.AbstractContextManager[list[Command]]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        body = b'{"text": "A text that is long enough."}\n'
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("ETag", '"a"')
        request.end_headers()
        if request.command == "GET":
            for _ in range(100_000):
                request.wfile.write(body)

    return _server(folder, answer)


@case("http: orders to the terminal in a status line and headers", "refused", "web.jsonl")
def _(folder: Path) -> contextlib.AbstractContextManager[list[Command]]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(
            b"HTTP/1.1 403 \x1b]0;owned\x07\r\nContent-Length: 12\r\n"
            b"WWW-Authenticate: \x1b[2J\r\n\r\n\x1b[31mred\x9b2J"
        )
        request.close_connection = True

    return _server(folder, answer)


@case("http: an object that is 8 EB by its header", "refused", "bytes|disk|room")
def _(folder: Path) -> contextlib.AbstractContextManager[list[Command]]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(1 << 63))
        request.send_header("ETag", '"a"')
        request.end_headers()
        request.close_connection = True

    return _server(folder, answer)
