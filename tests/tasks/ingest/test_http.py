"""HTTP messages as crawlers store them: which response counts, and bodies in all codings, complete,
truncated and damaged.
"""

import gzip
import itertools
import random
import time
import zlib
from pathlib import Path

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ingest.codings import Decoded
from tasks.ingest.http import decoded_body, message
from tasks.ingest.raw_documents import RawDocument, Rejected, Unreadable
from tests.tasks.ingest.archives import page, record, response
from tests.tasks.ingest.test_web import read, reasons

LIMIT = 1 << 20
PAGE = page(3)


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def chunked(data: bytes, *cuts: int, end: bytes = b"0\r\n\r\n") -> bytes:
    edges = [0, *cuts, len(data)]
    parts = [data[a:b] for a, b in itertools.pairwise(edges)]
    return b"".join(b"%x;x=y\r\n%s\r\n" % (len(part), part) for part in parts) + end


CHUNKED = chunked(PAGE, 10)
GZIP = gzip.compress(PAGE)


def decoded(body: bytes, content: str = "", transfer: str = "", **headers: str) -> Decoded:
    return decoded_body(
        {"content-encoding": content, "transfer-encoding": transfer, **headers}, body, LIMIT
    )


@pytest.mark.parametrize(
    "body, content, transfer",
    [
        (PAGE, "", ""),
        (CHUNKED, "", "chunked"),
        (CHUNKED, "", "Chunked"),
        (CHUNKED, "", "chunked, chunked"),  # two headers, but chunked once
        (CHUNKED, "chunked", ""),
        (chunked(PAGE, 10, end=b"0000\r\nExpires: never\r\nX-Sum: 1\r\n\r\n"), "", "chunked"),
        (chunked(PAGE, 10, end=b"0"), "", "chunked"),
        (PAGE, "", "chunked"),
        (GZIP, "gzip", ""),
        (GZIP, " X-GZip ;q=1", ""),
        (GZIP, "gzip, gzip", ""),
        (GZIP, "deflate", ""),
        (GZIP, "", ""),
        (gzip.compress(GZIP), "gzip", ""),
        (gzip.compress(PAGE[:50]) + gzip.compress(PAGE[50:]), "gzip", ""),
        (b"".join(gzip.compress(PAGE[at : at + 9]) for at in range(0, len(PAGE), 9)), "gzip", ""),
        (GZIP + bytes(64), "gzip", ""),
        (GZIP, "", "gzip"),
        (chunked(GZIP, 30), "", "gzip, chunked"),
        (chunked(GZIP, 30), "gzip", "chunked"),
        (chunked(zlib.compress(PAGE), 30), "", "x-deflate,chunked"),
        (gzip.compress(chunked(PAGE, 20)), "", "chunked, gzip"),
        (gzip.compress(brotli.compress(PAGE)), "br, gzip", ""),
        (brotli.compress(GZIP), "gzip, br", ""),
        (PAGE, "gzip", "gzip, chunked"),
        (zlib.compress(PAGE), "deflate", ""),
        (raw_deflate(PAGE), "deflate", ""),
        (PAGE, "deflate", ""),
        (brotli.compress(PAGE), "br", ""),
        (PAGE, "br", ""),
        (zstd(PAGE), "zstd", ""),
        (zstd(PAGE[:99]) + zstd(PAGE[99:]), "zstd", ""),
        (PAGE, "zstd", ""),
        (PAGE, "utf-8", "identity"),
    ],
)
def test_bodies_are_decoded_by_content_not_by_label(
    body: bytes, content: str, transfer: str
) -> None:
    assert decoded(body, content, transfer) == Decoded(PAGE)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize(
    "text", [b"2024\r\nThe mill.", b"crisp letters", b"kind words " * 999, b"\xc4\xe3\xba\xc3 " * 9]
)
def test_text_that_is_not_coded_is_unchanged(coding: str, text: bytes) -> None:
    assert decoded(text, coding).data == text
    assert decoded(text, coding, "chunked").data == text


