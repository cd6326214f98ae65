"""Paths that travel: they name a file without fetching it, and are made anew where they arrive."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.remote import holding
from infra.remote.access import Access, default_cache
from infra.remote.errors import Changed
from infra.remote.held import Held, held, held_folder, place_of
from infra.stage import Pin
from tasks.documents.footers import metadata, rows_of
from tests.loopback.s3 import LoopbackS3, s3_server


@pytest.fixture(scope="module")
def s3() -> Iterator[LoopbackS3]:
    with s3_server() as found:
        found.put("held", "folder/a.txt", b"of a")
        found.put("held", "folder/deep/b.txt", b"of b")
        yield found


def access_of(s3: LoopbackS3, cache: Path) -> Access:
    return Access(cache=cache, retry_interval_s=0.001, retry_limit_s=5, endpoint=s3.endpoint)


def pin(name: str, size: int, sha256: str = "") -> Pin:
    return Pin(f"s3://held/folder/{name}", name, sha256, size)


def test_a_file_is_fetched_when_it_is_opened(s3: LoopbackS3, tmp_path: Path) -> None:
    s3.requests.clear()
    path = held(pin("a.txt", 4), access_of(s3, tmp_path))
    assert path.name == "a.txt" and path.suffix == ".txt" and not s3.requests
    assert path.read_text() == "of a" and s3.requests["GET"] == 1
    assert path.stat().st_size == 4 and Path(str(path)).read_text() == "of a"
    assert repr(path) == "Held('s3://held/folder/a.txt')"
    assert place_of(path) == "s3://held/folder/a.txt" and place_of(tmp_path) == str(tmp_path)


def test_it_arrives_in_the_cache_of_the_machine_that_unpickles_it(
    s3: LoopbackS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    monkeypatch.setenv("XDG_CACHE_HOME", str(here))
    access = access_of(s3, default_cache())
    path = held(pin("a.txt", 4), access)
    sent = pickle.dumps([path, held_folder([pin("a.txt", 4), pin("deep/b.txt", 4)], access)])
    stated = pickle.dumps(held(pin("a.txt", 4), access_of(s3, tmp_path / "stated")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(there))
    arrived, folder = pickle.loads(sent)
    assert arrived.read_bytes() == path.read_bytes() and arrived != path
    assert there in Path(os.fspath(arrived)).parents and here in Path(os.fspath(path)).parents
    assert (folder / "deep" / "b.txt").read_bytes() == b"of b" and there in folder.parents
    assert tmp_path / "stated" in pickle.loads(stated).parents  # a folder of the recipe is that


def test_what_work_held_is_let_go_and_comes_back(s3: LoopbackS3, tmp_path: Path) -> None:
    path = held(pin("a.txt", 4), access_of(s3, tmp_path))
    with holding.while_open():
        place = Path(str(path))
        assert place.exists()
    assert not place.exists() and path.read_bytes() == b"of a"


def test_derived_paths_are_plain(s3: LoopbackS3, tmp_path: Path) -> None:
    path = held(pin("a.txt", 4), access_of(s3, tmp_path))
    assert pickle.loads(pickle.dumps(path.parent)) == Path(path.parent)
    assert not (path.parent / "c.txt").exists() and path.with_suffix(".c").suffix == ".c"


def test_what_is_gone_or_another_is_blamed(s3: LoopbackS3, tmp_path: Path) -> None:
    access = access_of(s3, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"folder/gone\.txt"):
        str(Held.of(pin("gone.txt", 3), access, "x/gone.txt"))
    changed = Held.of(pin("a.txt", 4, "0" * 64), access, "x/a.txt")
    with pytest.raises(Changed):
        changed.read_bytes()
    with pytest.raises(LookupError, match="its sha256 was"):
        changed.blaming(blame).read_bytes()


def blame(error: Exception) -> Exception:
    return LookupError(str(error))


def test_rows_of_parquet_are_read_from_its_end(s3: LoopbackS3, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    table = pa.table({"number": rng.random(40_000)})
    pq.write_table(table, tmp_path / "table.parquet", row_group_size=100)  # a large footer
    content = (tmp_path / "table.parquet").read_bytes()
    s3.put("held", "folder/table.parquet", content)
    path = held(pin("table.parquet", len(content)), access_of(s3, tmp_path / "cache"))
    assert rows_of([path, tmp_path / "table.parquet"]) == [40_000, 40_000]
    assert metadata(path).num_row_groups == 400
    assert not list((tmp_path / "cache").rglob("table.parquet"))
