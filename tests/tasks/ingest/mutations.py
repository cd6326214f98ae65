"""Inputs of ingest with seeded damage at every level, and what ingest makes of them.

`mutated(number)` is one input: a sound file of some format, changed by one to five random edits at
one level: the file's bytes, a record's header, an HTTP message, a page's source, a row. Edits flip,
delete, insert, repeat and cut bytes, and put in what parsers trip over (`TOKENS`).
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import random
import zlib
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import brotli
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from infra.ledger import Ledger
from infra.stage import Pin, StageError
from tasks.ingest.part import ingest_part
from tasks.ingest.parts import FileSlice, PartInput
from tasks.ingest.stage import IngestParameters
from tests.tasks.ingest.archives import page, record, response

MAX_PAGE_BYTES = 4 << 20

TOKENS: dict[str, tuple[bytes, ...]] = {
    "bytes": (
        b"\x1f\x8b\x08\0",
        b"\x1f\x8b\x08\x02\0\0\0\0\0\xff",
        b"(\xb5/\xfd",
        b'\x04"M\x18',
        b"BZh91AY&SY",
        b"\xfd7zXZ\0",
        b"\x50\x2a\x4d\x18\xff\xff\xff\xff",
        b"PAR1",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        bytes(70_000),
        b"\r\n" * 500,
        b"WARC/1.0\r\nWARC-",
    ),
    "header": (
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 2147483648\r\n",
        "Content-Length: \u0664\u0662\r\n".encode(),
        b"WARC-Type: response\r\n",
        b"WARC-Type: resource\r\n",
        b"WARC-Type: \xff\xfe\r\n",
        b"WARC-Truncated: length\r\n",
        b"WARC-Date: 2024-13-45\r\n",
        b"\r\n\r\n",
        b"\n \n",
        b" folded\r\n" * 3000,
        b"A: b\r\n" * 3000,
        b":\r\n",
        b"WARC/1.0\r\nWARC-Type: x\r\n",
        b"WARC-Target-URI: <http://[::1/\xe4\r\n",
        b"WARC-Target-URI: \ud7ff\r\n",
        b"\0" * 99,
    ),
    "http": (
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Content-Encoding: br\r\n",
        b"Content-Encoding: deflate\r\n",
        b"Content-Encoding: zstd\r\n",
        b"Content-Encoding: gzip, br, gzip\r\n",
        b"Content-Encoding: compress\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 70,
        b"HTTP/1.1 200\r\n\r\n",
        b"\r" * 9000,
        b"FFFFFFFF\r\n",
        b"0\r\n\r\n",
        b"1;x=y\r\nz\r\n",
        b"Content-Type: text/html; charset=utf-7\r\n",
        b"Content-Type: text/html; charset=" + b"x" * 9000 + b"\r\n",
        b"Content-Type: application/pdf\r\n",
        b"%PDF-1.7\n",
        b"Content-Length: 9999999\r\n",
        b"ICY 200 OK\r\n",
    ),
    "html": (
        b"<div>" * 300,
        b"<div " + b"a=b " * 30_000 + b">",
        b"<option>" * 6_000,
        b"<!--",
        b"-->",
        b"<![CDATA[",
        b"<script>",
        b"</script>",
        b"<table><tr><td>",
        b"<pre>",
        b"</pre>",
        b"<ruby>\xe6\xbc\xa2<rt>x</rt></ruby>",
        b"<plaintext>",
        b"<meta charset=utf-16>",
        b'<meta charset="iso-2022-jp">',
        b"\x1b$B",
        b"\xff\xfe\0<",
        b"&#x110000;",
        b"&#xD800;",
        b"&#0;",
        b"&" * 3000,
        b"<a href=x>" * 500,
        b"<svg><math><mi>",
        b"<template>",
        b"<frameset>",
        b"\0" * 500,
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"<" * 3000,
        b"<ul><li>" * 200,
        b"\xe2\x80\xae",
        b"<textarea>",
        b"<base href=//>",
        b"<style>" + b"{" * 9000,
        b"\xef\xbf\xbd" * 50,
        b"<select>",
        b"<p>" * 3000,
        b"<br>" * 3000,
        b"<b><i>" * 200,
    ),
    "json": (
        b"[" * 3000,
        b'{"a":' * 3000,
        b'"\\ud800"',
        b"1e999",
        b"9" * 5000,
        b"NaN",
        b'{"text": 5}',
        b'"text"',
        b"null",
        b"\\u0000",
        b'{"text": ["a", ["b"]]}',
        b"\n",
        b"\\",
        b"\xff",
    ),
}


@dataclass(frozen=True)
class Input:
    """One file: its name, its format in the recipe, its bytes, and where it was changed."""

    name: str
    format: str
    data: bytes
    level: str


_gzip = partial(gzip.compress, mtime=0)  # which would be the time of day


def edited(data: bytes, level: str, draw: random.Random) -> bytes:
    """One to five random edits."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        at = draw.randrange(len(changed) + 1)
        size = draw.choice((1, 1, 2, 8, 100, 3000))
        match draw.randrange(8):
            case 0 if at < len(changed):
                changed[at] ^= 1 << draw.randrange(8)
            case 1:
                del changed[at : at + size]
            case 2:
                changed[at:at] = draw.randbytes(size)
            case 3 if draw.random() < 0.5:
                del changed[at:]
            case 4:
                changed[at:at] = changed[at : at + size] * draw.choice((1, 3, 50))
            case 5:
                changed[at : at + size] = draw.choice((b"\0", b"\xff", b"\n", b"<", b" ")) * size
            case _:
                changed[at:at] = draw.choice(TOKENS[level])
    return bytes(changed)


