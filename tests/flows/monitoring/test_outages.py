"""A server that is away: what is only shown is left out, and stages wait before they begin."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.monitoring import outages
from flows.monitoring.cards import Card


@contextlib.contextmanager
def api(status: int, port: int = 0) -> Iterator[int]:
    """A server that answers every request with a status; yields its port."""

    class Api(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_POST = do_PATCH = answer

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def at(port: int) -> contextlib.AbstractContextManager[object]:
    return temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"})


def closed_port() -> int:
    with api(200) as port:
        return port


def test_a_card_is_left_out_while_the_server_is_away(caplog: pytest.LogCaptureFixture) -> None:
    card = Card(uuid4(), "markdown", "notes")
    with at(closed_port()):
        assert card.is_due()
        card.show("text", "Notes on training/first")
        assert not card.is_due()  # not at every step
        card.remove()
    (record,) = caplog.records
    assert "not shown: Notes on training/first (ConnectError" in record.getMessage()


@pytest.mark.parametrize(("status", "fails"), [(500, False), (422, True)])
def test_a_request_that_is_wrong_is_an_error_still(status: int, fails: bool) -> None:
    expected = pytest.raises(httpx.HTTPStatusError) if fails else contextlib.nullcontext()
    with api(status) as port, at(port), expected:
        Card(uuid4(), "markdown", "notes").show("text", "Notes")


def test_a_stage_begins_when_the_server_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "POLL_S", 0.05)
    port, back = closed_port(), threading.Event()

    def come_back() -> None:
        time.sleep(0.4)
        with api(200, port):
            back.set()
            time.sleep(2)

    with at(port):
        thread = threading.Thread(target=come_back)
        thread.start()
        outages.wait_for_server()
        assert back.is_set()
        thread.join()
        monkeypatch.setattr(outages, "PATIENCE_S", 0.2)
        outages.wait_for_server()  # says nothing: the next request does


def test_a_state_is_set_when_the_server_is_back_but_for_an_interrupt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[None] = []
    monkeypatch.setattr(outages, "wait_for_server", lambda: waits.append(None))
    with outages.waiting_for_server():
        assert not waits
    assert len(waits) == 1
    with pytest.raises(ValueError), outages.waiting_for_server():
        raise ValueError
    assert len(waits) == 2
    with pytest.raises(KeyboardInterrupt), outages.waiting_for_server():
        raise KeyboardInterrupt
    assert len(waits) == 2


def test_a_stage_whose_server_goes_before_it_begins_is_begun_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outages, "POLL_S", 0.01)
    monkeypatch.setattr(outages, "wait_for_server", lambda: None)
    tries: list[None] = []
    begun = threading.Event()

    def begin() -> None:
        tries.append(None)
        if len(tries) == 3:
            begun.set()
        if len(tries) < 5:
            raise httpx.ConnectError("All connection attempts failed")

    with pytest.raises(httpx.ConnectError):
        outages.begin_when_answered(begin, begun)
    assert len(tries) == 3  # it had begun: what was done is not done twice
    begun.clear()
    outages.begin_when_answered(begin, begun)
    assert len(tries) == 5
