"""Secrets planted in the environment, in blocks, in addresses, in overrides and in parameters of
deployments are nowhere after runs that end well and badly: not in the store with its records and
reports, Prefect's home with its database, caches, temporary files, nor on the terminal.

`test_run.py` looks at a run that trains, with TensorBoard files.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from flows.cli import app
from infra.store import Store
from tests.end_to_end.fixtures import Puna
from tests.end_to_end.world import jsonl, paragraph
from tests.loopback.http import FileServer, serving

SECRETS = {
    "proxy": "proxy+word/planted-1",
    "aws": "aws+key/planted-2planted-2planted-2",
    "hub": "hf_plantedplantedplanted3",
    "webhook": "planted-4-path-of-a-hook",
    "block": "planted-5-in-a-block",
    "user": "planted-6-before-a-host",
    "query": "planted-7-in-a-query",
    "override": "ghp_planted8planted8planted8planted8",
    "parameter": "AKIAPLANTED9PLANTED9",
    "server": "planted-10-of-the-server",
}
LETTERS, UNREADABLE = "http://crawl.test/letters.jsonl", "http://crawl.test/unreadable.jsonl"
RECIPE = f"""\
name: tiny
engine: {{kind: inline}}
sources:
  letters:
    ingest: {{format: jsonl, paths: ["{LETTERS}"]}}
    category: letters
dedup: null
select: {{heldout: null}}
"""


@dataclass
class Planted:
    """A recipe whose source is behind a proxy with a password, and all that was told."""

    folder: Path
    puna: Puna
    proxy: FileServer
    told: list[str] = field(default_factory=list)

    @property
    def recipe(self) -> Path:
        return self.folder / "tiny.yaml"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def run(self, *words: str) -> tuple[int, str]:
        """`puna run` as a process of its own: exit status and terminal."""
        done = self.puna("run", self.recipe, "--store", self.store, *words)
        self.told.append(done.stdout + done.stderr)
        return done.returncode, self.told[-1]

    def here(self, *words: object) -> tuple[int, str]:
        """A command in this process."""
        done = CliRunner().invoke(app, [str(word) for word in words])
        self.told.append(done.output + (repr(done.exception) if done.exception else ""))
        return done.exit_code, self.told[-1]


@pytest.fixture(scope="module")
def planted(puna: Puna, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    folder = tmp_path_factory.mktemp("planted")
    (folder / "tiny.yaml").write_text(RECIPE)
    (folder / "tmp").mkdir()
    rng = random.Random(5)
    jsonl(folder / "letters", [{"text": paragraph(rng, "en")} for _ in range(20)])
    body = (folder / "letters").read_bytes()
    login = f"http://me:{quote(SECRETS['proxy'], safe='')}"
    said = f"<Error><Code>Odd</Code><Message>not through {login}@proxy</Message></Error>"
    with serving({LETTERS: body, UNREADABLE: body}) as proxy, pytest.MonkeyPatch.context() as patch:
        proxy.unreadable[UNREADABLE] = said.encode()
        variables = {
            "http_proxy": f"{login}@{proxy.address}",
            "AWS_SECRET_ACCESS_KEY": SECRETS["aws"],
            "HF_TOKEN": SECRETS["hub"],
            "PUNA_WEBHOOK_URL": f"http://127.0.0.1:9/{SECRETS['webhook']}",
            "TMPDIR": str(folder / "tmp"),
        }
        process = replace(puna, environment=puna.environment | variables)
        address = puna.api_url.replace("http://", f"http://me:{SECRETS['server']}@")
        for name, value in {**process.environment, "PREFECT_API_URL": address}.items():
            patch.setenv(name, value)
        patch.setattr(tempfile, "tempdir", str(folder / "tmp"))
        patch.chdir(folder)
        yield Planted(folder, process, proxy)


@contextlib.contextmanager
def prefect_at(planted: Planted) -> Iterator[None]:
    """The session's server for Prefect in this process, by an address with a password."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    settings: dict[Any, Any] = {
        PREFECT_API_URL: os.environ["PREFECT_API_URL"],
        PREFECT_HOME: planted.puna.environment["PREFECT_HOME"],
    }
    with temporary_settings(settings):
        yield


