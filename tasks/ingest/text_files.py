"""Reads plain-text files, compressed or not: one encoding per file, and a document per file,
paragraph or line.

A first pass over the whole file, in bounded memory, detects the encoding. A single line or
paragraph is too short for that: detecting each one's encoding would leave correct, garbled and
lost lines next to one another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from tasks.ingest.charset.detect import decode_in, encoding
from tasks.ingest.charset.garbage import is_garbled
from tasks.ingest.charset.structure import mark_of
from tasks.ingest.charset.utf8 import Utf8Tally, utf8_tally
from tasks.ingest.charset.wide import WIDE
from tasks.ingest.decompress import Gap, chunks
from tasks.ingest.lines import contains, lines
from tasks.ingest.raw_documents import SAMPLED_OUT, RawDocument, Rejected, Unreadable, Wanted

Split = Literal["file", "blank-line", "line"]

_HEAD_BYTES = 1 << 16
_SPAN_BYTES = 1 << 14
_SPANS = 32
_TELLING = re.compile(rb"[\x80-\xff\x1b]|~\{|\$[@B]")
_BLANKS = " \t\n\r\v\f"


class Layout(NamedTuple):
    """A file's encoding, as named by `charset.detect.encoding`, and its line end."""

    encoding: str
    line_end: bytes


class _Passage(NamedTuple):
    """A decoded line, paragraph or file; `size` is its length in the file, in bytes."""

    offset: int
    inner: int
    text: str
    size: int


def text_documents(
    path: Path, wanted: Wanted, *, split: Split, max_page_bytes: int
) -> Iterator[RawDocument | Rejected]:
    """One document per file, paragraph (`blank-line`) or line, in the encoding of the whole file.

    A file in no known encoding fails as one record. In a readable file, a document with too many
    broken characters fails alone.
    """
    try:
        layout = layout_of(path)
    except Unreadable as error:
        yield Rejected("failed", str(error), path.stat().st_size)
        return
    for passage in _passages(path, layout, split, max_page_bytes):
        if isinstance(passage, Rejected):
            yield passage
        elif not passage.text.strip(_BLANKS):
            continue
        elif not wanted(passage.offset, passage.inner):
            yield SAMPLED_OUT
        elif is_garbled(passage.text):
            yield Rejected("failed", "charset", passage.size)
        else:
            yield RawDocument(
                passage.offset, passage.inner, passage.text, payload_bytes=passage.size
            )


def layout_of(path: Path) -> Layout:
    """Detect the layout of a file. Raises Unreadable("charset").

    UTF-8 characters are counted in the whole file. For other encodings, a sample is taken from the
    beginning and then around bytes above ASCII or escapes. Lines end at carriage returns if the
    file has no line feed.
    """
    sample, spans, tally, rest = bytearray(), 0, Utf8Tally(0, 0, 0), b""
    returns = feeds = False
    for chunk in chunks(path):
        if isinstance(chunk, Gap):
            rest = b""
            continue
        feeds = feeds or b"\n" in chunk.data
        returns = returns or (not feeds and b"\r" in chunk.data)
        room = _HEAD_BYTES - len(sample) if not spans else 0
        sample += chunk.data[: max(room, 0)]
        if spans < _SPANS and (telling := _TELLING.search(chunk.data, max(room, 0))):
            start = max(
                chunk.data.rfind(b"\n", 0, telling.start()) + 1, telling.start() - _SPAN_BYTES
            )
            sample += b"\n" + chunk.data[start : start + _SPAN_BYTES]
            spans += 1
        if rest or not chunk.data.isascii():
            data = rest + chunk.data
            more, end = utf8_tally(data)
            tally, rest = Utf8Tally(*map(sum, zip(tally, more, strict=True))), data[end:]
    name = encoding(bytes(sample))
    certain = name in WIDE or mark_of(bytes(sample))[0] is not None
    name = "utf-8" if tally.valid and not certain and tally.is_utf8 else name
    if name in WIDE:  # single bytes of them are parts of other characters too
        feed, carriage = "\n".encode(name), "\r".encode(name)
        return Layout(
            name, carriage if not contains(path, feed) and contains(path, carriage) else feed
        )
    return Layout(name, b"\r" if returns and not feeds else b"\n")


def _passages(
    path: Path, layout: Layout, split: Split, max_bytes: int
) -> Iterator[_Passage | Rejected]:
    if split == "line":
        yield from _decoded_lines(path, layout, max_bytes)
        return
    held: list[_Passage] = []
    size = 0
    for line in _decoded_lines(path, layout, max_bytes):
        if isinstance(line, Rejected) and split == "file":
            yield line
            return
        if isinstance(line, Rejected) or (split == "blank-line" and not line.text.strip(_BLANKS)):
            if isinstance(line, Rejected):  # costs the paragraph that it is part of
                yield line
            elif held:
                yield _joined(held, size, max_bytes)
            held, size = [], 0
            continue
        size += line.size + 1
        if size <= max_bytes or not held:
            held.append(line)
    if held:
        yield _joined(held, size, max_bytes)


def _decoded_lines(path: Path, layout: Layout, max_bytes: int) -> Iterator[_Passage | Rejected]:
    name, first = layout.encoding, True
    for line in lines(path, max_bytes, end=layout.line_end):
        if isinstance(line, Rejected):
            yield line
        else:
            mark = mark_of(line.data)[1] if first else 0
            yield _Passage(
                line.offset, line.inner, decode_in(name, line.data[mark:]), len(line.data)
            )
        first = False


def _joined(held: list[_Passage], size: int, max_bytes: int) -> _Passage | Rejected:
    if size > max_bytes + 1:
        return Rejected("dropped", "page_too_large", size)
    return _Passage(held[0].offset, held[0].inner, "\n".join(line.text for line in held), size - 1)
