"""The dashboard's note and port: what is odd there is no reason to fall over or to adopt another's server."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from flows import server


@pytest.mark.parametrize("note", ["", "{}", "[]", "5", '{"pid": "x", "port": 1}', '{"pid": -1, "port": 4200}'])
def test_a_note_without_sense_means_no_dashboard(note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    (tmp_path / "puna-dashboard.json").write_text(note)
    assert server.running() is None and not server.stop()


def test_a_taken_port_and_an_unusable_home_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for port in (taken.getsockname()[1], 99999):
            with pytest.raises(server.ServerFailed, match=f"port {port} is taken or no port"):
                server.start(port)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "file"))
    with pytest.raises(server.ServerFailed, match="set PREFECT_HOME"):
        server.start()
