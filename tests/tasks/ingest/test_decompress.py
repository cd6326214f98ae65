"""Files are recognised by content: every compression, mixed files, wrong names; damage costs only
what it hits.
"""

import bz2
import gzip
import io
import json
import lzma
import mmap
import random
import threading
import tracemalloc
import zlib
from pathlib import Path

import pytest
import zstandard
from fastwarc.stream_io import Lz4Writer

from tasks.ingest.decompress import Chunk, Gap, chunks, compression
from tasks.ingest.lines import jsonl_documents
from tasks.ingest.members import GZIP
from tasks.ingest.raw_documents import RawDocument, Rejected
from tasks.ingest.record import Broken, Record
from tasks.ingest.records import RECORDS, records
from tasks.ingest.text_files import text_documents
from tests.tasks.ingest.archives import page, record, response


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def lz4(data: bytes) -> bytes:
    buffer = io.BytesIO()
    writer = Lz4Writer(buffer)
    writer.write(data)
    writer.close()
    return buffer.getvalue()


PACKERS = {
    "gzip": gzip.compress,
    "zstd": zstd,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lz4": lz4,
}
PAGES = [response(page(number), uri=f"http://a/{number}") for number in range(6)]
STORED = response(
    gzip.compress(page(7)), "Content-Type: text/html\r\nContent-Encoding: gzip", uri="http://a/7"
)  # one of its plain records contains a complete gzip member


def urls(path: Path, data: bytes) -> list[str]:
    path.write_bytes(data)
    found = list(records(chunks(path, RECORDS), 1 << 20))
    return [
        item.headers["warc-target-uri"][-1] if isinstance(item, Record) else item.reason
        for item in found
    ]


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("name", ["a.warc.gz", "a.warc", "a.zst", "a.bin"])
def test_every_compression_under_every_name(tmp_path: Path, kind: str, name: str) -> None:
    pack = PACKERS[kind]
    assert urls(tmp_path / name, b"".join(map(pack, PAGES))) == list("012345")
    assert compression(tmp_path / name) == kind
    assert urls(tmp_path / name, pack(b"".join(PAGES))) == list("012345")


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("damage", ["data", "cut"])
def test_a_damaged_member_costs_only_its_records(tmp_path: Path, kind: str, damage: str) -> None:
    packed = [bytearray(PACKERS[kind](one)) for one in PAGES]
    middle = len(packed[2]) // 2
    if damage == "data":
        packed[2][middle : middle + 20] = bytes(
            byte ^ 0x5A for byte in packed[2][middle : middle + 20]
        )
    else:
        del packed[2][middle:]
    assert urls(tmp_path / "a", b"".join(packed)) == ["0", "1", kind, "3", "4", "5"]
    assert urls(tmp_path / "a", b"".join(packed[3:] + packed[2:3])) == ["3", "4", "5", kind]


