"""Fields that a data set does not have are refused before anything is downloaded."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.remote.access import Access
from infra.stage import StageError
from tasks.ingest.hub.check import check_fields
from tasks.ingest.hub.configuration import Wanted
from tasks.ingest.hub.layout import layout_of
from tasks.ingest.stage import JsonlFields
from tests.loopback.hub_fixture import HubServer, point_at


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(cache=tmp_path / "cache", retry_interval_s=0.01, retry_limit_s=1)


def test_columns_of_parquet(hub: HubServer, access: Access) -> None:
    path = hub.dataset("a/columns") / "train.parquet"
    pq.write_table(pa.table({"content": ["a"], "meta": [{"url": "u"}], "n": [1]}), path)
    layout = layout_of(Wanted("a/columns"))
    with pytest.raises(
        StageError, match=r"a/columns, train.parquet: fields.text: .*'text'.*content"
    ):
        check_fields(layout, None, access)
    with pytest.raises(StageError, match=r"'contnt' \(did you mean 'content'\?\)"):
        check_fields(layout, JsonlFields(text=("contnt",)), access)
    hub.log()
    check_fields(layout, JsonlFields(text=("content",), url="meta.url"), access)
    assert hub.log() == []  # the columns are remembered


def test_fields_of_lines(hub: HubServer, access: Access) -> None:
    rows = [{"content": f"text {at}", "meta": {"url": "u"}} for at in range(30_000)]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (hub.dataset("a/lines") / "train.jsonl.gz").write_bytes(gzip.compress(data, 1))
    layout = layout_of(Wanted("a/lines"))
    hub.log()
    with pytest.raises(StageError, match=r"none of the first .* 'text' or 'target'; .*content"):
        check_fields(layout, None, access)
    assert sum(request["bytes"] for request in hub.log()) < 300_000
    check_fields(layout, JsonlFields(text=("content",)), access)
    (hub.dataset("a/few") / "train.jsonl").write_text('{"content": "a"}\n' * 3)
    check_fields(layout_of(Wanted("a/few")), None, access)  # too few to tell


def test_what_cannot_be_reached_is_not_refused(
    hub: HubServer, access: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hub.dataset("a/offline") / "train.parquet"
    pq.write_table(pa.table({"content": ["off"]}), path)
    layout = layout_of(Wanted("a/offline"))
    point_at("http://127.0.0.1:9", tmp_path / "home", monkeypatch)
    hub.log()
    check_fields(layout, None, access)
    assert hub.log() == []
    point_at(hub, tmp_path / "home", monkeypatch)
    with pytest.raises(StageError, match=r"a/offline, train.parquet: fields.text: .*content"):
        check_fields(layout, None, access)  # now that it can be told


def test_a_data_set_without_a_whole_parquet_file(hub: HubServer, access: Access) -> None:
    folder = hub.dataset("a/cut")
    pq.write_table(pa.table({"text": ["a text"] * 999}), folder / "train-0.parquet")
    whole = (folder / "train-0.parquet").read_bytes()
    (folder / "train-0.parquet").write_bytes(whole[:-9])
    with pytest.raises(StageError, match=r"a/cut, train-0.parquet: is no whole Parquet file"):
        check_fields(layout_of(Wanted("a/cut")), None, access)
    (folder / "train-1.parquet").write_bytes(whole)
    check_fields(layout_of(Wanted("a/cut")), None, access)
