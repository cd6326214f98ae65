"""What tests on duty share: small recipes, a webhook, services."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.duty.services import Duty, on_duty

Told = tuple[str, list[dict[str, Any]]]

TINY = """\
name: tiny
store: store
engine: {kind: inline}
sources:
  letters:
    ingest: {format: jsonl, paths: [letters.jsonl]}
    category: letters
dedup: null
select: {heldout: null}
"""


def write_tiny(folder: Path) -> None:
    """A recipe that runs for a second, and what it reads."""
    (folder / "tiny.yaml").write_text(TINY)
    letters = [{"text": f"Letter {number} from Arlow. " * 20} for number in range(20)]
    (folder / "letters.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in letters))


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    """A webhook's address, and what was posted to it."""
    posts: list[dict[str, Any]] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/secret-path", posts
        server.shutdown()


@pytest.fixture(scope="module")
def duty(tmp_path_factory: pytest.TempPathFactory, told: Told) -> Iterator[Duty]:
    """Postgres and Prefect's server, which tells the webhook, and the tiny recipe."""
    folder = tmp_path_factory.mktemp("duty")
    write_tiny(folder)
    with on_duty(folder) as found:
        found.environment["PUNA_WEBHOOK_URL"] = told[0]
        yield found
        assert "database is locked" not in found.logs()
