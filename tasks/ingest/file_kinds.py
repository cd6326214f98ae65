"""Recognises files that are certainly not of their declared format, by their first bytes and what
these decompress to.

Only certain mismatches count: damaged archives, bad first lines and unknown charsets are left to
the readers, which count what is lost. A file of another kind would yield nothing but garbage, so
planning refuses it with its name (`refusal`). A stage that meets one nevertheless counts one
failure (`Mismatch.reason`), not one for every line of garbage.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infra.io import lfs
from tasks.ingest.codings import is_text
from tasks.ingest.decompress import Chunk, chunks

Format = Literal["warc", "wet", "jsonl", "text", "parquet"]

HEAD_BYTES = 1 << 16
"""As much of a file as is looked at."""

_UNPACK = "unpack it, and name the files in it"
_TO_JSONL = "write it as JSONL (one JSON object a line), and set format: jsonl"
_TO_TEXT = "extract its text first, and set format: text"
_REMOVE = "remove it from paths"
_PACK_PAGES = "pages are read from web archives; pack them into a WARC file"
_BINARY: tuple[tuple[int, bytes, str, str, str], ...] = (
    (0, b"PAR1", "parquet", "a Parquet file", "set format: parquet"),
    (0, b"ARROW1\0\0", "arrow", "an Arrow file", _TO_JSONL),
    (0, b"\xff\xff\xff\xff", "arrow", "an Arrow stream", _TO_JSONL),
    (0, b"Obj\x01", "avro", "an Avro file", _TO_JSONL),
    (0, b"ORC", "orc", "an ORC file", _TO_JSONL),
    (0, b"SQLite format 3\0", "sqlite", "an SQLite database", _TO_JSONL),
    (0, b"\x89HDF\r\n\x1a\n", "hdf5", "an HDF5 file", _TO_JSONL),
    (0, b"\x93NUMPY", "numpy", "a NumPy array", _TO_JSONL),
    (0, b"PK\x03\x04", "zip", "a ZIP archive (or an office document or e-book in one)", _UNPACK),
    (0, b"PK\x05\x06", "zip", "an empty ZIP archive", _REMOVE),
    (257, b"ustar", "tar", "a tar archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "7z", "a 7-Zip archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "rar", "a RAR archive", _UNPACK),
    (0, b"\x02\x21\x4c\x18", "lz4", "an LZ4 file in the legacy format", "unpack it, or recompress it with a newer lz4"),  # noqa: E501
    (0, b"\x5d\0\0", "lzma", "an LZMA file in the legacy format", "unpack it, or recompress it with xz"),  # noqa: E501
    (0, b"\x1f\x9d", "compress", "a file packed by compress", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "zstd", "Zstandard within another compression", "unpack it once"),
    (0, b"\x1f\x8b\x08", "gzip", "gzip within another compression", "unpack it once"),
    (0, b"\xfd7zXZ\0", "xz", "xz within another compression", "unpack it once"),
    (0, b"%PDF-", "pdf", "a PDF document", _TO_TEXT),
    (0, b"%!PS-Adobe-", "postscript", "a PostScript document", _TO_TEXT),
    (0, b"{\\rtf1", "rtf", "an RTF document", _TO_TEXT),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "office", "an office document in the legacy format", _TO_TEXT),  # noqa: E501
    (0, b"AT&TFORM", "djvu", "a DjVu document", _TO_TEXT),
    (0, b"\x89PNG\r\n\x1a\n", "image", "a PNG image", _REMOVE),
    (0, b"\xff\xd8\xff", "image", "a JPEG image", _REMOVE),
    (0, b"GIF8", "image", "a GIF image", _REMOVE),
    (0, b"\x7fELF", "program", "a program", _REMOVE),
)  # fmt: skip
_LZMA_ALONE = re.compile(rb"\x5d\0\0[\0-\xff]{2}(?:\xff{8}|[\0-\xff]{5}\0{3})")

_WARC = re.compile(rb"(?:\A|\n)WARC/\d+\.\d+[ \t]*\r?\n", re.IGNORECASE)
_WARC_TYPE = re.compile(rb"(?:\A|\n)WARC-Type:[ \t]*([a-z]+)", re.IGNORECASE)
_ARC = re.compile(
    rb"(?:filedesc|https?|dns|ftp)://?\S+ \S+ \d{14} \S+ (?:\S+ - \S+ \d+ \S+ )?\d+\n",
    re.IGNORECASE,
)
_PATHS = re.compile(rb"(?:\S+\.(?:warc|wet|wat|arc|parquet)(?:\.gz)?\r?\n)+", re.IGNORECASE)
_HTML = re.compile(
    rb"\s*(?:<!--(?>.*?-->)\s*)*+<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE | re.DOTALL
)
_ONE_PER_LINE = "write one object per line: `jq -c . FILE > NEW.jsonl`"
_NEXT_OBJECT = re.compile(r"[ \t]*(,(?=\s*\{|[ \t]*\r?\n)|\{|\r(?=[\r \t]*\{))")
_WIDE = (
    (b"\xff\xfe\0\0", "UTF-32"), (b"\0\0\xfe\xff", "UTF-32"),
    (b"{\0\0\0", "UTF-32LE"), (b"\0\0\0{", "UTF-32BE"),
    (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"{\0", "UTF-16LE"), (b"\0{", "UTF-16BE"),
)  # fmt: skip
"""How JSON in wide encodings begins, with iconv's name for each."""
_PAGES = (b"request", b"response", b"resource", b"revisit")
_CONTROLS = bytes({*range(1, 0x20), 0x7F} - set(b"\t\n\v\f\r\x1b"))
_NOISE = 0.08
"""Largest share of control characters in text, except in UTF-16. Noise has 0.1."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What a file is instead: the ledger's reason, a description, and what to do.

    `readable`: it is a web archive, whose records the reader drops one by one with reasons.
    """

    reason: str
    description: str
    advice: str
    readable: bool = False