@pytest.mark.parametrize(
    "text",
    [
        b"2024\nwas a dry year.\nThe mill stood still.\n",
        b"2024\r\nwas a dry year.\r\n",
        b"2024\r\n" + b"was a dry year.\r\n" * 999,
        b"5\r\nbread and salt\r\n",
        b"0\r\nis where we begin\r\n",
        b"ADD\r\nmilk",
        b"7",
    ],
)
def test_a_first_line_that_looks_like_a_chunk_size_is_kept(text: bytes) -> None:
    assert decoded(text, "", "chunked").data == text


@pytest.mark.parametrize(
    "body, content, transfer, what",
    [
        (CHUNKED[:-30], "", "chunked", PAGE[:-23]),
        (CHUNKED[: -len("0\r\n\r\n")], "", "chunked", PAGE),
        (
            chunked(PAGE)[:-90],
            "",
            "chunked",
            PAGE[:-83],
        ),  # the first chunk is truncated, and begins with markup
        (chunked(PAGE, 50, end=b"1f"), "", "chunked", PAGE),
        (gzip.compress(PAGE[:70]) + gzip.compress(PAGE[70:])[:-8], "gzip", "", PAGE),
        (zlib.compress(PAGE, 0)[:200], "deflate", "", PAGE[:193]),
        (zstd(PAGE) + zstd(bytes(300_000))[:17], "zstd", "", PAGE),
    ],
)
def test_truncated_bodies_are_used_and_marked(
    body: bytes, content: str, transfer: str, what: bytes
) -> None:
    found = decoded(body, content, transfer)
    assert found.truncated and found.data == what


