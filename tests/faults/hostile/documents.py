"""Documents: files that grow, nest or lie, and texts that give orders to whoever prints them."""

from __future__ import annotations

import gzip
import io
import json
import struct
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from tests.faults.hostile.case import PUNA, Command
from tests.faults.hostile.table import case
from tests.faults.hostile.writing import ESCAPES, PLAIN, build, plan, rows, write
from tests.tasks.ingest.archives import members, response

GOOD = b'{"text": "This is a text that is long enough to be kept by everybody."}\n'


def _ingest(folder: Path, data: bytes, name: str = "web.jsonl", kind: str = "jsonl") -> Command:
    write(folder / name, data)
    text = PLAIN.replace("web.jsonl", name).replace("format: jsonl", f"format: {kind}")
    return build(write(folder / "recipe.yaml", text))


def _zeros(gib: int) -> bytes:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as stream:
        for _ in range(gib * 64):
            stream.write(bytes(1 << 24))
    return packed.getvalue()


@case("gzip: one line of 4 GiB of zeros", "done", "page_too_large")
def _(folder: Path) -> list[Command]:
    data = gzip.compress(GOOD) + _zeros(4) + gzip.compress(b"\n" + GOOD)
    return [_ingest(folder, data, "web.jsonl.gz")]


@case("gzip: within gzip within gzip", "refused", "gzip|compressed")
def _(folder: Path) -> list[Command]:
    return [_ingest(folder, gzip.compress(gzip.compress(gzip.compress(GOOD))), "web.jsonl.gz")]


@case("zstd: a frame that says it holds 2^60 bytes", "done", "could not be read")
def _(folder: Path) -> list[Command]:
    frame = struct.pack("<IBQ", 0xFD2FB528, 0xE0, 1 << 60) + bytes(20)
    return [_ingest(folder, zstandard.compress(GOOD) + frame, "web.jsonl.zst")]


@case("zip: 5 GB in 5 MB", "refused", "zip|ZIP")
def _(folder: Path) -> list[Command]:
    archive = zipfile.ZipFile(folder / "web.jsonl", "w", zipfile.ZIP_DEFLATED)
    with archive, archive.open("a.jsonl", "w", force_zip64=True) as member:
        for _ in range(300):
            member.write(bytes(1 << 24))
    return [build(write(folder / "recipe.yaml", PLAIN))]


@case("tar: members that lead out of the folder", "refused", "tar", "owned")
def _(folder: Path) -> list[Command]:
    with tarfile.open(folder / "web.jsonl", "w") as archive:
        member = tarfile.TarInfo("../../owned")
        member.size = len(GOOD)
        archive.addfile(member, io.BytesIO(GOOD))
    return [build(write(folder / "recipe.yaml", PLAIN))]


@case("JSON: nested 10^5 deep", "done", "reason='json'")
def _(folder: Path) -> list[Command]:
    deep = b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
    more = b'{"text": "fine", "meta": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}\n"
    return [_ingest(folder, GOOD + deep + more + GOOD)]


@case("JSON: a number of 10^6 digits", "done", '"documents": 2')
def _(folder: Path) -> list[Command]:
    return [_ingest(folder, GOOD + b'{"text": "x", "n": ' + b"9" * 1_000_000 + b"}\n" + GOOD)]


@case("JSON: one line of 600 MB", "done", "page_too_large")
def _(folder: Path) -> list[Command]:
    return [_ingest(folder, GOOD + b'{"text": "' + b"word " * 120_000_000 + b'"}\n' + GOOD)]


@case("JSON: halves of surrogate pairs, zeros, a field named twice", "done", '"documents": [234]')
def _(folder: Path) -> list[Command]:
    line = b'{"text": "one", "text": "half \\ud83d of a pair, and \\u0000 more than enough"}\n'
    return [_ingest(folder, GOOD + line + GOOD)]


@case("JSON: 200,000 fields in a row", "done", '"documents": 2')
def _(folder: Path) -> list[Command]:
    many = json.dumps({f"field {n}": n for n in range(200_000)}).encode() + b"\n"
    return [_ingest(folder, GOOD + many + GOOD)]


