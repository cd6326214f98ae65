"""JSONL and text files: fields, splits, damaged lines and members."""

import gzip
import itertools
import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ingest.decompress import compression
from tasks.ingest.lines import ByteRange, Line, jsonl_documents, lines
from tasks.ingest.raw_documents import RawDocument, Rejected
from tasks.ingest.stage import JsonlFields
from tasks.ingest.text_files import text_documents

LIMIT = 1 << 12


def everything(offset: int, inner: int) -> bool:
    return True


def jsonl(
    path: Path, data: bytes, fields: JsonlFields | None = None
) -> list[RawDocument | Rejected]:
    path.write_bytes(data)
    return list(jsonl_documents(path, everything, fields=fields, max_page_bytes=LIMIT))


def shown(found: list[RawDocument | Rejected]) -> list[str]:
    return [item.text if isinstance(item, RawDocument) else item.reason for item in found]


def test_fields_and_bad_lines(tmp_path: Path) -> None:
    rows = [
        json.dumps(
            {"text": "eins", "url": "http://a", "date": "2024-01-02", "source": "corpus"}
        ).encode(),
        json.dumps({"source": "frage", "target": "antwort", "category": "c"}).encode(),
        b"",
        b"{broken",
        b"[1]",
        b'{"text": 3}',
        b'{"nothing": "x"}',
        b'{"text": "\xff"}',
        b"[" * 3_000,
        b'{"text": "' + b"x" * LIMIT + b'"}',
        b'{"text": "last"}\r',
    ]
    found = jsonl(tmp_path / "a.jsonl", b"\n".join(rows))
    assert shown(found) == [
        "eins",
        "antwort",
        "json",
        "json",
        "field",
        "field",
        "json",
        "json",
        "page_too_large",
        "last",
    ]
    first, second = found[:2]
    assert isinstance(first, RawDocument) and (first.prompt, first.url, first.date) == (
        "",
        "http://a",
        "2024-01-02",
    )
    assert (
        isinstance(second, RawDocument)
        and second.prompt == "frage"
        and second.inner == len(rows[0]) + 1
    )


def test_a_run_of_garbage_is_one_failure(tmp_path: Path) -> None:
    garbage = random.Random(5).randbytes(60_000).replace(b"{", b"}")
    good = b'{"text": "a"}\n'
    found = jsonl(
        tmp_path / "a.jsonl",
        good + garbage + b"\n" + good + b"plain\n\nwords\n[1]\n" + good + b"3\n",
        None,
    )
    assert [text for text in shown(found) if text != "page_too_large"] == [
        "a",
        "json",
        "a",
        "json",
        "a",
        "json",
    ]
    assert garbage.count(b"\n") > 100
    assert sum(
        item.payload_bytes for item in found if isinstance(item, Rejected)
    ) >= 60_000 - garbage.count(b"\n")


def test_several_text_fields(tmp_path: Path) -> None:
    data = b'{"title": "T", "body": "B", "q": "Q"}\n{"title": null, "body": "B"}\n'
    found = jsonl(tmp_path / "a.jsonl", data, JsonlFields(text=("title", "body"), prompt="q"))
    assert shown(found) == ["T\n\nB", "B"]
    assert [item.prompt for item in found if isinstance(item, RawDocument)] == ["Q", ""]


def test_broken_member_of_lines(tmp_path: Path) -> None:
    packed = [
        bytearray(gzip.compress(b'{"text": "%d"}\n' % number, mtime=0)) for number in range(4)
    ]
    packed[1][-6] ^= 255
    found = jsonl(tmp_path / "a.jsonl.gz", b"".join(packed))
    assert [text for text in shown(found) if text != "1"] == ["0", "gzip", "2", "3"]


@pytest.mark.parametrize(
    "split, expected",
    [("file", ["a\nb\n\n\nc"]), ("blank-line", ["a\nb", "c"]), ("line", ["a", "b", "c"])],
)
def test_splits(tmp_path: Path, split: str, expected: list[str]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\r\nb\r\n\r\n \r\nc\r\n")
    found = list(text_documents(path, everything, split=split, max_page_bytes=LIMIT))  # type: ignore[arg-type]
    assert [
        item.text.replace(" ", "").strip() for item in found if isinstance(item, RawDocument)
    ] == expected


def test_too_large_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"word\n" * LIMIT)
    assert shown(list(text_documents(path, everything, split="file", max_page_bytes=LIMIT))) == [
        "page_too_large"
    ]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)),
    st.booleans(),
    st.integers(1, 40),
)
def test_lines_are_those_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, expected: list[bytes], packed: bool, block: int
) -> None:
    data = b"".join(line + b"\n" for line in expected)
    path = tmp_path_factory.mktemp("lines") / ("a.gz" if packed else "a")
    blocks = [data[at : at + block] for at in range(0, len(data), block)]
    path.write_bytes(b"".join(gzip.compress(part) for part in blocks) if packed else data)
    if not packed and compression(path):
        return  # bytes that happen to begin like a compressed file
    found = [item for item in lines(path, LIMIT) if isinstance(item, Line)]
    assert [line.data for line in found] == [line.removesuffix(b"\r") for line in expected]
    assert len({line[:2] for line in found}) == len(found)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"")), max_size=12),
    st.booleans(),
    st.lists(st.integers(1, 90), max_size=4),
)
def test_byte_ranges_hold_every_line_once(
    tmp_path_factory: pytest.TempPathFactory, given_lines: list[bytes], ended: bool, cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("stretches") / "a"
    data = b"\n".join(given_lines) + b"\n" * ended
    path.write_bytes(b"." + data)  # so that it has no magic number
    edges = sorted({0, *(cut for cut in cuts if cut < len(data) + 1), len(data) + 1})
    whole = list(lines(path, LIMIT))
    for piece_bytes in (1 << 20, 4):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tasks.ingest.decompress.CHUNK_BYTES", piece_bytes)
            found = [
                list(lines(path, LIMIT, ByteRange(*edge))) for edge in itertools.pairwise(edges)
            ]
        assert list(itertools.chain.from_iterable(found)) == whole