@pytest.mark.parametrize(
    "coding, pack", [("gzip", gzip.compress), ("deflate", raw_deflate), ("br", brotli.compress)]
)
def test_half_a_stream_is_marked(coding: str, pack: object) -> None:
    noise = random.Random(1).randbytes(200_000)
    packed = pack(PAGE + noise)  # type: ignore[operator]
    found = decoded(packed[: len(packed) // 2], coding)
    assert found.truncated and PAGE.startswith(found.data[: len(PAGE)]) and len(found.data) > 60_000


def test_content_length_shows_truncation_only_without_codings() -> None:
    assert decoded(PAGE, **{"content-length": str(len(PAGE) + 1)}) == Decoded(PAGE, truncated=True)
    assert decoded(PAGE, **{"content-length": "5"}) == Decoded(
        PAGE
    )  # the original header of a body stored decoded
    assert decoded(PAGE, "gzip", **{"content-length": "99999"}) == Decoded(PAGE)
    assert decoded(PAGE, **{"content-length": "many"}) == Decoded(PAGE)


@pytest.mark.parametrize(
    "body, content, transfer",
    [
        (GZIP + b"junk", "gzip", ""),
        (chunked(PAGE) + b"more text", "", "chunked"),
        (brotli.compress(PAGE) + b"x", "br", ""),
        (zlib.compress(PAGE) + b"junk", "deflate", ""),
        (zstd(PAGE) + b"junk", "zstd", ""),
    ],
)
def test_bytes_after_the_end_are_marked(body: bytes, content: str, transfer: str) -> None:
    assert decoded(body, content, transfer) == Decoded(PAGE, trailing=True)


def damaged(packed: bytes, at: int) -> bytes:
    return packed[:at] + bytes(byte ^ 0x55 for byte in packed[at : at + 9]) + packed[at + 9 :]


@pytest.mark.parametrize(
    "body, content, transfer, reason",
    [
        (chunked(PAGE, 10, end=b"zz\r\n"), "", "chunked", "chunked"),
        (chunked(PAGE, 10, end=b"7\r\nno such length"), "", "chunked", "chunked"),
        (b"\xff\xfe\0 nothing".replace(b"\xff\xfe", b"\xfe\0"), "deflate", "", "content_encoding"),
        (damaged(GZIP, 40), "gzip", "", "content_encoding"),
        (damaged(GZIP, len(GZIP) - 8), "gzip", "", "content_encoding"),  # the checksum
        (GZIP + damaged(GZIP, 40), "gzip", "", "content_encoding"),
        (damaged(zstd(PAGE), 60), "zstd", "", "content_encoding"),
        (damaged(zlib.compress(PAGE), 60), "deflate", "", "content_encoding"),
        (GZIP, ", ".join(["gzip"] * 9), "", "content_encoding"),
        (b"\x1f\x9d\x90" + PAGE, "compress", "", "content_encoding"),
    ],
)
def test_damage_is_a_failure(body: bytes, content: str, transfer: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        decoded(body, content, transfer)


@pytest.mark.parametrize(
    "coding, pack", [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd)]
)
def test_bombs_stay_small(coding: str, pack: object) -> None:
    bomb = pack(bytes(1 << 26))  # type: ignore[operator]
    assert 1000 < len(decoded_body({"content-encoding": coding}, bomb, 1000).data) < 1 << 18
    assert not decoded_body({"content-encoding": coding}, bomb, 1000).truncated
    many = b"".join([gzip.compress(bytes(900))] * 2000)
    assert len(decoded_body({"content-encoding": "gzip"}, many, 1000).data) < 3000


def test_a_brotli_bomb_stays_small() -> None:
    assert (
        1000
        < len(decoded_body({"content-encoding": "br"}, brotli.compress(bytes(1 << 26)), 1000).data)
        < 1 << 18
    )


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from(["gzip", "deflate", "br", "zstd", "gzip, br", ""]),
    st.booleans(),
    st.sampled_from([bytes, gzip.compress, zlib.compress, raw_deflate, zstd]),
    st.integers(0, 400),
)
def test_any_body_is_decoded_or_refused(
    data: bytes, coding: str, chunks: bool, pack: object, cut: int
) -> None:
    body = pack(data)[:cut]  # type: ignore[operator]
    try:
        decoded(chunked(body) if chunks else body, coding, "chunked" if chunks else "")
    except Unreadable as error:
        assert str(error) in ("chunked", "content_encoding")


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + PAGE


@pytest.mark.parametrize(
    "stored",
    [
        OK,
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"  # noqa: E501
        + OK,
        b"HTTP/1.1 200 Connection established\r\n\r\n" + OK,
        b"HTTP/1.0 200 OK\r\nVia: 1.1 proxy\r\nContent-Length: 0\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"  # noqa: E501
        + OK,
        OK.replace(b"HTTP/1.1 200 OK", b"http/1.1 200"),
        OK.replace(b"HTTP/1.1 200 OK", b"HTTP/2 200"),
        OK.replace(b"HTTP/1.1 200 OK", b"HTTP/3.0 200 "),
        OK.replace(b"HTTP/1.1 200 OK", b"HTTP/1.0 200"),
        OK.replace(b"HTTP/1.1 200 OK", b"HTTP 200 Fine"),
        OK.replace(b"HTTP/1.1 200 OK", b"ICY 200 OK"),
        b"\r\n" + OK,
        OK.replace(b"\r\n", b"\n", 3),
        OK.replace(b"\r\n", b"\r\r\n", 3),
    ],
)
def test_the_final_response_counts(stored: bytes, tmp_path: Path) -> None:
    found = message(stored)
    assert (found.status, found.headers["content-type"], found.body) == (200, "text/html", PAGE)
    assert reasons(read(tmp_path, record("response", stored))) == ["kept"]


def test_a_page_about_http_is_not_a_response() -> None:
    text = b"HTTP/1.1 404 Not RawDocument\r\n\r\nis what a server says"
    assert message(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + text).body == text
    assert message(b"HTTP/1.1 100 Continue\r\n\r\n").status == 100
    with pytest.raises(Unreadable, match="http"):
        message(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nno end")


def test_repeated_headers_are_one_list(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nServer: a\r\nServer: b\r\nContent-Encoding: br\r\n"  # noqa: E501
    head += b"Content-Encoding:\r\n gzip\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"  # noqa: E501
    body = chunked(gzip.compress(gzip.compress(brotli.compress(PAGE))), 30)
    found = read(tmp_path, record("response", head + body))
    assert message(head + body).headers["server"] == "a"
    assert isinstance(found[0], RawDocument) and "Sentence 9 of page number 3." in found[0].text


def test_a_segment_of_a_record_is_a_part(tmp_path: Path) -> None:
    first = response(PAGE).replace(b"WARC-Date", b"WARC-Segment-Number: 1\r\nWARC-Date", 1)
    found = read(tmp_path, first, record("continuation", PAGE))
    assert reasons(found) == ["kept", "warc.continuation"] and found[0].marks == ("truncated",)  # type: ignore[union-attr]


def test_marks_and_failures_reach_the_document(tmp_path: Path) -> None:
    def reply(body: bytes, coding: str = "gzip", warc: str = "") -> bytes:
        made = response(body, f"Content-Type: text/html\r\nContent-Encoding: {coding}")
        return (
            made.replace(b"WARC-Date", b"WARC-Truncated: length\r\nWARC-Date", 1) if warc else made
        )

    noise = b"<!--" + random.Random(1).randbytes(9_000).hex().encode() + b"-->"
    found = read(
        tmp_path,
        reply(GZIP),
        reply(gzip.compress(PAGE + noise)[:-3000]),
        reply(GZIP + b"junk"),
        reply(GZIP, warc="length"),
        reply(damaged(GZIP, 40)),
    )
    assert [item.marks if isinstance(item, RawDocument) else item for item in found[:4]] == [
        (),
        ("truncated",),
        ("trailing",),
        ("truncated",),
    ]
    assert isinstance(found[4], Rejected) and (found[4].side, found[4].reason) == (
        "failed",
        "content_encoding",
    )


SKIPPED = b"\x50\x2a\x4d\x18\x04\0\0\0note"


@pytest.mark.parametrize(
    "body, content, transfer",
    [
        (SKIPPED + zstd(PAGE), "zstd", ""),  # skippable frames before and between others
        (zstd(PAGE[:50]) + SKIPPED + zstd(PAGE[50:]), "zstd", ""),
        (zstd(PAGE), "", ""),
        (zstd(PAGE), "gzip", ""),  # the wrong one of two recognisable codings
        (GZIP, "br", ""),
        (GZIP, "zstd", ""),
        (PAGE[:40] + gzip.compress(PAGE[40:]), "gzip", ""),  # compression began too late
        (CHUNKED, "", ""),  # chunked, but not declared
        (chunked(GZIP, 30), "gzip", ""),
        (chunked(b"\xef\xbb\xbf" + PAGE, 30), "", ""),
    ],
)
def test_recognisable_codings_need_no_header(body: bytes, content: str, transfer: str) -> None:
    found = decoded(body, content, transfer)
    assert found.data.removeprefix(b"\xef\xbb\xbf") == PAGE
    assert not found.truncated and not found.trailing


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\napple\r\n0\r\n\r\n",  # no markup
        chunked(PAGE, 30, end=b""),
        chunked(PAGE, 30)[:-9],
        chunked(PAGE, 30) + b"more",
        chunked(PAGE, 30).replace(b"\r\n", b"\n"),
    ],
)
def test_a_body_that_is_not_certainly_chunked_is_unchanged(body: bytes) -> None:
    assert decoded(body).data == body


def test_a_body_that_only_begins_plain_and_is_damaged_fails() -> None:
    damaged = bytearray(PAGE[:40] + gzip.compress(PAGE[40:]))
    damaged[-6] ^= 1
    with pytest.raises(Unreadable, match="content_encoding"):
        decoded(bytes(damaged), "gzip")


OK = b"HTTP/1.1 200 OK\r\n"
MANY = 1 << 18


@pytest.mark.parametrize(
    "data",
    [
        OK + b"\r" * MANY,
        OK + b"a: b\n" + b" x\n" * MANY + b"\n",
        OK + b"content-type: x\n" * MANY + b"\n",
        b"HTTP/1.1 100\n\n" * MANY + OK + b"\r\n",
    ],
)
def test_heads_do_not_take_quadratic_time(data: bytes) -> None:
    """Each of these once took minutes; heads and chains far longer than real ones are refused."""
    began = time.process_time()
    with pytest.raises(Unreadable, match="http"):
        message(data)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("coding, empty", [("gzip", gzip.compress(b"")), ("zstd", zstd(b""))])
def test_many_empty_members_do_not_take_quadratic_time(coding: str, empty: bytes) -> None:
    began = time.process_time()
    assert decoded(empty * 40_000 + (GZIP if coding == "gzip" else zstd(PAGE)), coding).data == PAGE
    assert time.process_time() - began < 3
