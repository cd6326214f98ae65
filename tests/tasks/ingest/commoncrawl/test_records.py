"""Records by their byte ranges: the documents of whole archives, and nothing else."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.remote.access import Access
from infra.stage import Pin
from tasks.ingest.commoncrawl.listing import archive
from tasks.ingest.commoncrawl.parts import grouped
from tasks.ingest.commoncrawl.records import ArchiveRecords, _outcome, documents_of
from tasks.ingest.raw_documents import RawDocument, Rejected
from tests.loopback.commoncrawl import CRAWL, Dump
from tests.loopback.http import FileServer, a_third, serving

LIMIT = 1 << 20


def places(dump: Dump, server: FileServer, rows: list[dict[str, Any]]) -> list[ArchiveRecords]:
    ordered = sorted(rows, key=lambda row: (row["warc_filename"], row["warc_record_offset"]))
    found = []
    for name, group in itertools.groupby(ordered, key=lambda row: str(row["warc_filename"])):
        spans = [(row["warc_record_offset"], row["warc_record_length"]) for row in group]
        offsets, lengths = np.array(spans, np.int64).T
        found.append(ArchiveRecords(archive(server.url("/"), name), offsets, lengths))
    return found


def read(
    given: list[ArchiveRecords], access: Access, limit: int = LIMIT
) -> list[tuple[Pin, RawDocument | Rejected]]:
    return list(documents_of(given, lambda *_: True, access, 4, limit))


def test_neighbours_are_one_request(small_dump: Dump, access: Access) -> None:
    with serving(small_dump.files) as server:
        found = read(places(small_dump, server, small_dump.rows), access)
        assert len(found) == len(small_dump.rows)
        assert len(server.seen) == len(small_dump.paths("warc"))
    urls = {one.url for _, one in found if isinstance(one, RawDocument)}
    assert urls == {
        row["url"]
        for row in small_dump.rows
        if row["content_mime_type"] == "text/html" and row["fetch_status"] == 200
    }


def test_a_third_of_requests_fail(
    small_dump: Dump, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.ingest.commoncrawl.records.GAP_BYTES", 0)
    some = small_dump.rows[::2]
    with serving(small_dump.files) as clean, serving(small_dump.files, faults=a_third) as faulty:
        expected = read(places(small_dump, clean, some), access)
        assert [one for _, one in read(places(small_dump, faulty, some), access)] == [
            one for _, one in expected
        ]
        assert sum(seen.fault is not None for seen in faulty.seen) > len(some) // 4


@pytest.mark.parametrize("start, stop", [(1, 0), (0, -1), (0, 9), (-9, 0), (0, "next")])
def test_what_is_not_one_whole_record_is_no_document(
    small_dump: Dump, access: Access, start: int, stop: int | str
) -> None:
    """An index of another version of the archive points at parts of records, or at several."""
    row = small_dump.rows[5]
    length = row["warc_record_length"]
    wrong = row | {
        "warc_record_offset": row["warc_record_offset"] + start,
        "warc_record_length": 2 * length if isinstance(stop, str) else length + stop - start,
    }
    with serving(small_dump.files) as server:
        ((_, found),) = read(places(small_dump, server, [wrong]), access)
    assert isinstance(found, Rejected) and (found.side, found.reason) == ("failed", "index")


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_bytes_raise_nothing(small_dump: Dump, data: st.DataObject) -> None:
    row = data.draw(st.sampled_from(small_dump.rows))
    start, length = row["warc_record_offset"], row["warc_record_length"]
    member = bytearray(small_dump.files[f"/{row['warc_filename']}"][start : start + length])
    for at in data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=4)):
        member[at] = data.draw(st.integers(0, 255))
    cut = bytes(member[: data.draw(st.integers(1, length))])
    found = _outcome(cut, start, lambda *_: True, LIMIT, "puna", CRAWL)
    assert isinstance(found, (RawDocument, Rejected))


def test_records_of_a_missing_archive_are_gone(small_dump: Dump, access: Access) -> None:
    missing = small_dump.paths("warc")[1]
    there = {path: body for path, body in small_dump.files.items() if path != f"/{missing}"}
    with serving(there) as server:
        found = read(places(small_dump, server, small_dump.rows), access)
    gone = [pin.name for pin, one in found if isinstance(one, Rejected) and one.reason == "gone"]
    of_archive = [row for row in small_dump.rows if row["warc_filename"] == missing]
    assert gone == [missing] * len(of_archive)
    assert sum(isinstance(one, RawDocument) for _, one in found) > 20


def test_a_record_too_large_is_not_fetched(small_dump: Dump, access: Access) -> None:
    row = small_dump.rows[3] | {"warc_record_length": 10 * LIMIT}
    with serving(small_dump.files) as server:
        ((_, found),) = read(places(small_dump, server, [row]), access)
        assert server.seen == []
    assert isinstance(found, Rejected) and found.reason == "record_too_large"


def test_parts_have_each_place_once_in_order() -> None:
    import pyarrow as pa

    rng = np.random.default_rng(5)
    count = 5_000
    names = [f"crawl-data/X/{n}.warc.gz" for n in rng.integers(0, 9, count)]
    offsets = rng.integers(0, 1 << 16, count)
    table = pa.table(
        {
            "warc_filename": pa.array(names).dictionary_encode(),
            "warc_record_offset": offsets,
            "warc_record_length": np.full(count, 40_000),
        }
    )
    parts = list(grouped(pa.concat_tables([table, table.slice(0, 100)]), "https://h"))
    found = [
        (one.pin.name, offset) for part in parts for one in part for offset in one.offsets.tolist()
    ]
    assert found == sorted(set(zip(names, offsets.tolist(), strict=True)))
    sizes = [sum(one.bytes for one in part) for part in parts]
    assert len(parts) > 20 and max(sizes) < 1.1 * np.mean(sizes)
