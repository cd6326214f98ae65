"""Sources on other machines give what the same local files give, whatever the server does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.remote import objects
from infra.remote.access import Access
from infra.remote.cache import holds
from infra.remote.errors import Changed, Foreign, NoSuchObject
from infra.stage import Pin, StageError
from infra.store import Artifact
from tasks.ingest import part, parts
from tasks.ingest.stage import STAGE, IngestParameters
from tests.loopback.http import FileServer, a_third, serving
from tests.stage_harness import data_digests, pin, run_stage
from tests.tasks.ingest.test_ingest import archives


def access_to(folder: Path) -> Access:
    return Access(cache=folder / "cache", retry_interval_s=0.002, retry_limit_s=5.0)


def build(folder: Path, pins: list[Pin], access: Access | None = None) -> Artifact:
    parameters = IngestParameters(format="warc", paths=tuple(found.path for found in pins))
    given = {"paths": tuple(pins)}
    return run_stage(STAGE, parameters, name="web", tmp_path=folder, pins=given, access=access)


def served(files: list[Path]) -> dict[str, bytes | Path]:
    return {f"/{file.name}": file.read_bytes() for file in files}


def pins_of(server: FileServer, access: Access) -> list[Pin]:
    return [objects.stat(server.url(name), access) for name in server.files]


def test_the_same_documents_and_ids_as_from_local_files(tmp_path: Path) -> None:
    files = archives(tmp_path, count=5)
    local = build(tmp_path / "local", [pin(file) for file in files])
    for name, faults in (("clean", lambda number: None), ("faulty", a_third)):
        access = access_to(tmp_path / name)
        with serving(served(files), faults=faults) as server:
            remote = build(tmp_path / name, pins_of(server, access), access)
            assert data_digests(remote) == data_digests(local)
            assert remote.manifest.statistics["fetched_files"] == 5
            record = json.loads((Path(remote.data.url).parent / "records/inputs.json").read_text())
            assert record == {server.url(f"/{file.name}"): pin(file).sha256 for file in files}
            failed = sum(seen.fault is not None for seen in server.seen)
            assert failed == 0 if name == "clean" else failed >= 4
    assert "fetched_files" not in local.manifest.statistics


def test_the_object_of_the_next_part_is_fetched_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", (1, 1))
    files = archives(tmp_path, count=4)
    access = access_to(tmp_path)
    read, ahead = part.local_pins, []

    def wait_for_the_next(*arguments: Any) -> Iterator[Pin]:
        yield from read(*arguments)
        following = arguments[2]
        if following is not None:
            until = time.monotonic() + 10
            while not holds(following, access) and time.monotonic() < until:
                time.sleep(0.01)
            ahead.append(following.name)

    monkeypatch.setattr(part, "local_pins", wait_for_the_next)
    with serving(served(files)) as server:
        pins = pins_of(server, access)
        remote = build(tmp_path, pins, access)
        assert len(remote.files("part-")) == 4
        assert ahead == ["1.warc.gz", "2.warc.gz", "3.warc.gz"]
        assert all(holds(found, access) for found in pins)
        assert server.sent_bytes == sum(found.bytes for found in pins)


def test_an_object_that_changed_since_the_plan_fails_the_source(tmp_path: Path) -> None:
    files = archives(tmp_path, count=3)
    access = access_to(tmp_path)
    with serving(served(files)) as server:
        pins = pins_of(server, access)
        server.files["/1.warc.gz"] = server.files["/2.warc.gz"]
        with pytest.raises(Changed, match=r"/1.warc.gz: was .* when the run was planned"):
            build(tmp_path, pins, access)


def test_what_is_not_the_object_fails_the_source(tmp_path: Path) -> None:
    files = archives(tmp_path, count=2)
    access = access_to(tmp_path)
    with serving(served(files)) as server:
        pins = pins_of(server, access)
        page = b"<!DOCTYPE html><html><body>Please log in</body></html>"
        server.files["/1.warc.gz"] = page.ljust(pins[1].bytes)
        server.etags["/1.warc.gz"] = f'"{pins[1].etag}"'
        with pytest.raises(Foreign, match=r"an HTML page, perhaps of a login, not 1.warc.gz"):
            build(tmp_path, pins, access)
        del server.files["/1.warc.gz"]
        with pytest.raises(NoSuchObject, match=r"/1.warc.gz: no such object"):
            build(tmp_path, pins, access)


def test_equal_content_at_two_addresses_is_refused(tmp_path: Path) -> None:
    (file,) = archives(tmp_path, count=1)
    access = access_to(tmp_path)
    with serving({"/a.warc.gz": file.read_bytes(), "/b.warc.gz": file.read_bytes()}) as server:
        for pins in (pins_of(server, access), [pin(file), *pins_of(server, access)[1:]]):
            with pytest.raises(StageError, match=r"have the same content .* name one of them"):
                build(tmp_path, pins, access)
