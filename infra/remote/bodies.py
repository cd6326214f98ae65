"""Whether the first bytes of a body are of the object that was asked for, or of a page that a
server, a proxy or a login sent in its place.
"""

from __future__ import annotations

import re
import zlib

HEAD_BYTES = 1024
"""As much of a body as is looked at."""

_MARKS: dict[str, tuple[bytes, ...]] = {
    ".gz": (b"\x1f\x8b",),
    ".tgz": (b"\x1f\x8b",),
    ".zst": (b"\x28\xb5\x2f\xfd", *(bytes((0x50 + low, 0x2A, 0x4D, 0x18)) for low in range(16))),
    ".bz2": (b"BZh",),
    ".xz": (b"\xfd7zXZ\0",),
    ".lz4": (b"\x04\x22\x4d\x18", b"\x02\x21\x4c\x18"),
    ".parquet": (b"PAR1",),
    ".zip": (b"PK",),
}
"""Suffix -> how such a file begins."""

_BINARY = (".safetensors", ".bin", ".model", ".ftz", ".arpa", ".npy", ".arrow")
_MARKUP = (".html", ".htm", ".xhtml", ".xml", ".svg", ".txt.html")
_HTML = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)[\s>]", re.I | re.S)
_XML = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<Error>|\s*<\?xml\s")
_JSON = re.compile(rb"""\s*\{\s*"(?:error|errors|message|detail|code|status)"\s*:""", re.I)


def foreign(name: str, head: bytes, content_type: str = "") -> str:
    """What these first bytes are where they are surely not those of a file of that name ("an HTML
    page"); "" otherwise.
    """
    low = name.lower()
    if low.endswith(_MARKUP) or not head:
        return ""
    start = head.removeprefix(b"\xef\xbb\xbf")[:HEAD_BYTES]
    if low.endswith(".gz") and start.startswith(_MARKS[".gz"]):
        # a page that was compressed on its way looks like the archive that was asked for
        return foreign(low.removesuffix(".gz"), _unpacked(head), content_type)
    if any(low.endswith(suffix) and start.startswith(marks) for suffix, marks in _MARKS.items()):
        return ""
    page = content_type.lower().startswith("text/html") and start.lstrip().startswith(b"<")
    if page or _HTML.match(start):
        return "an HTML page, perhaps of a login"
    if _XML.match(start):
        code = re.search(rb"<Code>\s*(\w+)", start)
        return f"an XML error ({code[1].decode()})" if code else "an XML document"
    if low.endswith((*_MARKS, *_BINARY)) and _JSON.match(start):
        return "a JSON error"
    return ""


def _unpacked(head: bytes) -> bytes:
    """What the first bytes of a gzip file decompress to; nothing where they are damaged, which the
    reader counts.
    """
    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def surely_a_page(name: str, content_type: str) -> bool:
    """Whether an answer of that type cannot be a file of that name, before its body is read."""
    return content_type.lower().startswith(("text/html", "application/xhtml")) and (
        name.lower().endswith((*_MARKS, *_BINARY, ".jsonl"))
    )
