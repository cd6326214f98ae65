"""Files of another kind than the source declares are refused by name and counted once; damaged ones
are read.
"""

import bz2
import gzip
import io
import json
import random
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from tasks.ingest.file_kinds import mismatch, refusal
from tasks.ingest.stage import STAGE, IngestParameters
from tests.stage_harness import run_stage
from tests.tasks.ingest.archives import members, page, record, response

ROWS = b"".join(json.dumps({"text": f"row {at}"}).encode() + b"\n" for at in range(50))
PROSE = "Die Mühle stand am Fluss; 水车在河边。\n".encode() * 40
WARC = [record("warcinfo", b"x"), *(response(page(at)) for at in range(3))]
WET = [record("warcinfo", b"x"), *(record("conversion", b"Some text.") for _ in range(3))]
WAT = [
    record("warcinfo", b"x"),
    record("metadata", b'{"Envelope": {}}', content_type="application/json"),
]
ARC = b"filedesc://a.arc 0.0.0.0 20080430204825 text/plain 76\n1 0 InternetArchive\nURL IP-address Archive-date\n\n"  # noqa: E501

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 12345\n" % (b"4d" * 32)


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": ["x"] * 9}), buffer)
    return buffer.getvalue()


def arrow() -> bytes:
    buffer = io.BytesIO()
    feather.write_feather(pa.table({"text": ["x"] * 9}), buffer)
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.jsonl", ROWS)
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        info = tarfile.TarInfo("a.jsonl")
        info.size = len(ROWS)
        file.addfile(info, io.BytesIO(ROWS))
    return buffer.getvalue()


OTHERS = {
    "a Parquet file": parquet(), "an Arrow file": arrow(), "a ZIP archive": zipped(),
    "a tar archive in a compressed": tarred(),
    "gzip within another": gzip.compress(gzip.compress(ROWS)),
    "a PDF document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(99),
    "a Parquet file in a compressed": bz2.compress(parquet()),
    "nothing but zero bytes": bytes(4096),
    "a PNG image": b"\x89PNG\r\n\x1a\n" + bytes(50),
    "an SQLite database": b"SQLite format 3\0" + bytes(50),
    "an ARC file": gzip.compress(ARC),
    "a pointer of Git LFS": POINTER,
}  # fmt: skip


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("format", ["warc", "wet", "jsonl", "text"])
def test_other_kinds_are_refused_by_name_and_counted_once(
    tmp_path: Path, what: str, format: str
) -> None:
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes(OTHERS[what])
    refused = refusal(path, format)  # type: ignore[arg-type]
    assert (
        refused and refused.startswith(f"{path} is {what}") and f"format is {format}; " in refused
    )
    given = IngestParameters.model_validate({"format": format, "paths": [str(path)]})
    artifact = run_stage(STAGE, given, name="web", tmp_path=tmp_path)
    ledger = artifact.ledger
    assert ledger.documents("read") == ledger.documents("failed") == 1
    assert artifact.statistics["lost_bytes"] == len(OTHERS[what])


@pytest.mark.parametrize(
    "data, format, words",
    [
        (members(WARC), "text", "a WARC file, but format is text; set format: warc"),
        (b"".join(WARC), "jsonl", "a WARC file, but format is jsonl; set format: warc"),
        (members(WET), "text", "a WET file, but format is text; set format: wet"),
        (members(WET), "warc", "a WET file, but format is warc; set format: wet"),
        (members(WARC), "wet", "a WARC file of pages, but format is wet; set format: warc"),
        (members(WAT), "warc", "a WAT file"),
        (
            gzip.compress(b"crawl-data/a.warc.gz\ncrawl-data/b.warc.gz\n"),
            "warc",
            "a list of paths to archives",
        ),
        (ROWS, "warc", "a JSONL file, but format is warc; set format: jsonl"),
        (page(1), "warc", "an HTML page"),
        (page(1), "jsonl", "an HTML page"),
        (PROSE, "warc", "text without a WARC record"),
        (PROSE, "jsonl", "text without a JSON object"),
        (b"id,text\n1,hello\n", "jsonl", "text without a JSON object"),
        (json.dumps([{"text": "x"}] * 9).encode(), "jsonl", "one JSON array"),
        (json.dumps([{"text": "x"}] * 9, indent=1).encode(), "jsonl", "one JSON array"),
        (json.dumps([{"text": "x" * 99}] * 999).encode(), "jsonl", "one JSON array"),
        (json.dumps({"text": "x"}, indent=1).encode(), "jsonl", "JSON over several lines"),
        (ROWS.decode().encode("utf-16"), "jsonl", "text in UTF-16"),
        (random.Random(1).randbytes(5000), "jsonl", "not text"),
        (random.Random(1).randbytes(5000), "text", "not text"),
    ],
)
def test_formats_that_were_mixed_up(tmp_path: Path, data: bytes, format: str, words: str) -> None:
    path = tmp_path / "data"
    path.write_bytes(data)
    assert words in (refusal(path, format) or "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data, format",
    [
        (b"", "jsonl"),
        (b"", "text"),
        (b"", "warc"),
        (b"\n\n", "jsonl"),
        (ROWS, "jsonl"),
        (gzip.compress(ROWS), "jsonl"),
        (b"{broken\n" * 9, "jsonl"),
        (b"[1]\nx\n" + ROWS, "jsonl"),
        (b'\xef\xbb\xbf{"text": "x"}', "jsonl"),
        (b'{"text": "' + b"x" * 200_000 + b'"}\n', "jsonl"),
        (b"x" * 200_000 + b"\n" + ROWS, "jsonl"),
        (gzip.compress(ROWS)[:-9], "jsonl"),
        (PROSE, "text"),
        (PROSE.decode().encode("utf-16"), "text"),
        (PROSE.decode().encode("utf-16-le"), "text"),
        ("水车在河边。".encode("utf-16-be") * 40, "text"),
        ("水车在河边。".encode("gb18030") * 40, "text"),
        (b"ORC raiders came", "text"),
        (b"PAR1 and 2", "text"),
        (b"GIF89a was a format", "text"),
        (ROWS, "text"),
        (page(1), "text"),
        (b"short \x01\x02\x03", "text"),
        (b"WARC/1.0 is a format of archives.\n", "text"),
        (members(WARC), "warc"),
        (b"".join(WARC), "warc"),
        (b"junk\r\n" + b"".join(WARC), "warc"),
        (b"\0" * 99 + b"".join(WARC), "warc"),
        (members(WARC)[:40], "warc"),
        (b"\0\0" + members(WARC)[2:], "warc"),
        (members(WET), "wet"),
        (members(WARC[:1]), "warc"),
        (members(WARC[:1]), "wet"),
        (members([*WARC[:2], WET[1]]), "warc"),
        (random.Random(1).randbytes(200_000), "warc"),
    ],
)
def test_right_kinds_are_left_to_their_readers(tmp_path: Path, data: bytes, format: str) -> None:
    path = tmp_path / "data"
    path.write_bytes(data)
    assert mismatch(path, format) is None  # type: ignore[arg-type]