@pytest.mark.parametrize("kind", PACKERS)
def test_memory_and_chunk_sizes_are_bounded(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(PACKERS[kind](bytes(32 << 20)))
    for thread in threading.enumerate():
        if thread.name == "libraries":  # do not count what another test's engine imports
            thread.join()
    tracemalloc.start()
    sizes = [len(chunk.data) for chunk in chunks(path) if isinstance(chunk, Chunk)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(sizes) == 32 << 20 and max(sizes) <= 1 << 20 and peak < 12 << 20


@pytest.mark.parametrize("name", ["a.warc.gz", "a.warc.zst", "a.warc"])
def test_a_plain_archive_is_plain_whatever_its_name(tmp_path: Path, name: str) -> None:
    stream = b"".join([*PAGES[:3], STORED, *PAGES[3:]])
    assert urls(tmp_path / name, stream) == list("0127345")
    assert compression(tmp_path / name) is None
    assert urls(tmp_path / name, b"junk at the start\r\n" + stream)[1:] == list("0127345")
    assert urls(tmp_path / name, stream + b"junk at the end") == [*"012734", "length"]


@pytest.mark.parametrize("name", ["a.warc.gz", "a.warc"])
def test_members_and_plain_records_in_one_file(tmp_path: Path, name: str) -> None:
    packed = [gzip.compress(one) for one in PAGES]
    path = tmp_path / name
    assert urls(path, b"".join([*packed[:2], PAGES[2], STORED, *PAGES[3:]])) == list("0127345")
    assert urls(path, b"".join([*packed[:2], PAGES[2], STORED, *packed[3:]])) == list("0127345")
    assert urls(
        path, b"".join([PAGES[0], STORED, *packed[1:3], PAGES[3], packed[4], PAGES[5]])
    ) == list("0712345")
    assert urls(
        path, b"".join([*packed[:2], b"\r\n\r\n", packed[2], bytes(99), b"\r\n", PAGES[3]])
    ) == list("0123")
    broken = packed[1][:-30]
    assert urls(path, b"".join([packed[0], broken, *PAGES[2:4], STORED, packed[5]])) == [
        "0",
        "gzip",
        *"2375",
    ]


def test_places_in_mixed_files_are_unique(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    data = [gzip.compress(PAGES[0] + PAGES[1]), PAGES[2], PAGES[3], gzip.compress(PAGES[4])]
    path.write_bytes(b"".join(data))
    found = [item for item in records(chunks(path, RECORDS), 1 << 20) if isinstance(item, Record)]
    begin, size = len(data[0]), len(PAGES[2])
    assert [(item.offset, item.inner) for item in found] == [
        (0, 0), (0, len(PAGES[0])), (begin, 0), (begin, size), (begin + size + len(PAGES[3]), 0),
    ]  # fmt: skip


def test_warc_zst_with_a_dictionary_and_skippable_frames(tmp_path: Path) -> None:
    dictionary = zstandard.train_dictionary(
        2048, [page(number) + bytes([number % 251]) * 9 for number in range(300)]
    )
    pack = zstandard.ZstdCompressor(dict_data=dictionary)
    raw = dictionary.as_bytes()
    for stored in (raw, zstandard.ZstdCompressor().compress(raw)):
        head = b"\x5d\x2a\x4d\x18" + len(stored).to_bytes(4, "little") + stored
        note = b"\x50\x2a\x4d\x18\x03\0\0\0abc"
        data = head + b"".join(pack.compress(one) + note for one in PAGES)
        assert urls(tmp_path / "a.warc.zst", data) == list("012345")


def test_concatenated_compressions(tmp_path: Path) -> None:
    data = b"".join(pack(one) for pack, one in zip(PACKERS.values(), PAGES, strict=False))
    assert urls(tmp_path / "a", data) == list("01234")


@pytest.mark.parametrize("kind", PACKERS)
def test_lines_of_every_compression(tmp_path: Path, kind: str) -> None:
    rows = [
        json.dumps({"text": f"Line {number}, größer."}).encode() + b"\n" for number in range(40)
    ]
    path = tmp_path / "a.jsonl"
    for data in (PACKERS[kind](b"".join(rows)), b"".join(PACKERS[kind](row) for row in rows),
                 PACKERS[kind](b"".join(rows[:20])) + b"".join(rows[20:])):  # fmt: skip
        path.write_bytes(data)
        found = list(
            jsonl_documents(path, lambda offset, inner: True, fields=None, max_page_bytes=1 << 20)
        )
        assert [item.text for item in found if isinstance(item, RawDocument)] == [
            json.loads(row)["text"] for row in rows
        ]
        assert not any(isinstance(item, Rejected) for item in found)
    path.write_bytes(PACKERS[kind](b"Ein Satz.\n" * 9))
    texts = list(
        text_documents(path, lambda offset, inner: True, split="file", max_page_bytes=1 << 20)
    )
    assert [item.text.count("Satz") for item in texts if isinstance(item, RawDocument)] == [9]


@pytest.mark.parametrize("kind", PACKERS)
def test_a_large_truncated_member_yields_its_beginning(tmp_path: Path, kind: str) -> None:
    data = random.Random(1).randbytes(
        (9 if kind == "lz4" else 2) << 20
    )  # the writer's blocks are 4 MB
    path = tmp_path / "a"
    packed = PACKERS[kind](data)
    path.write_bytes(packed[: len(packed) // 2])
    found = list(chunks(path))
    out = b"".join(chunk.data for chunk in found if isinstance(chunk, Chunk))
    assert isinstance(found[-1], Gap) and found[-1].lost_bytes == len(packed) // 2
    assert data.startswith(out) and len(out) > 1 << 18


def test_a_broken_first_member_under_a_plain_name_costs_only_itself(tmp_path: Path) -> None:
    packed = [bytearray(gzip.compress(one)) for one in PAGES]
    packed[0][:2] = b"\0\0"
    assert urls(tmp_path / "a.warc", b"".join(packed))[1:] == list("12345")
    assert urls(tmp_path / "a.warc.gz", b"".join(packed)) == ["gzip", *"12345"]


def test_bytes_of_noise_add_up(tmp_path: Path) -> None:
    noise = random.Random(3).randbytes(300_000)
    path = tmp_path / "a.warc.gz"
    path.write_bytes(noise)
    assert (
        b"".join(chunk.data for chunk in chunks(path, RECORDS) if isinstance(chunk, Chunk)) == noise
    )
    path.write_bytes(gzip.compress(record("warcinfo", b"x")) + noise)
    gaps = [chunk for chunk in chunks(path, RECORDS) if isinstance(chunk, Gap)]
    assert [gap.lost_bytes for gap in gaps] == [len(noise)]
    assert [type(item) for item in records(chunks(path, RECORDS), 1 << 20)] == [Record, Broken]


@pytest.mark.parametrize("name", ["a", "a.gz", "a.txt", "a.zst"])
@pytest.mark.parametrize("second", [*PACKERS])
@pytest.mark.parametrize("count", [1, 200])
def test_members_of_every_kind_may_follow_plain_bytes(
    tmp_path: Path, name: str, second: str, count: int
) -> None:
    rows = [json.dumps({"text": f"row {at}"}).encode() + b"\n" for at in range(2 * count)]
    path = tmp_path / name
    path.write_bytes(b"".join(rows[:count]) + PACKERS[second](b"".join(rows[count:])))
    found = list(jsonl_documents(path, lambda *_: True, fields=None, max_page_bytes=1 << 20))
    assert [item.text for item in found if isinstance(item, RawDocument)] == [
        f"row {at}" for at in range(2 * count)
    ]
    assert urls(path, b"".join(PAGES[:3]) + PACKERS[second](b"".join(PAGES[3:]))) == [*"012345"]
    assert urls(path, b"".join([*PAGES[:2], STORED, PAGES[2]])) == [*"0172"]


@pytest.mark.parametrize("size", [300, 3_000, 60_000, 3 << 20])
@pytest.mark.parametrize("level", [0, 6])
@pytest.mark.parametrize("damage", ["checksum", "length", "cut"])
def test_a_damaged_gzip_member_yields_what_zlib_yields(
    tmp_path: Path, size: int, level: int, damage: str
) -> None:
    data = random.Random(size).randbytes(size)
    packed = bytearray(gzip.compress(data, level, mtime=0))
    if damage == "cut":
        del packed[-9:]
    else:
        packed[-8 if damage == "checksum" else -1] ^= 1
    path = tmp_path / "a.gz"
    path.write_bytes(packed)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        ours, by_zlib = (b"".join(read(view, 0)) for read in (GZIP.read, GZIP.probe or GZIP.read))
    assert ours == by_zlib and data.startswith(ours)


def test_a_member_with_a_header_checksum(tmp_path: Path) -> None:
    whole = gzip.compress(PAGES[0], mtime=0)
    head = whole[:3] + b"\x02" + whole[4:10]
    sound = zlib.crc32(head) & 0xFFFF
    packed = [head + value.to_bytes(2, "little") + whole[10:] for value in (sound, sound ^ 1)]
    assert urls(tmp_path / "a.warc.gz", packed[0] + whole) == ["0", "0"]
    assert urls(tmp_path / "a.warc.gz", packed[1] + whole) == ["gzip", "0"]
