"""Files on other machines in recipes: pinned, unreachable (`?`), or refused with their line."""

from __future__ import annotations

import gzip
import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.planning.prepare import Prepared, prepare
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from tests.loopback.http import FileServer, serving

RECIPE = """\
name: far
store: {store}
remote: {{cache: {store}/cache, retry_interval_s: 0.001, retry_limit_s: 0.02}}
sources:
  web:
    ingest:
      format: text
      paths: [{paths}]
    langid: {{}}
    category: web
"""


def recipe(tmp_path: Path, *paths: str) -> Path:
    file = tmp_path / "far.yaml"
    file.write_text(RECIPE.format(store=tmp_path / "store", paths=", ".join(paths)))
    return file


def plan(file: Path) -> Prepared:
    return prepare(RunRequest.of(file))


def served() -> dict[str, bytes | Path]:
    return {"/a.txt": b"A text.", "/b.txt": b"Another text."}


def test_remote_files_are_pinned_and_a_change_is_another_version(tmp_path: Path) -> None:
    with serving(served()) as server:
        file = recipe(tmp_path, server.url("/a.txt"), server.url("/b.txt"))
        first = plan(file)
        first.refuse_unresolved()
        found = first.pins["ingest/web"]["paths"]
        assert isinstance(found, tuple) and [pin.bytes for pin in found] == [7, 13]
        assert server.sent_bytes == 0
        version = first.plan.steps["ingest/web"].version
        assert version is not None and plan(file).plan.steps["ingest/web"].version == version
        server.files["/b.txt"] = b"A newer text."
        assert plan(file).plan.steps["ingest/web"].version not in (version, None)


def test_the_first_records_of_a_file_elsewhere_are_looked_at_once(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"body": {"text": f"{n} {n * n}"}}) + "\n" for n in range(40_000))
    with serving({"/a.jsonl.gz": gzip.compress(rows.encode())}) as server:
        file = recipe(tmp_path, server.url("/a.jsonl.gz"))
        file.write_text(file.read_text().replace("format: text", "format: jsonl"))
        for _ in range(2):
            with pytest.raises(RecipeError, match=r"far.yaml:8: .*first 100 records none has"):
                plan(file)
            assert 0 < server.sent_bytes <= 1 << 16 < len(server.files["/a.jsonl.gz"])  # type: ignore[arg-type]
        fields = "format: jsonl\n      fields: {text: body.text}"
        file.write_text(file.read_text().replace("format: jsonl", fields))
        assert plan(file).doubts == () and server.sent_bytes <= 1 << 16


def test_what_does_not_answer_is_planned_around_and_not_run(tmp_path: Path) -> None:
    with serving(served()) as server:
        file = recipe(tmp_path, server.url("/a.txt"))
    planned = CliRunner().invoke(app, ["plan", str(file), "--json"])
    assert planned.exit_code == 0, planned.output
    stages = {stage["stage"]: stage for stage in json.loads(planned.stdout)["stages"]}
    assert stages["ingest"]["result"] == stages["langid"]["result"] == "unresolved"
    assert "Connection refused" in stages["ingest"]["why"]
    assert stages["langid"]["why"] == "waits for ingest/web"
    refused = CliRunner().invoke(app, ["run", str(file)])
    assert refused.exit_code == 2
    assert f"{file}:8: ingest/web: {server.url('/a.txt')}: [Errno 111]" in refused.stderr


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("{url}/c.txt", r"far.yaml:8: ingest/web.paths: {url}/c.txt: no such object \(HTTP 404\)"),
        ("{url}/*.txt", r"far.yaml:8: ingest/web.paths: .*a web server cannot be listed"),
        (
            "https://me:hunter2@h.test/a",
            r"far.yaml:8: sources.web.ingest.paths.0: holds a pass",
        ),
        ("https://h.test/a?sig=hunter2", r"far.yaml:8: sources.web.ingest.paths: .* is a secret"),
        ("gopher://h.test/a", r"far.yaml:8: .* gopher:// is not supported; use a local path, or"),
    ],
)
def test_what_a_server_refuses_is_an_error_of_the_recipe(
    tmp_path: Path, path: str, why: str
) -> None:
    with serving(served()) as server:
        url = f"http://{server.address}"
        with pytest.raises(RecipeError, match=why.replace("{url}", url)) as refused:
            plan(recipe(tmp_path, f"'{path.format(url=url)}'"))
        assert "hunter2" not in str(refused.value)


def test_a_host_that_does_not_answer_is_not_asked_for_each_object(tmp_path: Path) -> None:
    def dead(number: int) -> str:
        return "drop"

    with serving(served(), faults=dead) as server:
        one = asked(server, recipe(tmp_path, server.url("/a.txt")))
        many = [server.url(f"/{number}.txt") for number in range(200)]
        assert asked(server, recipe(tmp_path, *many)) < 40 * one


def asked(server: FileServer, file: Path) -> int:
    before = len(server.seen)
    assert plan(file).plan.steps["ingest/web"].state == "unresolved"
    return len(server.seen) - before


def test_a_disk_with_too_little_room_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(100, 81, 19))
    with serving(served()) as server:
        file = recipe(tmp_path, server.url("/a.txt"), server.url("/b.txt"))
        (told,) = plan(file).warnings()
        assert told.startswith("≈ 20 B are to be fetched, and the disk of the cache (")
        assert "has 19 B free; free some of it, or name a folder on another disk" in told
        bounded = ["remote.cache_gb=0.000000015"]  # sources pass through it
        assert prepare(RunRequest.of(file, bounded)).warnings() == []
        model = [*bounded, f"sources.web.langid.model={server.url('/b.txt')}"]
        (told,) = prepare(RunRequest.of(file, model)).warnings()
        assert told.startswith("≈ 27 B are to be fetched")
