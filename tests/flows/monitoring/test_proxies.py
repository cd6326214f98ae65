"""With a proxy in the environment, this machine's server is reached directly, others through it."""

from __future__ import annotations

import http.client
import http.server
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from flows.monitoring.proxies import LOOPBACK, is_loopback, reach_loopback_directly
from tests.end_to_end.fixtures import Puna

DEAD = "http://127.0.0.1:9"  # nothing listens at the port of `discard`


@pytest.mark.parametrize(
    ("environment", "api_url", "becomes"),
    [
        ({}, None, {}),
        ({"http_proxy": ""}, None, {"http_proxy": ""}),
        ({"http_proxy": DEAD}, None, {"http_proxy": DEAD, "no_proxy": "localhost,127.0.0.1,::1"}),
        (
            {"HTTPS_PROXY": DEAD, "NO_PROXY": "a.org, 127.0.0.1"},
            None,
            {"HTTPS_PROXY": DEAD, "no_proxy": "a.org,127.0.0.1,localhost,::1"},
        ),
        ({"http_proxy": DEAD, "no_proxy": "*"}, None, {"http_proxy": DEAD, "no_proxy": "*"}),
        (
            {"http_proxy": DEAD},
            "http://127.0.0.7:1/api",
            {"http_proxy": DEAD, "no_proxy": "localhost,127.0.0.1,::1,127.0.0.7"},
        ),
        (
            {"http_proxy": DEAD, "ALL_PROXY": "socks4://127.0.0.1:9"},
            None,
            {"http_proxy": DEAD, "no_proxy": "localhost,127.0.0.1,::1"},
        ),
        (  # what httpx cannot read
            {
                "http_proxy": "http://[::1",
                "https_proxy": "http://a:b",
                "no_proxy": "http://c:d, b.org",
            },
            None,
            {"no_proxy": "b.org,localhost,127.0.0.1,::1"},
        ),
        (
            {"http_proxy": DEAD, "no_proxy": "[::1],10.0.0.0/8,.a.org"},
            None,
            {"http_proxy": DEAD, "no_proxy": "::1,10.0.0.0/8,.a.org,localhost,127.0.0.1"},
        ),
        (
            {"http_proxy": DEAD, "no_proxy": "[fe80::1]"},
            "https://prefect.example.org/api",
            {"http_proxy": DEAD, "no_proxy": "fe80::1,localhost,127.0.0.1,::1"},
        ),
        (
            {"ALL_PROXY": "socks4://127.0.0.1:9"},
            "https://prefect.example.org/api",
            {"ALL_PROXY": "socks4://127.0.0.1:9", "no_proxy": "localhost,127.0.0.1,::1"},
        ),
    ],
)
def test_this_machine_is_excepted_and_nothing_else(
    environment: dict[str, str], api_url: str | None, becomes: dict[str, str]
) -> None:
    found = dict(environment)
    reach_loopback_directly(found, api_url)
    assert found == becomes | ({"NO_PROXY": becomes["no_proxy"]} if "no_proxy" in becomes else {})
    again = dict(found)
    reach_loopback_directly(again, api_url)
    assert again == found


@pytest.mark.parametrize(
    "given",
    [
        {"http_proxy": "http://[::1"},
        {"http_proxy": "http://a:b", "HTTPS_PROXY": "::"},
        {"all_proxy": "nonsense proxy", "no_proxy": "[::1],[nonsense,http://x y,a b"},
        {"HTTP_PROXY": "127.0.0.1:9", "NO_PROXY": "http://[::1]:80,*.a.org,a.org:8080,1.2.3.0/24"},
        {"http_proxy": "http://user:p@ss@127.0.0.1:99999", "no_proxy": ",, ,"},
    ],
)
def test_what_a_user_has_there_never_keeps_the_client_from_starting(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    reach_loopback_directly(os.environ, None)
    with httpx.Client() as client:
        assert not client.is_closed
    assert set(LOOPBACK) <= set(os.environ["no_proxy"].split(","))


def test_what_is_this_machine() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.1.2.3", "::1", "api.localhost")))
    assert not any(
        map(is_loopback, ("example.org", "10.0.0.1", "localhost.example.org", "0.0.0.0"))
    )


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "in.jsonl").write_text('{"text": "one"}\n')
    file = tmp_path / "r.yaml"
    file.write_text(
        "name: proxied\nengine: {kind: inline}\nsources: {web: {ingest: {format: jsonl, paths: "
        "[in.jsonl]}}}\n"
    )
    return file


@pytest.mark.timeout(300)
def test_a_run_under_a_dead_proxy_starts_its_server_and_uses_it(
    puna: Puna, recipe: Path, tmp_path: Path
) -> None:
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy"), DEAD)
    proxies |= {"ALL_PROXY": "socks5://127.0.0.1:9", "no_proxy": "example.org"}
    proxied = replace(
        puna, environment={**puna.environment, **proxies, "PREFECT_HOME": str(tmp_path / "prefect")}
    )
    try:
        done = proxied("run", recipe, "--store", tmp_path / "store", "--only", "ingest", "--json")
        assert done.returncode == 0 and done.results()["ingest/web"] == "built", done.stderr
        address = proxied("dashboard", "status").stdout.split()[2]
        runs = replace(puna, api_url=f"{address}/api").flow_runs()
        assert {run["state_type"] for run in runs} == {"COMPLETED"} and len(runs) == 2
    finally:
        assert proxied("dashboard", "stop").stdout == "stopped\n"


@pytest.fixture
def proxy(puna: Puna) -> Iterator[tuple[str, list[str]]]:
    """A proxy that sends every request to the session's server; its address, and the hosts
    requested.
    """
    server = urlsplit(puna.api_url)
    asked: list[str] = []

    class Forward(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(urlsplit(self.path).hostname or "")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            there = http.client.HTTPConnection(server.hostname or "", server.port, timeout=60)
            path = urlsplit(self.path)._replace(scheme="", netloc="").geturl()
            headers = {
                name: value for name, value in self.headers.items() if name.lower() != "host"
            }
            there.request(self.command, path, body, headers)
            answer = there.getresponse()
            data = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in (
                    "content-length",
                    "transfer-encoding",
                    "connection",
                    "date",
                    "server",
                ):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            there.close()

        do_POST = do_PATCH = do_PUT = do_DELETE = do_GET

        def do_CONNECT(self) -> None:
            self.send_error(502)  # web sockets of events, which a run does without

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forward)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_address[1]}", asked
    listening.shutdown()
    listening.server_close()


@pytest.mark.timeout(300)
def test_a_server_elsewhere_is_reached_through_the_proxy(
    puna: Puna, recipe: Path, proxy: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, asked = proxy
    elsewhere = {"http_proxy": address, "PREFECT_API_URL": "http://prefect.invalid/api"}
    proxied = replace(puna, environment={**puna.environment, **elsewhere})
    done = proxied("run", recipe, "--store", tmp_path / "store", "--only", "ingest", "--json")
    assert done.returncode == 0 and done.results()["ingest/web"] == "built", done.stderr
    assert {*asked} == {"prefect.invalid"}