@case("Parquet: a page of 1 GB in 50 KB", "done", '"documents"')
def _(folder: Path) -> list[Command]:
    text = pa.array(["x" * (1 << 26)] * 16, pa.large_string())
    pq.write_table(pa.table({"text": text}), folder / "web.parquet", compression="zstd")
    text = PLAIN.replace("web.jsonl", "web.parquet").replace("format: jsonl", "format: parquet")
    return [build(write(folder / "recipe.yaml", text))]


@case("Parquet: a footer that says it is 2 GB", "refused", "parquet|Parquet")
def _(folder: Path) -> list[Command]:
    data = b"PAR1" + bytes(1000) + struct.pack("<I", 0x7FFFFFF0) + b"PAR1"
    return [_ingest(folder, data, "web.parquet", "parquet")]


@case("Parquet: rows that the footer makes up", "refused", "no whole Parquet")
def _(folder: Path) -> list[Command]:
    stream = io.BytesIO()
    pq.write_table(pa.table({"text": ["a text of some length"] * 300}), stream)
    data = stream.getvalue()
    number = bytes([0xD8, 0x04])  # 300 as thrift writes it
    many = bytes([0xD8, 0xFF])
    return [_ingest(folder, data.replace(number, many), "web.parquet", "parquet")]


@case("WARC: a record that says it is 2^62 bytes long", "done", "web")
def _(folder: Path) -> list[Command]:
    head = b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 4611686018427387904\r\n\r\nHTTP/1.1"
    data = members([response(b"<p>" + b"A page of words. " * 40)]) + head
    return [_ingest(folder, data, "web.warc", "warc")]


@case("WARC: 100 levels of content coding", "done", "web")
def _(folder: Path) -> list[Command]:
    body = b"<p>" + b"A page of words. " * 40
    for _ in range(100):
        body = gzip.compress(body, 1, mtime=0)
    coded = "Content-Type: text/html\r\nContent-Encoding: " + ", ".join(["gzip"] * 100)
    return [_ingest(folder, members([response(body, coded)]), "web.warc.gz", "warc")]


@case("WARC: 200,000 tags in one another", "done", "web")
def _(folder: Path) -> list[Command]:
    body = b"<div>" * 200_000 + b"<p>" + b"A page of words. " * 40
    return [_ingest(folder, members([response(body)]), "web.warc.gz", "warc")]


@case("text: orders to the terminal in a text and its URL", "done", "owned")
def _(folder: Path) -> list[Command]:
    line = f'{{"text": "{ESCAPES} and then some words", "url": "http://a/{ESCAPES}"}}\n'
    line = line.replace("\\x1b", "\\u001b").replace("\\x07", "\\u0007").replace("\\x9b", "\\u009b")
    _ingest(folder, GOOD + line.encode() + b'{"no": "text"}\n')
    return [
        build(folder / "recipe.yaml"),
        (PUNA, "inspect", "--stage", "ingest", "--store", "store", "--sample", "9"),
    ]


@case("text: HTML in a source's fields on the report", "done", "escaped")
def _(folder: Path) -> list[Command]:
    evil = "<img src=x onerror=alert(1)>"
    line = json.dumps({"text": f"{evil} " * 20, "url": f"http://a/{evil}", "license": evil})
    _ingest(folder, (line + "\n").encode() + GOOD)
    look = (
        "import pathlib; pages = list(pathlib.Path('store').rglob('*.html')); "
        f"print('raw' if not pages or any({evil!r} in p.read_text() for p in pages) else 'escaped')"
    )
    return [build(folder / "recipe.yaml", "report"), (sys.executable, "-c", look)]


@case("files: a name that is no UTF-8", "refused", "no UTF-8")
def _(folder: Path) -> list[Command]:
    rows(folder / "data" / "a\udcff\udcfe.jsonl")
    text = PLAIN.replace("web.jsonl", "data/*.jsonl")
    return [build(write(folder / "recipe.yaml", text))]


@case("files: a bin and a model's weights as text", "refused", "text|JSON")
def _(folder: Path) -> list[Command]:
    write(folder / "web.jsonl", bytes(range(256)) * 1000)
    return [plan(write(folder / "recipe.yaml", PLAIN))]
