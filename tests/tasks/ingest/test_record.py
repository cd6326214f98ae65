"""Header blocks: the quick way of reading one and the thorough way agree; fields are read when
asked for.
"""

import random
import time

import pytest

from tasks.ingest import record
from tasks.ingest.record import MAX_HEADER_BYTES, Record, framed, parse_headers

USUAL = (
    b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 3\r\nWARC-Target-URI: http://a/\r\n\r\n"
)


def thorough(data: bytes) -> tuple[int, int | None] | None:
    """What `framed` gives without its pattern of the usual header."""
    if record.START.match(data) is None or (end := record.header_end(data)) is None:
        return None
    return end, record.content_length(data[:end])


def test_names_repeated_lines_and_lines_that_are_no_field() -> None:
    assert parse_headers(b"HTTP/1.1 200\r\nA: 1\r\nA: 2\r\nbad line\r\n\xe9: \xe9") == {
        "a": "1",
        "\xe9": "\xe9",
    }


@pytest.mark.parametrize(
    "head, length",
    [
        (USUAL, 3),
        (USUAL.replace(b"\r\n", b"\n"), 3),
        (USUAL.replace(b"Content-Length", b"content-LENGTH"), 3),
        (USUAL.replace(b": 3", b":\t 3 "), 3),
        (USUAL.replace(b": 3", b" : 3"), 3),
        (USUAL.replace(b": 3\r\n", b": 3\r\n 4\r\n"), None),
        (USUAL.replace(b": 3", b":\r\n 3"), 3),
        (USUAL.replace(b": 3", b": \n\t3"), 3),
        (USUAL.replace(b"WARC-Type", b"content-length: 7\r\nWARC-Type"), 7),
        (USUAL.replace(b"WARC-Target-URI", b"Content-Length: 7\r\nWARC-Target-URI"), 3),
        (USUAL.replace(b"http://a/", b"http://a/Content-Length: 8"), 3),
        (USUAL.replace(b": 3", b": 0x3"), None),
        (USUAL.replace(b": 3", b": -3"), None),
        (USUAL.replace(b": 3", b": " + b"9" * 19), None),
        (USUAL.replace(b"Content-Length: 3\r\n", b""), None),
    ],
)
def test_the_length_a_header_states(head: bytes, length: int | None) -> None:
    assert framed(head + b"abc\r\n\r\n") == thorough(head + b"abc\r\n\r\n") == (len(head), length)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        USUAL[:-2],
        b" " + USUAL,
        USUAL.replace(b"WARC/1.0", b"WARC/10"),
        USUAL.replace(b"WARC-Type", b"Type"),
        USUAL.replace(b"http://a/", b"x" * MAX_HEADER_BYTES),
        USUAL.replace(b"http://a/\r\n", b"WARC/1.0\r\nContent-Type: x\r\n"),
    ],
)
def test_no_header_block(data: bytes) -> None:
    assert framed(data) is None and thorough(data) is None


def test_the_quick_way_and_the_thorough_way_agree_on_damaged_headers() -> None:
    rng = random.Random(0)
    pieces = [b"\r", b"\n", b" ", b"\t", b":", b"\r\n", b"Content-Length: 5\r\n", b"\0", b"\xff",
              b"content-length:6\n", b"WARC/1.1\r\nWARC-", b"warc/", b"9", b"-"]  # fmt: skip
    found = set()
    for _ in range(20_000):
        data = bytearray(USUAL + b"abc\r\n\r\n")
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(3)] = rng.choice(pieces)
        assert framed(bytes(data)) == thorough(bytes(data)), bytes(data)
        found.add(framed(bytes(data)))
    assert len(found) > 50


def test_a_header_of_nothing_but_lengths_takes_no_quadratic_time() -> None:
    lines = MAX_HEADER_BYTES // 19 - 2
    data = b"WARC/1.0\r\nWARC-Type: x\r\n" + b"Content-Length: 1\r\n" * lines + b"x\r\n\r\n"
    began = time.process_time()
    assert framed(data) == (len(data), 1)
    assert time.process_time() - began < 0.5


def test_fields_are_parsed_when_asked_for() -> None:
    one = Record(7, 0, USUAL, b"abc")
    assert one.headers["warc-target-uri"] == "http://a/"
    assert one.headers is one.headers
    assert one == Record(7, 0, USUAL, b"abc")
