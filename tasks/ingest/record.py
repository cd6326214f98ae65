"""A record of a web archive, and its header block (WARC 1.1, ISO 28500:2017, section 4)."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

MAX_HEADER_BYTES = 1 << 16
START = re.compile(rb"WARC/\d+\.\d+[ \t]*\r?\n[ \t]*(?:WARC-|Content-)", re.IGNORECASE)
"""The beginning of a record: a version line and a WARC header (ClueWeb uses version 0.18)."""

LETTERS = b"warc/"
HEADER_END = re.compile(rb"\r?\n[ \t]*\r?\n")
_MAY_END = re.compile(rb"\n[ \t\n]")
_FOLDED = re.compile("\n[ \t]")
_LINE = rb"[!-9;-~]+: [^\r\n]*\r\n"
_USUAL = re.compile(
    rb"WARC/\d\.\d\r\n(?=WARC-|Content-)(?:(?!Content-Length: )" + _LINE + rb")*+"
    rb"Content-Length: (\d{1,18})\r\n(?:" + _LINE + rb")*+\r\n"
)
"""A header block as crawlers write it: lines of one form, none folded. Linear in its length."""
_LENGTH = b"content-length"


@dataclass(slots=True)
class Record:
    """A whole record.

    `head`: the header block as stored, from the version line to the blank line that ends it.
    `offset`: byte of the file at which its compressed member begins. `inner`: its place in the
    member's decompressed bytes. In an uncompressed file, `offset` is 0 and `inner` the place in the
    file.
    """

    offset: int
    inner: int
    head: bytes
    body: bytes
    _headers: dict[str, str] | None = field(default=None, repr=False, compare=False)

    @property
    def headers(self) -> dict[str, str]:
        """The header's fields; names are in lower case. Parsed when first asked for."""
        if self._headers is None:
            self._headers = parse_headers(self.head)
        return self._headers


@dataclass(frozen=True, slots=True)
class Broken:
    """A record that could not be read, or that exceeds the limit (`too_large`).

    `place`: its (offset, inner), as of a `Record`, where known; `head`: its first bytes, to show.
    `lost_bytes` counts bytes of the file if `reason` is a compression, otherwise decompressed ones.
    """

    reason: str
    lost_bytes: int
    too_large: bool = False
    place: tuple[int, int] | None = None
    head: bytes = b""


def framed(data: bytes) -> tuple[int, int | None] | None:
    """(length of the header block that bytes begin with, the Content-Length it states); None where
    no record begins, or where `header_end` finds no end.
    """
    usual = _USUAL.match(data, 0, MAX_HEADER_BYTES)
    if usual is not None:
        end = usual.end()
        letters = data[1:end].lower()
        if LETTERS not in letters and letters.count(_LENGTH) == 1:
            return end, int(usual[1])
    if START.match(data) is None or (found := header_end(data)) is None:
        return None
    return found, content_length(data[:found])


def header_end(data: bytes | bytearray) -> int | None:
    """Length of the headers including the blank line; None if that is not among the first 64 KiB,
    or if another record starts within them.
    """
    end = data.find(b"\n\r\n", 0, MAX_HEADER_BYTES) + 3
    # Most headers end in this way; to look for all other ways takes ten times as long.
    if end < 3 or _MAY_END.search(data, 0, end):
        blank_line = HEADER_END.search(data, 0, MAX_HEADER_BYTES)
        if blank_line is None:
            return None
        end = blank_line.end()
    if LETTERS in data[1:end].lower() and START.search(data, 1, end):
        return None
    return end


def content_length(head: bytes) -> int | None:
    """The Content-Length that a header block states, if it is one."""
    value = parse_headers(head).get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None


def parse_headers(block: bytes, lists: Collection[str] = ()) -> dict[str, str]:
    """Header lines (after a first line) as lower-case name -> value.

    A repeated name keeps its first value, or for names in `lists` all values, joined by commas.
    Continuation lines are joined; lines without a colon are ignored. Decoded as UTF-8 if valid,
    else as Latin-1 (as in RFC 2616).
    """
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError:
        text = block.decode("latin-1")
    lines = text.split("\n")[1:]
    if _FOLDED.search(text) is None:
        pairs = [line.partition(":") for line in lines if ":" in line]
        simple = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if len(simple) == len(pairs) and "" not in simple:
            return simple
    headers: dict[str, list[str]] = {}
    name = ""
    for line in lines:
        if line[:1] in " \t" and name and line.strip():
            headers[name].append(" " + line.strip())
            continue
        before, colon, value = line.partition(":")
        name = before.strip().lower() if colon else ""
        if name in headers and name in lists:
            headers[name].append(", " + value.strip())
        elif name in headers:
            name = ""
        elif name:
            headers[name] = [value.strip()]
    return {name: "".join(parts).strip() for name, parts in headers.items()}
