"""What a file surely is, from its first bytes and those it decompresses to, and whether its format
can be read from it.

Only what is certain counts: a damaged archive, a bad first line, an unknown charset are for the
readers, which count what they cost. A file of another kind gives nothing but garbage; the plan
refuses it by name (`refusal`), and a stage that meets it all the same counts it as one failure
(`Mismatch.reason`), not as one for every line of garbage.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.ingest.codings import is_text
from tasks.ingest.decompress import Chunk, chunks

Format = Literal["warc", "wet", "jsonl", "text"]

_HEAD_BYTES = 1 << 16
_UNPACK = "unpack it, and name the files in it"
_TO_JSONL = "write it as JSONL (one JSON object a line), and set format: jsonl"
_TO_TEXT = "take the text out of it first, and set format: text"
_BINARY: tuple[tuple[int, bytes, str, str, str], ...] = (
    (0, b"PAR1", "parquet", "a Parquet file", _TO_JSONL),
    (0, b"ARROW1\0\0", "arrow", "an Arrow file", _TO_JSONL),
    (0, b"\xff\xff\xff\xff", "arrow", "an Arrow stream", _TO_JSONL),
    (0, b"Obj\x01", "avro", "an Avro file", _TO_JSONL),
    (0, b"ORC", "orc", "an ORC file", _TO_JSONL),
    (0, b"SQLite format 3\0", "sqlite", "an SQLite database", _TO_JSONL),
    (0, b"\x89HDF\r\n\x1a\n", "hdf5", "an HDF5 file", _TO_JSONL),
    (0, b"\x93NUMPY", "numpy", "a NumPy array", _TO_JSONL),
    (0, b"PK\x03\x04", "zip", "a ZIP archive (or an office document or e-book in one)", _UNPACK),
    (0, b"PK\x05\x06", "zip", "an empty ZIP archive", "take it out"),
    (257, b"ustar", "tar", "a tar archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "7z", "a 7-Zip archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "rar", "a RAR archive", _UNPACK),
    (0, b"\x02\x21\x4c\x18", "lz4", "an LZ4 file of the legacy format", "unpack it, or pack it anew with a later lz4"),  # noqa: E501
    (0, b"\x5d\0\0", "lzma", "an LZMA file of the old format", "unpack it, or pack it again with xz"),  # noqa: E501
    (0, b"\x1f\x9d", "compress", "a file packed by compress", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "zstd", "Zstandard within another compression", "unpack it once"),
    (0, b"\x1f\x8b\x08", "gzip", "gzip within another compression", "unpack it once"),
    (0, b"\xfd7zXZ\0", "xz", "xz within another compression", "unpack it once"),
    (0, b"%PDF-", "pdf", "a PDF document", _TO_TEXT),
    (0, b"%!PS-Adobe-", "postscript", "a PostScript document", _TO_TEXT),
    (0, b"{\\rtf1", "rtf", "an RTF document", _TO_TEXT),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "office", "an office document of the old format", _TO_TEXT),  # noqa: E501
    (0, b"AT&TFORM", "djvu", "a DjVu document", _TO_TEXT),
    (0, b"\x89PNG\r\n\x1a\n", "image", "a PNG image", "take it out"),
    (0, b"\xff\xd8\xff", "image", "a JPEG image", "take it out"),
    (0, b"GIF8", "image", "a GIF image", "take it out"),
    (0, b"\x7fELF", "program", "a program", "take it out"),
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
_ONE_A_LINE = "write one object a line: `jq -c . FILE > NEW.jsonl`"
_NEXT_OBJECT = re.compile(r"[ \t]*(,(?=\s*\{|[ \t]*\r?\n)|\{|\r(?=[\r \t]*\{))")
_WIDE = (
    (b"\xff\xfe\0\0", "UTF-32"), (b"\0\0\xfe\xff", "UTF-32"),
    (b"{\0\0\0", "UTF-32LE"), (b"\0\0\0{", "UTF-32BE"),
    (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"{\0", "UTF-16LE"), (b"\0{", "UTF-16BE"),
)  # fmt: skip
"""How JSON in wide encodings begins, with iconv's name of it."""
_PAGES = (b"request", b"response", b"resource", b"revisit")
_CONTROLS = bytes({*range(1, 0x20), 0x7F} - set(b"\t\n\v\f\r\x1b"))
_NOISE = 0.08
"""Share of control characters beyond which bytes are in no charset but, if it decodes, UTF-16;
noise has 0.1.
"""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What a file is instead: the ledger's reason, words for it, and what to do.

    `readable`: it is a web archive, whose records the reader drops one by one with their own
    reasons.
    """

    reason: str
    what: str
    advice: str
    readable: bool = False


def refusal(path: Path, format: Format) -> str | None:
    """Why a file cannot be of a format, in words, or None where it may be. Reads the first bytes
    only.
    """
    found = mismatch(path, format)
    return f"{path} is {found.what}, and format is {format}; {found.advice}" if found else None


def mismatch(path: Path, format: Format) -> Mismatch | None:
    """What a file is that is surely not of a format. An empty file is of any."""
    with path.open("rb") as stream:
        raw = stream.read(_HEAD_BYTES)
    if not raw:
        return None
    head = _decompressed(path)
    is_whole = len(head) < _HEAD_BYTES and (head == raw)
    if found := _binary(head, packed=not raw.startswith(head[:8])):
        return found
    if not raw.strip(b"\0"):
        return Mismatch("zeros", "nothing but zero bytes", "take it out, or get it anew")
    match format:
        case "jsonl":
            return _archive(head) or _no_jsonl(head, is_whole)
        case "text":
            return _archive(head) or _noise(head)
        case _:
            return _other_archive(head, format) or _no_archive(head, is_whole)


def _decompressed(path: Path) -> bytes:
    """The first bytes of what a file holds."""
    head = b""
    for chunk in chunks(path):
        head += chunk.data[:_HEAD_BYTES] if isinstance(chunk, Chunk) else b""
        if len(head) >= _HEAD_BYTES or not isinstance(chunk, Chunk):
            break
    return head[:_HEAD_BYTES]


def _binary(head: bytes, packed: bool) -> Mismatch | None:
    for at, magic, reason, what, advice in _BINARY:
        if not head.startswith(magic, at) or (reason == "lzma" and not _LZMA_ALONE.match(head)):
            continue
        if magic.isalnum() and is_text(head):
            continue  # words
        return Mismatch(
            reason, what + " in a compressed file" * (packed and "within" not in what), advice
        )
    return None


def _archive(head: bytes) -> Mismatch | None:
    """A web archive where lines are wanted."""
    if _WARC.match(head):
        kind = "wet" if _first_type(head) == b"conversion" else "warc"
        return Mismatch(kind, f"a {kind.upper()} file", f"set format: {kind}")
    return _arc(head)


def _arc(head: bytes) -> Mismatch | None:
    if not _ARC.match(head):
        return None
    return Mismatch(
        "arc",
        "an ARC file, which WARC replaced",
        "convert it with `warcio recompress FILE NEW.warc.gz`",
    )


def _other_archive(head: bytes, format: Format) -> Mismatch | None:
    """A web archive of another kind than wanted."""
    if not _WARC.search(head):
        return _arc(head)
    first = _first_type(head)
    if first == b"metadata" and b'"Envelope"' in head and b"application/json" in head:
        return Mismatch(
            "wat",
            "a WAT file, which holds metadata only",
            "name the WARC or WET file beside it",
            True,
        )
    if format == "warc" and first == b"conversion":
        return Mismatch("wet", "a WET file", "set format: wet", True)
    if format == "wet" and first in _PAGES:
        return Mismatch("warc", "a WARC file of pages", "set format: warc", True)
    return None


def _no_archive(head: bytes, is_whole: bool) -> Mismatch | None:
    """Text of a known kind where a web archive is wanted."""
    if _WARC.search(head) or not is_text(head):
        return None
    if _PATHS.match(head):
        return Mismatch(
            "paths", "a list of paths to archives", "download the files it lists, and name them"
        )
    if _HTML.match(head):
        return Mismatch(
            "html", "an HTML page", "pages are read from web archives; pack them into a WARC file"
        )
    if any(_is_object(line) for line in _lines(head, is_whole)[:1]):
        return Mismatch("jsonl", "a JSONL file", "set format: jsonl")
    if not is_whole:
        return None
    return Mismatch(
        "not_warc", "text without a WARC record", "name a web archive, or set format: text"
    )


def _first_type(head: bytes) -> bytes:
    types = (found[1].lower() for found in _WARC_TYPE.finditer(head))
    return next((kind for kind in types if kind != b"warcinfo"), b"")


def _no_jsonl(head: bytes, is_whole: bool) -> Mismatch | None:
    """Anything in which no line is, or begins like, a JSON object in UTF-8."""
    for start, name in _WIDE:
        if head.startswith(start):
            return Mismatch(
                "utf16",
                f"text in {name}",
                f"JSONL is in UTF-8: convert it with `iconv -f {name} -t UTF-8`",
            )
    if _HTML.match(head):
        return Mismatch(
            "html", "an HTML page", "pages are read from web archives; pack them into a WARC file"
        )
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    lines = _lines(start, is_whole)
    between = _between_objects(start)
    if any(map(_is_object, lines[:-1] if between == b"," else lines)):  # the last has no comma
        return None
    if re.match(rb"\[\s*\{", start):
        return Mismatch(
            "json", "one JSON array", "write one object a line: `jq -c '.[]' FILE > NEW.jsonl`"
        )
    if re.match(rb"\{[ \t]*\r?\n", start):
        return Mismatch("json", "JSON over several lines", _ONE_A_LINE)
    if between:
        if between == b",":
            advice = "take the commas away: `sed 's/,[[:space:]]*$//' FILE > NEW.jsonl`"
            return Mismatch("json", "JSON with a comma after each object", advice)
        return Mismatch("json", "JSON with several objects on one line", _ONE_A_LINE)
    if lines and not any(line.lstrip().startswith(b"{") for line in lines):
        what = "text without a JSON object" if is_text(head) else "no text"
        return Mismatch("not_jsonl", what, "name a JSONL file, or set format: text")
    if lines and not any(map(_is_utf8, lines)):
        advice = (
            "JSONL is in UTF-8: convert it with `iconv -f ITS_ENCODING -t UTF-8 FILE > NEW.jsonl`"
        )
        return Mismatch("charset", "JSON in another encoding than UTF-8", advice)
    return None


def _between_objects(start: bytes) -> bytes:
    """The byte after the first object, blanks aside, where another object stands on the same
    line; else nothing.
    """
    try:
        text = start.decode("utf-8", "replace")
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return b""
    found = _NEXT_OBJECT.match(text, end) if isinstance(value, dict) else None
    return found[1][:1].encode() if found else b""


def _lines(head: bytes, is_whole: bool) -> list[bytes]:
    """Lines that are not blank, without a last one that the head may have cut."""
    lines = head.split(b"\n")
    return [line for line in (lines if is_whole else lines[:-1]) if line.strip()]


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
    return Mismatch("not_text", "no text", "take it out")


def _is_utf16(head: bytes) -> bool:
    for name in ("utf-16-le", "utf-16-be"):
        with contextlib.suppress(UnicodeDecodeError):
            codecs.getincrementaldecoder(name)().decode(head)
            return True
    return False
