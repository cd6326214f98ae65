"""Selection on the columnar index: which records, and how little of the index is read."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.remote.access import Access
from infra.stage import UNKNOWN_BYTES, Pin, StageError
from tasks.ingest.commoncrawl.index import IndexPart, possible, wanted, wanted_of
from tasks.ingest.stage import IndexSelect
from tests.loopback.commoncrawl import CRAWL, INDEX_SCHEMA, Dump, index_file
from tests.loopback.http import FileServer, serving

HOSTS = ["a.org", "www.a.org", "b.a.org", "aa.org", "a.org.uk", "c.com", "a.com", "x.aa.org"]


def row(host: str, languages: str | None, status: int = 200, mime: str | None = None) -> Any:
    labels = host.removeprefix("www.").split(".")
    found = dict.fromkeys(INDEX_SCHEMA.names)
    return found | {
        "url_surtkey": f"{','.join(reversed(labels))})/",
        "url": f"https://{host}/{hashlib.sha512(host.encode()).hexdigest()}",
        "url_host_name": host,
        "url_host_tld": labels[-1],
        "fetch_status": status,
        "content_languages": languages,
        "content_mime_type": "text/html",
        "content_mime_detected": mime,
        "warc_filename": "crawl-data/X/1.warc.gz",
        "warc_record_offset": 1,
        "warc_record_length": 2,
    }


def pin_of(server: FileServer, name: str = "part.parquet") -> Pin:
    return Pin(server.url(f"/{name}"), name, "", UNKNOWN_BYTES)


SOME = [
    row("a.org", "zho"),
    row("b.a.org", "eng,zho"),
    row("a.com", None),
    row("c.com", "zhoo"),
    row("aa.org", "zho", status=404),
    row("x.aa.org", "deu,eng,fra", mime="application/xhtml+xml"),
]


@pytest.mark.parametrize(
    "select, found",
    [
        ({"languages": ["zh"]}, [0, 1]),
        ({"languages": ["zho", "fr"]}, [0, 1, 5]),
        ({"languages": "en", "tlds": "org"}, [1, 5]),
        ({"domains": ["a.org"]}, [0, 1]),
        ({"domains": ["aa.org", "c.com"]}, [3, 5]),
        ({"tlds": ["com"]}, [2, 3]),
        ({"mime": ["application/xhtml+xml"]}, [5]),
        ({"mime": ["text/html"], "tlds": ["org"]}, [0, 1]),
    ],
)
def test_records_that_are_wanted(select: dict[str, Any], found: list[int]) -> None:
    table = pa.Table.from_pylist(SOME, schema=INDEX_SCHEMA)
    mask = wanted(table, IndexSelect.model_validate(select)).to_pylist()
    assert [at for at, one in enumerate(mask) if one] == found


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(HOSTS), min_size=1, max_size=30),
    st.sampled_from([{"domains": [host]} for host in HOSTS] + [{"tlds": ["org"]}, {"tlds": "uk"}]),
)
def test_statistics_leave_out_no_wanted_record(hosts: list[str], stated: dict[str, Any]) -> None:
    select = IndexSelect.model_validate(stated)
    made = sorted((row(host, None) for host in hosts), key=lambda one: str(one["url_surtkey"]))
    file = pq.ParquetFile(io.BytesIO(index_file(made, row_group=3)))
    groups = possible(file.metadata, select)
    in_groups = sum(sum(wanted(file.read_row_group(group), select).to_pylist()) for group in groups)
    assert in_groups == sum(wanted(file.read(), select).to_pylist())


def test_row_groups_without_the_domain_are_not_read(access: Access) -> None:
    made = [row(f"host{number:04d}.org", "eng") for number in range(4_000)]
    body = index_file(made, row_group=400)
    with serving({"/part.parquet": body}) as server:
        select = IndexSelect(domains=("host2345.org",))
        seen, languages = Counter[str](), Counter[str]()
        found = list(wanted_of(IndexPart(CRAWL, pin_of(server), select, access), seen, languages))
        assert sum(len(table) for table in found) == 1 and seen["records"] == 4_000
        assert server.sent_bytes < 0.25 * len(body)


def test_only_columns_that_decide_are_read_where_nothing_is_wanted(access: Access) -> None:
    made = [row(f"host{number:05d}.org", "eng") for number in range(20_000)]
    body = index_file(made, row_group=2_000)
    with serving({"/part.parquet": body}) as server:
        select = IndexSelect(languages=("fra",))
        seen, languages = Counter[str](), Counter[str]()
        part = IndexPart(CRAWL, pin_of(server), select, access)
        assert list(wanted_of(part, seen, languages)) == []
        assert languages == {"eng": 20_000}
        assert server.sent_bytes < 0.1 * len(body)


def test_a_column_of_another_name_is_named(access: Access) -> None:
    table = pa.Table.from_pylist(SOME, schema=INDEX_SCHEMA)
    renamed = table.rename_columns(
        [name.replace("content_languages", "languages") for name in table.column_names]
    )
    strange = table.set_column(
        table.column_names.index("fetch_status"), "fetch_status", pa.array(["200"] * len(SOME))
    )
    select = IndexSelect(languages=("zho",))
    for other, why in (
        (renamed, "no column 'content_languages'"),
        (strange, "column 'fetch_status' of type string"),
    ):
        sink = io.BytesIO()
        pq.write_table(other, sink)
        with serving({"/part.parquet": sink.getvalue()}) as server:
            part = IndexPart(CRAWL, pin_of(server), select, access)
            with pytest.raises(StageError, match=f"{why}.*part.parquet"):
                list(wanted_of(part, Counter(), Counter()))


def test_strings_may_be_stored_as_bytes(access: Access) -> None:
    """As writers do that do not annotate their columns."""
    table = pa.Table.from_pylist(SOME, schema=INDEX_SCHEMA)
    kinds = [
        pa.field(f.name, pa.binary() if f.type == pa.string() else f.type) for f in table.schema
    ]
    sink = io.BytesIO()
    pq.write_table(table.cast(pa.schema(kinds)), sink)
    with serving({"/part.parquet": sink.getvalue()}) as server:
        select = IndexSelect(languages=("zho",), domains=("a.org",), mime=("text/html",))
        seen, languages = Counter[str](), Counter[str]()
        (found,) = wanted_of(IndexPart(CRAWL, pin_of(server), select, access), seen, languages)
    assert found["content_languages"].to_pylist() == ["zho", "eng,zho"]
    assert languages["zho"] == 3


def test_a_part_that_is_cut_short_is_refused(access: Access, small_dump: Dump) -> None:
    (name,) = [path for path in small_dump.files if "subset=warc/part-00000" in path]
    with serving({"/part.parquet": small_dump.files[name][:-100]}) as server:
        part = IndexPart(CRAWL, pin_of(server), IndexSelect(languages=("zho",)), access)
        with pytest.raises(StageError, match="cannot be read"):
            list(wanted_of(part, Counter(), Counter()))