def refusal(path: Path, format: Format) -> str | None:
    """The error for a file that cannot be of this format; None if it may be. Reads only its first
    bytes.
    """
    other = mismatch(path, format)
    return (
        f"{path} is {other.description}, but format is {format}; {other.advice}" if other else None
    )


def mismatch(path: Path, format: Format) -> Mismatch | None:
    """What a file is, if it is certainly not of this format. An empty file fits any format."""
    with path.open("rb") as stream:
        raw = stream.read(HEAD_BYTES)
    if not raw:
        return None
    if len(raw) < lfs.MOST_BYTES and lfs.is_pointer(raw):
        return Mismatch("lfs_pointer", lfs.WHAT, lfs.ADVICE)
    if format == "parquet":
        return None if raw.startswith(b"PAR1") else _not_parquet(path)
    head = _decompressed(path)
    is_complete = len(head) < HEAD_BYTES and (head == raw)
    if binary := _binary(head, is_compressed=not raw.startswith(head[:8])):
        return binary
    if not raw.strip(b"\0"):
        return Mismatch("zeros", "nothing but zero bytes", f"{_REMOVE}, or download it again")
    match format:
        case "jsonl":
            return _archive(head) or _not_jsonl(head, is_complete)
        case "text":
            return _archive(head) or _noise(head)
        case _:
            return _other_archive(head, format) or _not_an_archive(head, is_complete)


def _not_parquet(path: Path) -> Mismatch:
    head = _decompressed(path)
    if binary := _binary(head, is_compressed=True):
        if binary.reason == "parquet":
            return Mismatch("packed", "a compressed Parquet file", _UNPACK)
        return binary
    if any(map(_is_object, _lines(head, is_complete=False)[:1])):
        return Mismatch("jsonl", "a JSONL file", "set format: jsonl")
    if other := _archive(head):
        return other
    return Mismatch("not_parquet", "no Parquet file", "name Parquet files")


def _decompressed(path: Path) -> bytes:
    """The first bytes of a file's content."""
    head = b""
    for chunk in chunks(path):
        head += chunk.data[:HEAD_BYTES] if isinstance(chunk, Chunk) else b""
        if len(head) >= HEAD_BYTES or not isinstance(chunk, Chunk):
            break
    return head[:HEAD_BYTES]


def _binary(head: bytes, is_compressed: bool) -> Mismatch | None:
    for at, magic, reason, description, advice in _BINARY:
        if not head.startswith(magic, at) or (reason == "lzma" and not _LZMA_ALONE.match(head)):
            continue
        if magic.isalnum() and is_text(head):
            continue  # words
        if is_compressed and "within" not in description:
            description += " in a compressed file"
        return Mismatch(reason, description, advice)
    return None


def _archive(head: bytes) -> Mismatch | None:
    """A web archive where lines are expected."""
    if _WARC.match(head):
        kind = "wet" if _first_type(head) == b"conversion" else "warc"
        return Mismatch(kind, f"a {kind.upper()} file", f"set format: {kind}")
    return _arc(head)


def _arc(head: bytes) -> Mismatch | None:
    if not _ARC.match(head):
        return None
    return Mismatch(
        "arc",
        "an ARC file, the predecessor of WARC",
        "convert it with `warcio recompress FILE NEW.warc.gz`",
    )


