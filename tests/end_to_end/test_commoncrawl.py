"""Crawls by id, by index and by path, from the recipe to selected documents; and nothing new."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from infra.engine import EngineConfig
from infra.store import Artifact, Store
from tests.end_to_end.direct import run_direct, run_turn
from tests.loopback.commoncrawl import CRAWL, Dump, collinfo, dump_of, generated, site
from tests.loopback.http import FileServer, serving

INLINE = EngineConfig(kind="inline")
NEWER = "CC-MAIN-2024-26"


@pytest.fixture(scope="module")
def dump() -> Dump:
    """Some 50 generated pages in three archives."""
    return dump_of(generated(32), archives=3, row_group=8)


@pytest.fixture
def server(dump: Dump) -> Iterator[FileServer]:
    """A host of that crawl."""
    with serving(site([dump])) as found:
        yield found


def recipe(folder: Path, name: str, **sources: dict[str, Any]) -> Path:
    made = {
        "name": name,
        "store": str(folder / "store"),
        "engine": {"kind": "inline"},
        "remote": {"cache": str(folder / "cache"), "retry_interval_s": 0.0, "retry_limit_s": 5.0},
        "sources": {
            source: {
                "ingest": ingest,
                "langid": {"keep": {"languages": ["zh"], "threshold": 0.4}},
                "category": "web",
            }
            for source, ingest in sources.items()
        },
        "select": {"heldout": None},
    }
    file = folder / f"{name}.yaml"
    file.write_text(json.dumps(made, indent=1))
    return file


def crawl(server: FileServer, **stated: Any) -> dict[str, Any]:
    host = server.url("/")
    return {"format": "commoncrawl", "crawl": CRAWL, "host": host, "index_host": host, **stated}


def selected(artifacts: dict[str, Artifact]) -> dict[str, str]:
    """Id -> text of what select wrote."""
    artifact = artifacts["select/web"]
    lines = [
        json.loads(line)
        for file in artifact.files("web/")
        for line in artifact.path(file).read_text().splitlines()
    ]
    return {line["id"]: line["target"] for line in lines}


def plan(file: Path, *more: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["plan", str(file), "--json", *more])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_three_ways_to_the_same_selected_documents(
    tmp_path: Path, server: FileServer, dump: Dump
) -> None:
    (tmp_path / "local").mkdir()
    for path in dump.paths("warc"):
        (tmp_path / "local" / Path(path).name).write_bytes(dump.files[f"/{path}"])
    store = tmp_path / "store"
    ways = {
        "by-id": crawl(server),
        "by-index": crawl(server, select={"languages": ["zh"]}),
        "by-path": {"format": "warc", "paths": ["local/*.warc.gz"]},
    }
    found = {
        name: selected(
            run_direct(recipe(tmp_path, name, web=ingest), store, INLINE, until="select")
        )
        for name, ingest in ways.items()
    }
    assert len(found["by-id"]) >= 15
    assert found["by-id"] == found["by-path"] == found["by-index"]


def test_the_plan_estimates_reading(tmp_path: Path, server: FileServer, dump: Dump) -> None:
    file = recipe(
        tmp_path,
        "plan",
        web=crawl(server, select={"languages": ["zh"]}),
        one=crawl(server, files=2),
        other=crawl(server),
    )
    found = plan(file)
    reading = found["reading"]
    sizes = dump.archive_bytes()
    assert reading["other"]["bytes"] == sizes and reading["other"]["requests"] == 3
    assert reading["one"]["archives"] == 2 and reading["one"]["bytes"] < sizes
    web = reading["web"]
    chinese = dump.languages()["zho"]
    assert 0.5 * chinese < web["records"] < 2 * chinese and web["archive_bytes"] == sizes
    assert web["index_requests"] > 0 and web["range_bytes"] > 0
    both, *selected = [line for line in found["warnings"] if "comes twice" in line]
    assert "sources one and other both read" in both and "and 1 more" in both
    assert [line.partition(" that source")[0] for line in selected] == [
        "source web selects records of 2 archives",
        "source web selects records of 3 archives",
    ]
    asked = len(server.seen)
    assert plan(file)["reading"] == reading
    assert len(server.seen) - asked <= 12  # the list of crawls, and whether listings have changed
    words = " ".join(CliRunner().invoke(app, ["plan", str(file)]).stdout.split())
    assert f"source web: ≈ {web['range_requests']} ranges ({web['records']} records) of ≈" in words
    assert web["bytes"] > sizes
    assert (
        "source web: ranges and index cost more than whole archives: read whole archives" in words
    )


def test_many_ranges_over_https_are_warned_of(
    tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.planning.reading.MANY_REQUESTS", 3)
    file = recipe(tmp_path, "many", web=crawl(server, select={"languages": ["zh"]}))
    (warning,) = plan(file)["warnings"]
    assert "requests over https" in warning and "host: s3://commoncrawl/" in warning


def test_latest_reads_what_is_new_and_then_says_so(
    tmp_path: Path, server: FileServer, dump: Dump
) -> None:
    file = recipe(tmp_path, "monthly", web=crawl(server, crawl="latest", files=1))
    run_direct(file, tmp_path / "store", INLINE)
    done = CliRunner().invoke(app, ["run", str(file)])
    assert done.exit_code == 0, done.output
    assert f"nothing new: Common Crawl lists no crawl after {CRAWL}" in done.stderr
    assert "Nothing to do" in done.stdout
    newer = dump_of(generated(8), crawl=NEWER, archives=1)
    server.files |= newer.files | {"/collinfo.json": collinfo([NEWER, CRAWL])}
    stages = {stage["stage"]: stage for stage in plan(file)["stages"]}
    assert stages["ingest"]["result"] == "run" and "files of crawl" in stages["ingest"]["why"]
    run_direct(file, tmp_path / "store", INLINE)
    assert f"no crawl after {NEWER}" in CliRunner().invoke(app, ["run", str(file)]).stderr


@pytest.mark.parametrize("select", [None, {"languages": ["zh"]}])
def test_a_loop_takes_the_crawls_that_its_history_lacks(
    tmp_path: Path, server: FileServer, select: dict[str, Any] | None
) -> None:
    stated = {"files": 1} if select is None else {"select": select}
    file = recipe(tmp_path, "loop", web=crawl(server, crawl="latest", **stated))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"loop": {}}))
    store = tmp_path / "store"
    first, nothing = (run_turn(file, store, INLINE) for _ in range(2))
    assert first["promotion"]["promoted"] and nothing["status"] == "nothing new"
    newer = dump_of(generated(8), crawl=NEWER, archives=1)
    server.files |= newer.files | {"/collinfo.json": collinfo([NEWER, CRAWL])}
    assert plan(file)["loop"]["new_files"]["web"] >= 1
    third = run_turn(file, store, INLINE)
    assert third["promotion"]["from"] == first["run"]
    (version,) = [s["version"] for s in third["stages"] if s["stage"] == "ingest"]
    read = Store.at(str(store)).find("ingest", "web", version)
    assert read is not None
    names = [pin.name for pins in read.manifest.pins.values() for pin in pins]
    assert names and all(NEWER in name for name in names)
    assert run_turn(file, store, INLINE)["status"] == "nothing new"


@pytest.mark.parametrize(
    "stated, why",
    [
        ({"crawl": "CC-MAIN-2024-21"}, f"did you mean '{CRAWL}'"),
        ({"crawl": [CRAWL, "CC-MAIN-2012"]}, "lists no crawl 'CC-MAIN-2012'"),
        ({"select": {"languages": ["zhou"]}}, "did you mean 'zho'"),
        ({"select": {"language": ["zho"]}}, "languages"),
    ],
)
def test_what_does_not_exist_is_refused_with_its_line(
    tmp_path: Path, server: FileServer, stated: dict[str, Any], why: str
) -> None:
    file = recipe(tmp_path, "wrong", web=crawl(server, **stated))
    done = CliRunner().invoke(app, ["plan", str(file)])
    assert done.exit_code == 2 and "wrong.yaml:" in done.stderr and why in done.stderr


def test_a_host_that_does_not_answer_is_planned_around(tmp_path: Path, server: FileServer) -> None:
    far = crawl(server) | {"host": "http://127.0.0.1:9/"}
    (tmp_path / "a.txt").write_text("A text.")
    near = {"format": "text", "paths": ["a.txt"]}
    file = recipe(tmp_path, "far", web=far, near=near)
    done = CliRunner().invoke(app, ["plan", str(file), "--json", "-s", "remote.retry_limit_s=0"])
    stages = {f"{s['stage']}/{s['name']}": s for s in json.loads(done.stdout)["stages"]}
    assert stages["ingest/web"]["result"] == "unresolved"
    assert stages["ingest/near"]["result"] == "run"
