"""Heartbeats of flow runs."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows.monitoring.flow_runs import start_pulse
from flows.monitoring.pulse import HEARTBEAT, Pulse

API = """
import http.server, sys

class Api(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(sys.argv[1], "ab") as heard:
            right = self.path == "/api/events" and self.headers["Authorization"] == "Basic YTpi"
            heard.write((body if right else b"wrong") + b"\\n")
        self.send_response(204)
        self.end_headers()
    def log_message(self, *words):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Api)
print(server.server_port, flush=True)
server.serve_forever()
"""
LOGIN = {"Authorization": "Basic YTpi"}
"""Of user a, whose password is b."""


class Heard:
    """An API in a process of its own, and the events that it has got."""

    def __init__(self, url: str, file: Path) -> None:
        self.url, self._file = url, file

    def events(self, at_least: int = 0) -> list[dict[str, Any]]:
        deadline = time.monotonic() + 30
        while True:
            lines = self._file.read_text().splitlines() if self._file.exists() else []
            found = [event for line in lines for event in json.loads(line)]
            if len(found) >= at_least or time.monotonic() > deadline:
                return found
            time.sleep(0.02)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Heard]:
    file = tmp_path / "heard"
    command = [sys.executable, "-c", API, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield Heard(f"http://127.0.0.1:{int(server.stdout.readline())}/api", file)
        server.kill()


def test_every_flow_run_under_way_has_a_heartbeat_and_no_other(api: Heard) -> None:
    with Pulse(api.url, LOGIN) as pulse, pulse.of("a", "demo", "puna"):
        api.events(1)
        with pulse.of("b", "demo: training/first", "training"):
            api.events(3)
        with pulse.of("c", "demo: training/second", "training"):
            found = api.events(5)
    ids = [event["resource"]["prefect.resource.id"].rpartition(".")[2] for event in found]
    assert ids == ["a", "a", "b", "a", "c"] and {event["event"] for event in found} == {HEARTBEAT}
    flows = [event["related"][0]["prefect.resource.name"] for event in found]
    assert flows == ["puna", "puna", "training", "puna", "training"]
    assert pulse._process.returncode == 0


def test_a_server_with_a_password_gets_it(api: Heard) -> None:
    settings = {PREFECT_API_URL: api.url, PREFECT_API_AUTH_STRING: "a:b"}
    with temporary_settings(settings), start_pulse() as pulse, pulse.of("a", "demo", "puna"):
        assert api.events(1)[0]["event"] == HEARTBEAT


def test_it_beats_while_a_call_in_c_holds_the_interpreter(api: Heard) -> None:
    with Pulse(api.url, LOGIN, every_s=0.1) as pulse, pulse.of("a", "demo", "puna"):
        before = len(api.events(1))
        ctypes.PyDLL(None).usleep(900_000)  # PyDLL keeps the lock, as a long sort may
        assert len(api.events()) >= before + 2


def test_it_ends_with_the_run_however_that_ends(api: Heard) -> None:
    script = (
        "import os, sys; from flows.monitoring.pulse import Pulse; "
        f"pulse = Pulse({api.url!r}, {LOGIN!r}, 0.1); pulse.of('a', 'demo', 'puna').__enter__(); "
        "print(pulse._process.pid, flush=True); sys.stdin.read(1); os.kill(os.getpid(), 9)"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    api.events(2)
    run.communicate("x")
    time.sleep(0.5)
    silent_since = len(api.events())
    time.sleep(0.5)
    assert len(api.events()) == silent_since
