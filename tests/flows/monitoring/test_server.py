"""The dashboard's note and port: a damaged or stale note is ignored, and no other server is
adopted.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.monitoring import server

ROOT = Path(__file__).resolve().parents[3]


def test_puna_sets_what_prefect_reads_in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that a warning outside of a flow run is not answered by one of Prefect's."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    server.prepare_environment()
    stated = tomllib.loads((ROOT / "prefect.toml").read_text())
    logging = stated["logging"]
    expected = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": str(stated["server"]["analytics_enabled"]).lower(),
        "PREFECT_LOGGING_EXTRA_LOGGERS": logging["extra_loggers"],
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": logging["to_api"]["when_missing_flow"],
    }
    assert {name: os.environ[name] for name in expected} == expected
    assert logging["to_api"]["when_missing_flow"] == "ignore"


@pytest.mark.parametrize(
    "note", ["", "{}", "[]", "5", '{"pid": "x", "port": 1}', '{"pid": -1, "port": 4200}']
)
def test_a_note_without_sense_means_no_dashboard(
    note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    (tmp_path / "puna-dashboard.json").write_text(note)
    assert server.running() is None and not server.stop()


def test_a_note_whose_process_is_another_by_now_is_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setattr(server, "_SERVE", SLOW_SERVER)
    command = [sys.executable, "-c", "import time; time.sleep(600)", "prefect", "worker", "start"]
    with subprocess.Popen(command, start_new_session=True) as other:
        try:
            (tmp_path / "puna-dashboard.json").write_text(f'{{"pid": {other.pid}, "port": 4200}}')
            assert server.running() is None and not server.stop() and other.poll() is None
            (tmp_path / "puna-dashboard.json").write_text(f'{{"pid": {other.pid}, "port": 4200}}')
            assert server.start().pid != other.pid and other.poll() is None
        finally:
            server.stop()
            other.kill()


def test_a_taken_port_and_an_unusable_home_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for port in (taken.getsockname()[1], 99999):
            with pytest.raises(server.ServerFailed, match=f"port {port} is in use or invalid"):
                server.start(port)
    (tmp_path / "puna-dashboard.log").mkdir()
    with pytest.raises(server.ServerFailed, match="set PREFECT_HOME"):
        server.start()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "file"))
    with pytest.raises(server.ServerFailed, match="set PREFECT_HOME"):
        server.start()


SLOW_SERVER = """
import http.server, sys, time  # stands for prefect's
time.sleep(1)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[-1])), Answer).serve_forever()
"""


def test_runs_that_start_at_once_share_one_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setattr(server, "_SERVE", SLOW_SERVER)
    found: list[server.Server] = []
    threads = [threading.Thread(target=lambda: found.append(server.start())) for _ in range(3)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 3 and len(set(found)) == 1 and server.running() == found[0]
        assert server.begin().wait() == server.begin().wait() == found[0]
    finally:
        assert server.stop() and server.running() is None


@pytest.mark.skipif(
    sys.platform != "linux", reason="a port is claimed by a name that only Linux has"
)
def test_servers_of_two_homes_that_start_at_once_have_ports_of_their_own(tmp_path: Path) -> None:
    code = (
        "import sys; from flows.monitoring import server; server._SERVE = sys.argv[1]; "
        "print(server.start().port)"
    )
    homes = [tmp_path / "one", tmp_path / "two"]
    environments = [{**os.environ, "PREFECT_HOME": str(home)} for home in homes]
    command = [sys.executable, "-c", code, SLOW_SERVER]
    starting = [
        subprocess.Popen(command, env=e, stdout=subprocess.PIPE, text=True) for e in environments
    ]
    try:
        ports = [started.communicate()[0].strip() for started in starting]
        assert all(ports) and len(set(ports)) == 2
    finally:
        for e in environments:
            subprocess.run(
                [sys.executable, "-m", "flows.cli", "dashboard", "stop"], env=e, check=True
            )


def test_a_server_whose_starter_was_killed_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    code = (
        "import sys; from flows.monitoring import server; server._SERVE = sys.argv[1]; "
        "print(server.begin().server.pid)"
    )
    starter = subprocess.run(
        [sys.executable, "-c", code, SLOW_SERVER], capture_output=True, text=True, check=True
    )
    try:
        assert server.running() is None
        assert server.start().pid == int(starter.stdout)
    finally:
        assert server.stop()


def test_a_server_that_ends_at_once_is_reported_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setattr(server, "_SERVE", "raise SystemExit('prefect is broken')")
    with pytest.raises(server.ServerFailed, match="did not start on port"):
        server.start()
    assert "prefect is broken" in server.log_file().read_text() and server.running() is None


def test_another_port_than_the_one_it_runs_at_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "start", lambda port: server.Server(1, 4207))
    for words, code in ((["--port", "4300"], 1), (["--port", "4207"], 0), ([], 0)):
        done = CliRunner().invoke(app, ["dashboard", "start", *words])
        assert done.exit_code == code and "http://127.0.0.1:4207" in done.output
        assert ("puna dashboard stop, then puna dashboard start --port 4300" in done.output) == (
            code == 1
        )


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_libraries_are_imported(signal_: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "one"}\n')
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: r\nsources: {web: {ingest: {format: jsonl, paths: [in.jsonl]}, category: web}}\n"
    )
    environment = {
        **os.environ,
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
        "PREFECT_HOME": str(tmp_path),
    }
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "run",
        str(recipe),
        "--store",
        str(tmp_path / "store"),
    ]
    # In its own process group: ^C in a terminal reaches the whole job, also the server that workers
    # are forked from.
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stderr is not None and run.stderr.readline().startswith("dashboard: ")
        os.killpg(run.pid, signal_)
        rest = run.stderr.read()
    assert (
        run.returncode == 75
        and rest == "interrupted; finished work is kept; run the same command again to continue\n"
    )


LIBRARY = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
except BaseException:
    raise RuntimeError("could not be built") from None
"""
IMPORTING = (
    "from flows.cli import interrupts\nwith interrupts.interruptible(){also}:\n    import librarian"
)


@pytest.mark.parametrize("also", [", interrupts.importing()", ""])
def test_an_interrupt_that_a_library_takes_for_its_own_error(also: str, tmp_path: Path) -> None:
    (tmp_path / "librarian.py").write_text(LIBRARY)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-c", IMPORTING.format(also=also)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (
        done.returncode == 75
        and done.stderr.startswith("interrupted; ")
        and done.stderr.count("\n") == 1
    )