@pytest.mark.real
def test_no_real_file_is_refused_for_what_it_is(real_data: Path) -> None:
    text = [
        *(real_data / "prose_en").rglob("*.txt"),
        *(real_data / "prose_zh").rglob("*.*"),
        *(real_data / "prose_multi").rglob("*.*"),
        *(real_data / "domain").rglob("*.tex"),
    ]
    archives = [
        path
        for path in (real_data / "warc").rglob("*.warc*")
        if not path.name.endswith(".paths.gz")
    ]
    texts = [
        path for path in text if path.is_file() and path.suffix in (".txt", ".md", ".tex", ".xml")
    ]
    assert len(texts) > 20 and len(archives) > 40
    assert [why for path in texts if (why := refusal(path, "text"))] == []
    wet = [path for path in archives if ".wet" in path.name]
    rest = [path for path in archives if ".wet" not in path.name and ".wat" not in path.name]
    assert (
        [why for path in rest if (why := refusal(path, "warc"))]
        == []
        == [refusal(path, "wet") for path in wet if refusal(path, "wet")]
    )


ONE = b'{"text": "one"}'
GBK = b"".join(
    json.dumps({"text": f"第{at}章"}, ensure_ascii=False).encode("gbk") + b"\n" for at in range(9)
)


@pytest.mark.parametrize(
    "data, words",
    [
        (ROWS.decode().encode("utf-16-le"), "iconv -f UTF-16LE -t UTF-8"),
        (ROWS.decode().encode("utf-16-be"), "iconv -f UTF-16BE -t UTF-8"),
        (ROWS.decode().encode("utf-32"), "iconv -f UTF-32 -t UTF-8"),
        (ROWS.decode().encode("utf-32-be"), "iconv -f UTF-32BE -t UTF-8"),
        (GBK, "JSON in an encoding other than UTF-8"),
        (ONE * 9, "JSON with several objects on one line"),
        (ONE * 9000, "JSON with several objects on one line"),  # longer than the bytes examined
        (b" ".join([ONE] * 9), "JSON with several objects on one line"),
        (b"\r".join([ONE] * 9), "JSON with several objects on one line"),
        (b",\n".join([ONE] * 9), "JSON with a comma after each object"),
        (b", ".join([ONE] * 9), "JSON with a comma after each object"),
    ],
)
def test_json_that_is_not_jsonl_is_refused_by_name(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    assert words in (refusal(path, "jsonl") or "")


@pytest.mark.parametrize(
    "data",
    [ROWS, ONE, ONE + b"\r\n" + ONE, b'{"cut": \n' + ROWS, GBK + ROWS, ONE + b"}\n", ONE[:-3]],
)
def test_damaged_jsonl_is_read_and_counted(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    assert refusal(path, "jsonl") is None


@pytest.mark.parametrize("format", ["warc", "jsonl"])
def test_comments_without_a_page_do_not_take_exponential_time(tmp_path: Path, format: Any) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"<!-- -->" * 200 + b"<p>")
    assert "text without" in (refusal(path, format) or "")
    path.write_bytes(b"<!-- -->" * 200 + b"<html>")
    assert "an HTML page" in (refusal(path, format) or "")
