"""A stage reads the files of its parameters from paths, wherever they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.context import Context
from infra.remote import objects
from infra.remote.access import Access
from infra.remote.errors import Changed
from infra.stage import FilePaths, Outcome, Parameters, Pin, Stage
from infra.store import Artifact
from tests.loopback.http import serving
from tests.stage_harness import pin, run_stage


class NamesParameters(Parameters):
    """Files to read."""

    files: FilePaths = ()


STAGE = Stage(
    "names",
    version=1,
    parameters=NamesParameters,
    run="tests.infra.remote.test_context:run",
    summary="reads files",
)


def run(context: Context) -> Outcome:
    """Says what a file is called and holds."""
    paths = context.files("files")
    folders = len({path.parent for path in paths})
    return Outcome({"read": {path.name: path.read_text() for path in paths}, "folders": folders})


def build(tmp_path: Path, pins: list[Pin], access: Access) -> Artifact:
    given: Any = {"files": tuple(pins)} if pins else {}
    return run_stage(STAGE, NamesParameters(), tmp_path=tmp_path, pins=given, access=access)


def test_files_of_parameters_are_local_paths(tmp_path: Path) -> None:
    access = Access(cache=tmp_path / "cache", retry_interval_s=0.01, retry_limit_s=2.0)
    local = tmp_path / "here.txt"
    local.write_text("here")
    with serving({"/a/there.txt": b"there", "/b/again.txt": b"again"}) as server:
        there, again = (objects.stat(server.url(name), access) for name in server.files)
        built = build(tmp_path, [pin(local), there], access)
        assert built.manifest.statistics["read"] == {"here.txt": "here", "there.txt": "there"}
        assert built.manifest.pins["files"] == (pin(local), there)
        both = build(tmp_path, [there, again], access)
        assert both.manifest.statistics["read"] == {"there.txt": "there", "again.txt": "again"}
        assert build(tmp_path, [], access).manifest.statistics["read"] == {}
        server.files["/b/again.txt"] = b"later"
        with pytest.raises(Changed, match=r"again.txt: was"):
            build(tmp_path / "other", [again], Access(cache=tmp_path / "empty"))


def test_names_that_repeat_are_kept_apart(tmp_path: Path) -> None:
    access = Access(cache=tmp_path / "cache", retry_interval_s=0.01, retry_limit_s=2.0)
    with serving({"/a/x.txt": b"one", "/b/x.txt": b"two"}) as server:
        pins = [objects.stat(server.url(name), access) for name in server.files]
        built = build(tmp_path, pins, access)
        assert built.manifest.statistics["folders"] == 2