def test_a_run_uses_them_and_tells_nothing(planted: Planted) -> None:
    status, told = planted.run()
    assert status == 0, told
    login = base64.b64encode(f"me:{SECRETS['proxy']}".encode()).decode()
    assert {seen.headers["proxy-authorization"] for seen in planted.proxy.seen} == {
        f"Basic {login}"
    }


def test_a_failed_run_says_whose_value_stood_there(planted: Planted) -> None:
    status, told = planted.run("-s", f"sources.letters.ingest.paths=[{UNREADABLE}]")
    assert status == 1 and "not through http://proxy" in told, told
    record = Store.at(str(planted.store)).runs()[-1]
    assert record["status"] == "failed" and "not through http://proxy" in record["failure"]


def test_an_unforeseen_error_tells_nothing(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(context: object) -> None:
        try:
            raise LookupError(f"https://host/a?sig={SECRETS['query']}")
        except LookupError as error:
            error.add_note(os.environ["HF_TOKEN"])
            raise ValueError(
                f"{os.environ['http_proxy']} and {os.environ['AWS_SECRET_ACCESS_KEY']}"
            ) from error

    monkeypatch.setattr("tasks.select.run.run", run)
    words = ("--store", planted.store, "--force", "select/letters", "--json")
    with prefect_at(planted):
        status, told = planted.here("run", planted.recipe, *words)
    assert status == 1, told
    for shown in ("[value of AWS_SECRET_ACCESS_KEY]", "[value of HF_TOKEN]", "?sig=[secret]"):
        assert shown in told, told
    failed = Store.at(str(planted.store)).runs()[-1]
    assert "ValueError: http://127.0.0.1" in failed["failure"]
    state = next(run for run in planted.puna.flow_runs() if run["id"] == failed["flow_run_id"])
    assert state["state"]["type"] == "FAILED" and "[value of" in state["state"]["message"]


@pytest.mark.parametrize(
    "override",
    [
        f"sources.letters.ingest.paths=[http://me:{SECRETS['user']}@crawl.test/letters.jsonl]",
        f"sources.letters.ingest.paths=[{LETTERS}?token={SECRETS['query']}]",
        f"sources.letters.license={SECRETS['override']}",
        f"sources.letters.license={SECRETS['aws']}",
        f"selct.heldout={SECRETS['override']}",
        f"name.inside={SECRETS['override']}",
        SECRETS["override"],
        f"select.{SECRETS['override']}=",
        f"sources.letters.ingest.format={SECRETS['proxy']}",
        f"select=[{SECRETS['hub']}: {{, {SECRETS['hub']}: 1",
    ],
)
@pytest.mark.parametrize("command", ["plan", "deploy"])
def test_overrides_are_refused_unsaid(planted: Planted, command: str, override: str) -> None:
    status, told = planted.here(command, planted.recipe, "--store", planted.store, "-s", override)
    assert status == 2 and "error: " in told, told


def test_a_deployment_tells_nothing(planted: Planted) -> None:
    with prefect_at(planted):
        status, told = planted.here("deploy", planted.recipe, "--store", planted.store)
        assert status == 0 and "http://127.0.0.1" in told, told
        from prefect.blocks.system import Secret

        Secret(value=SECRETS["block"]).save("planted", overwrite=True)
        assert Secret.load("planted").get() == SECRETS["block"]
    wanted = {"deployments": {"name": {"any_": ["tiny"]}}, "flows": {"name": {"any_": ["puna"]}}}
    (made,) = planted.puna.ask("deployments/filter", wanted)
    for parameters in (
        {"overrides": [f"sources.letters.license={SECRETS['parameter']}"]},
        {"store": f"s3://me:{SECRETS['user']}@bucket"},
        {"recipe": f"https://host/r.yaml?token={SECRETS['query']}"},
    ):
        given = {"parameters": {"recipe": str(planted.recipe), **parameters}}
        with pytest.raises(urllib.error.HTTPError) as refused:
            planted.puna.ask(f"deployments/{made['id']}/create_flow_run", given)
        assert refused.value.code in (409, 422)


@pytest.mark.duty
@pytest.mark.timeout(600)
def test_a_block_reaches_runs_through_their_work_pool(planted: Planted) -> None:
    """As docs/operations.md says: only a block has the proxy and its password."""
    from prefect.blocks.system import Secret
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolUpdate

    proxy = os.environ["http_proxy"].replace(quote(SECRETS["proxy"], safe=""), SECRETS["block"])
    with prefect_at(planted):
        planted.here("deploy", planted.recipe, "--store", planted.folder / "by-worker")
        Secret(value=proxy).save("proxy", overwrite=True)
        with get_client(sync_client=True) as client:
            template = client.read_work_pool("puna").base_job_template
            given = {"http_proxy": "{{ prefect.blocks.secret.proxy }}", "no_proxy": "127.0.0.1"}
            template["variables"]["properties"]["env"]["default"] = given
            client.update_work_pool("puna", WorkPoolUpdate(base_job_template=template))
    wanted = {"deployments": {"name": {"any_": ["tiny"]}}, "flows": {"name": {"any_": ["puna"]}}}
    (made,) = planted.puna.ask("deployments/filter", wanted)
    run = {"parameters": made["parameters"], "state": {"type": "SCHEDULED"}}
    id = planted.puna.ask(f"deployments/{made['id']}/create_flow_run", run)["id"]
    environment = {**planted.puna.environment, "PREFECT_API_URL": planted.puna.api_url}
    del environment["http_proxy"]
    worker = [sys.executable, "-m", "prefect", "worker", "start", "-p", "puna", "-t", "process"]
    before = len(planted.proxy.seen)
    done = subprocess.run(
        [*worker, "--run-once"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    planted.told.append(done.stdout + done.stderr)
    state = next(run["state"] for run in planted.puna.flow_runs() if run["id"] == id)
    assert state["type"] == "COMPLETED", (state, planted.told[-1])
    login = base64.b64encode(f"me:{SECRETS['block']}".encode()).decode()
    seen = planted.proxy.seen[before:]
    assert seen and {one.headers["proxy-authorization"] for one in seen} == {f"Basic {login}"}
    texts = texts_after(planted)
    assert b"prefect.blocks.secret.proxy" in texts["the database"]
    assert not secrets_in(texts)


def test_nothing_of_it_is_anywhere(planted: Planted) -> None:
    """After all of the above."""
    if not Store.at(str(planted.store)).runs():
        pytest.skip("looks at what the tests before it did")
    texts = texts_after(planted)
    for word in (b"event=failed", b"[value of ", b"webhook"):
        assert word in texts["the database"]
    assert any(name.endswith(".html") for name in texts) and len(texts) > 20
    assert not secrets_in(texts)


def texts_after(planted: Planted) -> dict[str, bytes]:
    """Whatever runs have left: name -> content."""
    database = planted.puna.home / "prefect" / "prefect.db"
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        dump = "\n".join(opened.iterdump())
    texts = {"the terminal": "\n".join(planted.told).encode(), "the database": dump.encode()}
    stores = [planted.store, planted.folder / "by-worker"]
    for folder in (*stores, planted.folder / "tmp", planted.puna.home):
        files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        texts |= {str(path): path.read_bytes() for path in files}
    return texts


def secrets_in(texts: dict[str, bytes]) -> list[tuple[str, str]]:
    """(secret, place) of what was found."""
    return [
        (what, place)
        for place, text in texts.items()
        for what, secret in SECRETS.items()
        if any(form in text for form in forms(secret))
    ]


def forms(secret: str) -> set[bytes]:
    """A secret as it may be written: itself, quoted for an address or in JSON, in base64."""
    words = {secret, quote(secret), quote(secret, safe=""), json.dumps(secret).strip('"')}
    login = base64.b64encode(f"me:{secret}".encode())
    return {word.encode() for word in words} | {login, base64.b64encode(secret.encode())}