def _other_archive(head: bytes, format: Format) -> Mismatch | None:
    """A web archive of another kind than expected."""
    if not _WARC.search(head):
        return _arc(head)
    first = _first_type(head)
    if first == b"metadata" and b'"Envelope"' in head and b"application/json" in head:
        return Mismatch(
            "wat",
            "a WAT file, which holds only metadata",
            "use the matching WARC or WET file",
            True,
        )
    if format == "warc" and first == b"conversion":
        return Mismatch("wet", "a WET file", "set format: wet", True)
    if format == "wet" and first in _PAGES:
        return Mismatch("warc", "a WARC file of pages", "set format: warc", True)
    return None


def _not_an_archive(head: bytes, is_complete: bool) -> Mismatch | None:
    """Text of a known kind where a web archive is expected."""
    if _WARC.search(head) or not is_text(head):
        return None
    if _PATHS.match(head):
        return Mismatch(
            "paths", "a list of paths to archives", "download the files it lists, and name those"
        )
    if _HTML.match(head):
        return Mismatch("html", "an HTML page", _PACK_PAGES)
    if any(_is_object(line) for line in _lines(head, is_complete)[:1]):
        return Mismatch("jsonl", "a JSONL file", "set format: jsonl")
    if not is_complete:
        return None
    return Mismatch(
        "not_warc", "text without a WARC record", "name a web archive, or set format: text"
    )


def _first_type(head: bytes) -> bytes:
    types = (match[1].lower() for match in _WARC_TYPE.finditer(head))
    return next((kind for kind in types if kind != b"warcinfo"), b"")


def _not_jsonl(head: bytes, is_complete: bool) -> Mismatch | None:
    """A file in which no line is, or begins like, a JSON object in UTF-8."""
    for start, name in _WIDE:
        if head.startswith(start):
            return Mismatch(
                "utf16",
                f"text in {name}",
                f"JSONL must be UTF-8: convert it with `iconv -f {name} -t UTF-8`",
            )
    if _HTML.match(head):
        return Mismatch("html", "an HTML page", _PACK_PAGES)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    lines = _lines(start, is_complete)
    between = _between_objects(start)
    if any(map(_is_object, lines[:-1] if between == b"," else lines)):  # the last has no comma
        return None
    if re.match(rb"\[\s*\{", start):
        return Mismatch(
            "json", "one JSON array", "write one object per line: `jq -c '.[]' FILE > NEW.jsonl`"
        )
    if re.match(rb"\{[ \t]*\r?\n", start):
        return Mismatch("json", "JSON over several lines", _ONE_PER_LINE)
    if between:
        if between == b",":
            advice = "remove the commas: `sed 's/,[[:space:]]*$//' FILE > NEW.jsonl`"
            return Mismatch("json", "JSON with a comma after each object", advice)
        return Mismatch("json", "JSON with several objects on one line", _ONE_PER_LINE)
    if lines and not any(line.lstrip().startswith(b"{") for line in lines):
        description = "text without a JSON object" if is_text(head) else "not text"
        return Mismatch("not_jsonl", description, "name a JSONL file, or set format: text")
    if lines and not any(map(_is_utf8, lines)):
        advice = (
            "JSONL must be UTF-8: convert it with `iconv -f ITS_ENCODING -t UTF-8 FILE > NEW.jsonl`"
        )
        return Mismatch("charset", "JSON in an encoding other than UTF-8", advice)
    return None


def _between_objects(start: bytes) -> bytes:
    """The first byte after the first object and blanks, if another object is on the same line or
    a comma ends it; else b"".
    """
    try:
        text = start.decode("utf-8", "replace")
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return b""
    match = _NEXT_OBJECT.match(text, end) if isinstance(value, dict) else None
    return match[1][:1].encode() if match else b""


def _lines(head: bytes, is_complete: bool) -> list[bytes]:
    """Lines that are not blank, without the last one unless the file is complete."""
    lines = head.split(b"\n")
    return [line for line in (lines if is_complete else lines[:-1]) if line.strip()]


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_object(line: bytes) -> bool:
    if not line.lstrip().startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _noise(head: bytes) -> Mismatch | None:
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls <= _NOISE * len(head) or len(head) < 64 or _is_utf16(head):
        return None
    return Mismatch("not_text", "not text", _REMOVE)


def _is_utf16(head: bytes) -> bool:
    for name in ("utf-16-le", "utf-16-be"):
        with contextlib.suppress(UnicodeDecodeError):
            codecs.getincrementaldecoder(name)().decode(head)
            return True
    return False
