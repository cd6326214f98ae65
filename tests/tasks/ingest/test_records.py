"""Framing: whatever happens to one record, the others are read."""

import gzip
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ingest.decompress import Gap, chunks
from tasks.ingest.record import Broken, Record
from tasks.ingest.records import RECORDS, records
from tests.tasks.ingest.archives import members, page, record, response

LIMIT = 1 << 20
PAGES = [response(page(number), uri=f"http://a/{number}") for number in range(5)]


def read(path: Path, data: bytes, limit: int = LIMIT) -> list[Record | Broken]:
    path.write_bytes(data)
    return list(records(chunks(path, RECORDS), limit))


def urls(found: list[Record | Broken]) -> list[str]:
    return [
        item.headers["warc-target-uri"][-1] if isinstance(item, Record) else item.reason
        for item in found
    ]


def test_one_member_per_record_gives_member_offsets(tmp_path: Path) -> None:
    found = read(tmp_path / "a.warc.gz", members(PAGES))
    assert urls(found) == list("01234")
    offsets = [item.offset for item in found if isinstance(item, Record)]
    sizes = [len(gzip.compress(one, mtime=0)) for one in PAGES]
    assert offsets == [sum(sizes[:number]) for number in range(5)]


@pytest.mark.parametrize("name, pack", [("a.warc", bytes), ("a.warc.gz", gzip.compress)])
def test_whole_files_give_places_inside(tmp_path: Path, name: str, pack: object) -> None:
    found = read(tmp_path / name, pack(b"".join(PAGES)))  # type: ignore[operator]
    assert urls(found) == list("01234")
    assert [item.inner for item in found if isinstance(item, Record)][:2] == [0, len(PAGES[0])]


def test_records_split_over_members(tmp_path: Path) -> None:
    whole = b"".join(PAGES)
    blocks = [whole[at : at + 100] for at in range(0, len(whole), 100)]
    assert urls(read(tmp_path / "a.warc.gz", members(blocks))) == list("01234")


@pytest.mark.parametrize("damage", ["header", "data", "checksum", "cut", "garbage"])
def test_broken_member_costs_its_record(tmp_path: Path, damage: str) -> None:
    packed = [bytearray(gzip.compress(one, mtime=0)) for one in PAGES]
    match damage:
        case "header":
            packed[2][0] = 0
        case "data":
            packed[2][40:60] = b"\xff" * 20
        case "checksum":
            packed[2][-8] ^= 1
        case "cut":
            del packed[2][len(packed[2]) // 2 :]
        case "garbage":
            packed[2][:] = b"not a member"
    lost = len(packed[2])
    found = read(tmp_path / "a.warc.gz", b"".join(packed))
    assert urls(found) == ["0", "1", "gzip", "3", "4"]
    assert [item.lost_bytes for item in found if isinstance(item, Broken)] == [lost]


def test_cut_at_the_end_and_padding(tmp_path: Path) -> None:
    whole = members(PAGES)
    assert urls(read(tmp_path / "a.warc.gz", whole[:-9])) == ["0", "1", "2", "3", "gzip"]
    assert urls(read(tmp_path / "b.warc.gz", whole + bytes(512))) == list("01234")
    assert read(tmp_path / "c.warc.gz", b"") == []


@pytest.mark.parametrize("length", [-5, 3, 700, 5_000, 10**15])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, None])
def test_wrong_length_costs_its_record(tmp_path: Path, length: int, pack: object) -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + page(2)
    stream = [*PAGES[:2], record("response", body, length=length), *PAGES[3:]]
    data = members(stream) if pack is None else pack(b"".join(stream))  # type: ignore[operator]
    found = urls(read(tmp_path / ("a.warc" if pack is bytes else "a.warc.gz"), data))
    assert found[:2] == ["0", "1"] and found[-2:] == ["3", "4"] and len(found) == 5
    assert found[2] in ("header", "length", "truncated", "record_too_large")