def _compressed(data: bytes, draw: random.Random) -> bytes:
    return draw.choice((_gzip, _gzip, zstandard.ZstdCompressor().compress, bz2.compress))(data)


def _coded(body: bytes, draw: random.Random) -> tuple[str, bytes]:
    """(header field, body) of a coding."""
    chunked = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (9, body[:9], len(body) - 9, body[9:])
    return draw.choice(
        [
            ("X: y", body),
            ("Content-Encoding: gzip", _gzip(body)),
            ("Content-Encoding: br", brotli.compress(body, quality=1)),
            ("Content-Encoding: deflate", zlib.compress(body)),
            ("Content-Encoding: zstd", zstandard.ZstdCompressor().compress(body)),
            ("Transfer-Encoding: chunked", chunked),
        ]
    )


def _archive(level: str, draw: random.Random, pages: tuple[bytes, ...]) -> Input:
    """A WARC or WET archive of three records, the second of which is changed."""
    html = draw.choice(pages)
    if level == "html":
        html = edited(html, level, draw)
    field, body = _coded(html, draw) if level != "html" else ("X: y", html)
    message = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{field}\r\n\r\n".encode() + body
    if level == "http":
        message = edited(message, level, draw)
    wet = level == "header" and draw.random() < 0.3
    kind = "conversion" if wet else "response"
    middle = record(kind, html if wet else message, "http://a/1")
    if level == "header":
        end = middle.index(b"\r\n\r\n") + 4
        middle = edited(middle[:end], level, draw) + middle[end:]
    stream = [response(page(0), uri="http://a/0"), middle, response(page(2), uri="http://a/2")]
    if wet:
        stream = [record(kind, b"Text.\n" * 9), middle, record(kind, b"Text.\n" * 9)]
    data = b"".join(stream)
    if draw.random() < 0.7:
        data = b"".join(_compressed(one, draw) for one in stream)
    if level == "bytes":
        data = edited(data, level, draw)
    return Input("a.warc.gz", "wet" if wet else "warc", data, level)


def _lines(draw: random.Random) -> Input:
    rows = [
        {"text": f"Row {number}, größer. " * 9, "url": "u", "meta": {"date": "2024-01-01"}}
        for number in range(5)
    ]
    lines = [json.dumps(row).encode() + b"\n" for row in rows]
    lines[2] = edited(lines[2], "json", draw)
    data = b"".join(lines)
    if draw.random() < 0.5:
        data = edited(_compressed(data, draw), "bytes", draw)
    return Input("a.jsonl", "jsonl", data, "json")


def _table(draw: random.Random) -> Input:
    texts = [f"Row {number}, größer. " * 9 for number in range(20)]
    buffer = io.BytesIO()
    table = pa.table({"text": texts, "url": ["u"] * 20, "score": [0.5] * 20})
    pq.write_table(
        table, buffer, row_group_size=7, compression=draw.choice(("snappy", "zstd", "none"))
    )
    return Input("a.parquet", "parquet", edited(buffer.getvalue(), "bytes", draw), "parquet")


def mutated(number: int, pages: tuple[bytes, ...]) -> Input:
    """The input of a number, the same on every machine with the same pages."""
    draw = random.Random(number)
    level = ("bytes", "header", "http", "html", "html", "json", "parquet")[number % 7]
    if level == "json":
        return _lines(draw)
    return _table(draw) if level == "parquet" else _archive(level, draw, pages)


def ingested(given: Input, folder: Path) -> dict[str, Any]:
    """The result of the part that reads an input, its documents written to Parquet.

    A `StageError` counts as read: it is an answer in words. Raises AssertionError if the counts do
    not add up.
    """
    path, out = folder / given.name, folder / "part.parquet"
    path.write_bytes(given.data)
    pin = Pin(str(path), path.name, "ab" * 32, len(given.data))
    parameters = IngestParameters.model_validate(
        {"format": given.format, "paths": [str(path)], "max_page_bytes": MAX_PAGE_BYTES}
    )
    part = PartInput("fuzz", (FileSlice(pin),), parameters, given.format)  # type: ignore[arg-type]
    shard = SimpleNamespace(key="part", create=lambda name: nullcontext(out))
    try:
        result = ingest_part(part, shard)  # type: ignore[arg-type]
    except StageError as error:
        assert str(error)
        return {}
    documents = pq.read_metadata(out).num_rows
    ledger = Ledger.merged([result["ledger"]])
    kept, lost = ledger.documents("kept"), ledger.documents("dropped") + ledger.documents("failed")
    assert documents == result["statistics"]["documents"] == kept
    assert ledger.documents("read") == kept + lost
    return result
