"""Parquet on the hub: only wanted columns, only wanted row groups; the rest by `datasets`."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.remote.access import Access
from infra.remote.errors import Denied
from infra.remote.resolved import forget_all
from infra.stage import Pin
from tasks.ingest.hub.configuration import Wanted
from tasks.ingest.hub.layout import layout_of
from tasks.ingest.hub.rows import read_rows
from tasks.ingest.lines import ByteRange
from tasks.ingest.parquet import Batch, read_batches, row_groups
from tasks.ingest.parquet_columns import columns_of
from tasks.ingest.parquet_source import _footers, opened
from tests.loopback.hub_fixture import HubServer

ROWS, GROUP = 4_000, 500


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(cache=tmp_path / "cache", retry_interval_s=0.01, retry_limit_s=5)


@pytest.fixture
def pin(hub: HubServer) -> Pin:
    """A file with one large column that nobody wants between two small ones."""
    import random

    _footers.clear()
    noise = random.Random(0)
    table = pa.table(
        {
            "text": [f"document {at}" for at in range(ROWS)],
            "embedding": [noise.randbytes(2_000) for _ in range(ROWS)],
            "url": [f"http://a/{at}" for at in range(ROWS)],
        }
    )
    path = hub.dataset("a/parquet") / "train.parquet"
    if not path.exists():
        pq.write_table(table, path, row_group_size=GROUP)
    (found,) = layout_of(Wanted("a/parquet")).files
    hub.log()
    return found


def rows_of(pin: Pin, access: Access, byte_range: ByteRange | None = None) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    with opened(pin, access) as source:
        columns = columns_of(source.file.schema_arrow, None)
        groups = row_groups(source.file.metadata, byte_range)
        source.want(groups, columns)
        for batch in read_batches(source.file, groups, columns):
            assert isinstance(batch, Batch)
            found += enumerate(batch.rows.column("text").to_pylist(), batch.first)
    return found


ALL = [(at, f"document {at}") for at in range(ROWS)]


def test_only_the_bytes_of_wanted_columns_are_read(
    hub: HubServer, pin: Pin, access: Access
) -> None:
    assert rows_of(pin, access) == ALL
    served = [request for request in hub.log() if request["path"].startswith("/cdn")]
    read = sum(request["bytes"] for request in served)
    with opened(pin, access) as source:
        wanted = sum(
            source.file.metadata.row_group(group).column(column).total_compressed_size
            for group in range(ROWS // GROUP)
            for column in (0, 2)
        )
    assert wanted < read < wanted + 70_000 < pin.bytes / 20  # the footer is read with 64 KB
    assert all(request["status"] == 206 for request in served)
    assert len(served) <= 2 + 2 * ROWS // GROUP


def test_byte_ranges_read_their_row_groups_only(hub: HubServer, pin: Pin, access: Access) -> None:
    half = pin.bytes // 2
    first = rows_of(pin, access, ByteRange(0, half))
    footers = [request for request in hub.log() if request["range"]]
    second = rows_of(pin, access, ByteRange(half, pin.bytes))
    assert first + second == ALL and 0 < len(first) < ROWS
    more = [request for request in hub.log() if request["path"].startswith("/cdn")]
    assert len(more) < len(footers)  # the footer is known by now


def test_a_token_goes_to_the_hub_and_never_beyond(
    hub: HubServer, pin: Pin, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = hub.dataset("a/parquet") / ".hub.json"
    settings.write_text('{"gated": true}')
    forget_all()  # other tests have read the file without a token
    try:
        with pytest.raises(Denied, match="HF_TOKEN"):
            rows_of(pin, access)
        monkeypatch.setenv("HF_TOKEN", "hf_loopback")
        hub.log()
        assert rows_of(pin, access) == ALL
        requests = hub.log()
        assert {r["token"] for r in requests if r["path"].startswith("/datasets")} == {
            "hf_loopback"
        }
        assert {r["token"] for r in requests if r["path"].startswith("/cdn")} == {""}
    finally:
        settings.unlink()


def test_a_server_that_fails_now_and_then_gives_the_same_rows(
    hub: HubServer, pin: Pin, access: Access
) -> None:
    hub.faults(
        ("/cdn/", "drop", 3), ("/cdn/", "short", 2), ("/cdn/", "503", 2), ("resolve", "429", 2)
    )
    assert rows_of(pin, access) == ALL
    hub.faults()


def test_what_is_in_the_hubs_cache_is_read_there(hub: HubServer, pin: Pin, access: Access) -> None:
    import huggingface_hub

    commit = layout_of(Wanted("a/parquet")).commit
    huggingface_hub.hf_hub_download(
        "a/parquet", "train.parquet", repo_type="dataset", revision=commit
    )
    hub.log()
    assert rows_of(pin, access) == ALL and hub.log() == []


def test_other_layouts_are_read_by_datasets(tmp_path: Path) -> None:
    csv = tmp_path / "abc"  # as in a cache: without the ending
    csv.write_text("text;url\nfirst;a\nsecond;b\n")
    found = list(read_rows(csv, "data/a.csv", "csv", {"sep": ";"}))
    assert found == [{"text": "first", "url": "a"}, {"text": "second", "url": "b"}]
    arrow = tmp_path / "def"
    with pa.ipc.new_file(arrow, pa.schema([("text", pa.string())])) as writer:
        writer.write_table(pa.table({"text": ["x", "y"]}))
    assert [row["text"] for row in read_rows(arrow, "a.arrow", "arrow", {})] == ["x", "y"]