@pytest.mark.parametrize(
    "old, new, reason",
    [
        (b"WARC/1.0", b"JUNK/1.0", "not_warc"),
        (b"Content-Length", b"Content-Lenght", "header"),
        (b"\r\n\r\n", b"", "header"),
    ],
)
def test_bad_header_costs_its_record(tmp_path: Path, old: bytes, new: bytes, reason: str) -> None:
    stream = [*PAGES[:2], PAGES[2].replace(old, new, 1), *PAGES[3:]]
    assert urls(read(tmp_path / "a.warc.gz", members(stream))) == ["0", "1", reason, "3", "4"]
    assert urls(read(tmp_path / "a.warc", b"".join(stream)))[-2:] == ["3", "4"]


def test_giant_record_is_skipped_in_bounded_memory(tmp_path: Path) -> None:
    giant = response(b"x" * (4 * LIMIT), uri="http://a/2")
    found = read(tmp_path / "a.warc.gz", members([*PAGES[:2], giant, *PAGES[3:]]))
    assert urls(found) == ["0", "1", "record_too_large", "3", "4"]
    assert isinstance(found[2], Broken) and found[2].too_large and found[2].lost_bytes >= 4 * LIMIT


def test_line_ends_and_old_versions(tmp_path: Path) -> None:
    old = b"WARC/0.18\nWARC-Type: response\nWARC-Target-URI: http://a/7\n folded\nContent-Length: 3\n\nabc\n\n"  # noqa: E501
    found = read(tmp_path / "a.warc", old + PAGES[0])
    assert [item.headers["warc-target-uri"] for item in found if isinstance(item, Record)] == [
        "http://a/7 folded",
        "http://a/0",
    ]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damage_to_one_member_spares_the_others(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    packed = [bytearray(gzip.compress(one, mtime=0)) for one in PAGES]
    victim = data.draw(st.integers(0, 4))
    start = data.draw(st.integers(0, len(packed[victim]) - 1))
    packed[victim][start : data.draw(st.integers(start, len(packed[victim])))] = data.draw(
        st.binary(max_size=30)
    )
    path = tmp_path_factory.mktemp("damage") / "a.warc.gz"
    path.write_bytes(b"".join(packed))
    found = urls(list(records(chunks(path, RECORDS), LIMIT)))
    assert set(found) >= {str(number) for number in range(5) if number != victim}
    assert found == sorted(found, key=lambda url: url if url.isdigit() else str(victim))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(st.sampled_from(PAGES), st.binary(max_size=200), st.just(b"WARC/1.0\r\nWARC-")),
        max_size=8,
    ),
    st.booleans(),
)
def test_nothing_raises_and_bytes_add_up(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[bytes], packed: bool
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.warc"
    path.write_bytes(members(blocks) if packed else b"".join(blocks))
    found = list(records(chunks(path, RECORDS), LIMIT))
    assert sum(isinstance(item, Record) for item in found) <= len(blocks)
    assert packed <= (not any(isinstance(chunk, Gap) for chunk in chunks(path, RECORDS)))
    places = [(item.offset, item.inner) for item in found if isinstance(item, Record)]
    assert places == sorted(set(places))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 1 << 22), max_size=6), st.booleans(), st.booleans())
def test_wherever_members_begin_records_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], blanks: bool, at_records: bool
) -> None:
    large = response(bytes(range(256)) * 6_000, uri="http://a/9")  # more than one chunk
    stream = [PAGES[0], large, *PAGES[1:]]
    whole = b"".join(stream)
    edges = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    if at_records:
        edges = [0, *itertools.accumulate(map(len, stream))]
    if blanks:
        edges = sorted({*edges, *(edge - 3 for edge in edges if edge > 3)})
    blocks = [whole[start:stop] for start, stop in itertools.pairwise(edges)]
    path = tmp_path_factory.mktemp("edges") / "a.warc.gz"
    path.write_bytes(b"".join(gzip.compress(block, 1, mtime=0) for block in blocks))
    found = list(records(chunks(path, RECORDS), 2 << 20))
    assert urls(found) == list("091234")
    assert [item.head + item.body for item in found if isinstance(item, Record)] == [
        one.removesuffix(b"\r\n\r\n") for one in stream
    ]
