"""`puna doctor` on a server, its work pools and a store."""

from __future__ import annotations

import http.server
import importlib.metadata
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cli.doctor_services import services
from flows.cli.findings import Finding

POOLS = [
    {"name": "big", "type": "process", "status": "NOT_READY", "is_paused": False},
    {"name": "night", "type": "process", "status": "PAUSED", "is_paused": True},
    {"name": "small", "type": "docker", "status": "READY", "is_paused": False},
]
ANSWERS = {"/api/admin/version": "", "/api/work_pools/filter": POOLS}


class Prefect(http.server.BaseHTTPRequestHandler):
    """Answers as Prefect's server does, to whoever knows the password."""

    def do_GET(self) -> None:
        known = self.headers.get("Authorization") == "Basic bWU6aHVudGVyMg=="  # me:hunter2
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(json.dumps(ANSWERS[self.path]).encode() if known else b"")

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Prefect) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def found(store: Path) -> list[Finding]:
    return list(services(str(store)))


@pytest.mark.parametrize(
    ("version", "verdict"),
    [(importlib.metadata.version("prefect"), "ok"), ("2.20.1", "bad")],
)
def test_a_server_and_its_pools(
    address: str, version: str, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ANSWERS, "/api/admin/version", version)
    monkeypatch.setenv("PREFECT_API_URL", f"{address}/api")
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
    refused = found(tmp_path)[0]
    assert refused.verdict == "bad" and "PREFECT_API_AUTH_STRING" in refused.action
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "me:hunter2")
    server, big, night, small, *_ = found(tmp_path)
    assert server.verdict == verdict and version in server.found and address in server.found
    assert "no worker" in big.found and "prefect worker start --pool big" in big.action
    assert "paused" in night.found and small.verdict == "ok"


def test_a_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://me:hunter2@127.0.0.1:9/api")
    first = found(tmp_path)[0]
    assert first.verdict == "bad" and "127.0.0.1:9 does not answer" in first.found
    assert "hunter2" not in first.found + first.action


def test_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    _, absent, disk = found(tmp_path / "new")
    assert "a run makes it" in absent.found and disk.what == "disk of the store"
    assert "can be read and written, 0 runs" in found(tmp_path)[1].found
    (tmp_path / "file").write_text("")
    refused = found(tmp_path / "file")[1]
    assert refused.verdict == "bad" and "is a file" in refused.found
