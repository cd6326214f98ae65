"""Classifies a stored body as an HTML page, plain text or neither, by its Content-Type and content.

The header is parsed as in the WHATWG's MIME Sniffing standard, tolerating common mistakes. The body
may then overrule it, but only where it is certain: HTML sent as text, as an unknown type or without
a type is HTML; data and programs (JSON, JavaScript, CSS, feeds, other XML, files with a magic
number) are not pages, whatever type was sent.
"""

from __future__ import annotations

import json
import re
from typing import Literal

from tasks.ingest.markup import ELEMENT, is_mostly_marked_up, is_unmarked_code

Kind = Literal["html", "text"]

_TYPE = re.compile(r"[ \t\"']*([a-z0-9!#$&^_.+*-]+/[a-z0-9!#$&^_.+*-]+)")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([^\s\"';,]{1,40})", re.IGNORECASE)
_HTML_TYPES = ("text/html", "application/xhtml+xml")
_UNKNOWN_TYPES = (
    "",
    "*/*",
    "unknown/unknown",
    "application/unknown",
    "application/octet-stream",
    "binary/octet-stream",
)
_XML_TYPES = ("text/xml", "application/xml")

_SNIFFED_BYTES = 1 << 14
_TAIL_BYTES = 256
_BLANK = b"\t\n\f\r "
_COMMENT = re.compile(rb"\s*(?:<!--.*?-->|<\?(?!php).*?(?:\?>|>))", re.DOTALL)
"""A comment or processing instruction, which may come before a document's first element."""
_DOCUMENT = re.compile(rb"<(?:!doctype\s+html|html|head|body)(?=[\s>])", re.IGNORECASE)
_DOCUMENT_AT_LINE = re.compile(
    rb"(?:^|[\r\n])[ \t]*<(?:!doctype\s+html|html)(?=[\s>])", re.IGNORECASE
)
_DOCUMENT_END = re.compile(rb"</(?:html|body)\s*>", re.IGNORECASE)

_DOCTYPE = re.compile(rb"\s*<!doctype[^>\[]{0,300}(?:\[.*?\]\s*)?>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(rb"</?[A-Za-z][^<>]*>")
_MARKED_UP_LINES = 0.3

_FEED = re.compile(
    rb"<(?:rss|feed|rdf:rdf|urlset|sitemapindex|opml|svg|kml|gpx|wsdl:|soap)(?=[\s>:])",
    re.IGNORECASE,
)
_XML = re.compile(rb"\s*<\?xml\s", re.IGNORECASE)
_ROOT = re.compile(rb"<([A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)")
_NAMESPACE = re.compile(rb"<[^<>]*\sxmlns(?::[\w.-]+)?\s*=")
_PAGE_ROOTS = (b"html", b"wml")
_JSON_GUARD = re.compile(rb"\)\]\}'?,?\s*|(?:while\s*\(1\)|for\s*\(;;\))\s*;\s*")
_JSON_BEGIN = re.compile(rb"[\[{]\s*(?:[\[{]\s*){0,4}\"(?:[^\"\\\r\n]|\\.){0,200}\"\s*:")
_SLASHED = re.compile(rb"\s*(?:/\*.*?\*/|//[^\r\n]*)", re.DOTALL)
_CALL = re.compile(rb"[\w$.]{1,80}\s*\(")
_CALL_END = re.compile(rb"\)\s*;?\s*\Z")
_SCRIPT_BEGIN = re.compile(
    rb"[\"']use strict[\"']|(?:var|let|const)\s+[\w$]+\s*=|var\s+[\w$]+\s*[;,]|(?:async\s+)?function\s*[\w$]*\s*\("  # noqa: E501
    rb"|[!+;]*\(?\s*function\s*\(|\(\s*\(\s*[\w$,\s]*\)\s*=>|(?:try|if\s*\([^<>\r\n]{1,200}\))\s*\{"
    rb"|(?:window|document|self|jQuery|\$)(?:\.[\w$]+|\(|\[)[^<>\r\n]{0,200}[=({;]|(?:define|require)\(\s*(?:[\[\"']|function)"
    rb"|import\s*[\w{*$][^<>\r\n;]{0,200}from\s*[\"']|export\s+(?:default|const|function|class|\{)"
)
_SCRIPT_END = (b";", b"}", b")", b"*/")
_STYLED = rb"(?:html|body|div|span|p|a|h[1-6]|ul|ol|li|table|td|th|tr|img|input|button|form|header|footer|nav|main|section)"  # noqa: E501
_STYLE_BEGIN = re.compile(
    rb"@(?:charset|import|namespace)\s+[\"'u]"
    rb"|@(?:media|font-face|keyframes|-webkit-keyframes|supports|layer|page)\b[^{}<>;]{0,300}\{"
    rb"|(?:[.#*:\[]|" + _STYLED + rb"(?:\s+" + _STYLED + rb")*\s*(?=[.#:,>+~\[{]))"
    rb"[^{}<;@]{0,400}\{\s*(?:/\*[^{}]*?\*/\s*)?-{0,2}[a-z][a-z-]*\s*:\s*[^{}<>]{1,400}[;}]",
    re.IGNORECASE,
)
_STYLE_END = (b"}", b"*/", b";")
_CODE_BYTES_PER_MARK = 400
"""Code has semicolons and braces more often than this, prose much more rarely."""
_TAGS = re.compile(
    rb"<(?:!doctype|html|head|body|div|p|br|a|table|span|h[1-6]|title)(?=[\s/>])", re.IGNORECASE
)
_MAGIC = (
    b"%PDF-", b"%!PS-Adobe-", b"{\\rtf", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"\0\0\1\0",
    b"PK\x03\x04", b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c", b"\xfd7zXZ\0", b"\x7fELF",
    b"\xca\xfe\xba\xbe\0", b"\0asm",
    b"OggS\0", b"ID3\3\0", b"ID3\4\0", b"\x1a\x45\xdf\xa3", b"fLaC\0", b"wOFF\0", b"wOF2\0",
    b"\0\1\0\0\0", b"OTTO\0",
)  # fmt: skip
"""First bytes of document, image, archive, program, audio and font files."""


def declared(header: str) -> tuple[str, str | None]:
    """(type, charset) of a Content-Type header.

    The type is in lower case: the last valid one of several, "" if there is none. It may be in
    quotes and lack a semicolon. The charset is the first one given.
    """
    types = [match[1] for match in map(_TYPE.match, header.lower().split(",")) if match]
    specific = [type_ for type_ in types if type_ != "*/*"] or types
    charset = _CHARSET.search(header)
    return (specific[-1] if specific else ""), (charset[1] if charset else None)


def may_be_page(type_: str) -> bool:
    """Whether a body of this declared type is worth examining."""
    return type_ in (*_HTML_TYPES, *_UNKNOWN_TYPES, *_XML_TYPES, "text/plain") or "html" in type_


def kind_of(type_: str, body: bytes) -> Kind | None:
    """The kind of a body with this declared type; None if it is neither a page nor text."""
    head = _head(body)
    if _is_html(head, body):
        return "html"
    if type_ not in (*_HTML_TYPES, "text/plain") or _is_data(head, body):
        return None
    tail = _tail(body).rstrip(_BLANK)
    if type_ in _HTML_TYPES:
        return None if is_unmarked_code(head, tail) and not _DOCUMENT.search(body) else "html"
    marked_up = (
        _is_marked_up(head, tail) if _begins_as_html(head) else is_mostly_marked_up(head, tail)
    )
    return "html" if marked_up else "text"


def _head(body: bytes) -> bytes:
    """The first bytes without byte order mark and leading blanks; UTF-16 with its NULs removed,
    because markup is mostly ASCII.
    """
    head = body[:_SNIFFED_BYTES]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or head[:64].count(0) >= 16:
        head = head.removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff").replace(b"\0", b"")
    return head.removeprefix(b"\xef\xbb\xbf").lstrip(_BLANK)


def _is_html(head: bytes, body: bytes) -> bool:
    """Whether this is certainly an HTML document: it begins like one, or begins like one after a
    few lines and also ends like one.
    """
    if _DOCUMENT.match(_after(_COMMENT, head)):
        return True
    return (
        _DOCUMENT_AT_LINE.search(head, 0, 1024) is not None
        and _DOCUMENT_END.search(_tail(body)) is not None
    )


def _begins_as_html(head: bytes) -> bool:
    start = _after(_COMMENT, head)
    return start.startswith(b"<!--") or ELEMENT.match(start) is not None


def _is_marked_up(head: bytes, tail: bytes) -> bool:
    """Whether the markup continues to the end. Markdown may begin with an element too, but its line
    ends are significant, so it must not be read as HTML.
    """
    if tail.endswith(b">"):
        return True
    lines = [line for line in head.split(b"\n") if line.strip()]
    return sum(_TAG.search(line) is not None for line in lines) >= _MARKED_UP_LINES * len(lines)


def _is_data(head: bytes, body: bytes) -> bool:
    """Whether this is certainly JSON, a script, a style sheet, XML or has a magic number."""
    return (
        head.startswith(_MAGIC)
        or _is_xml(head, _tail(body).rstrip(_BLANK))
        or _is_json(head, body)
        or _is_code(head, body)
    )


def _is_xml(head: bytes, tail: bytes) -> bool:
    start = _after(_DOCTYPE, _after(_COMMENT, head))
    if _FEED.match(start):
        return True
    root = _ROOT.match(start)
    if root is None or root[2].lower() in _PAGE_ROOTS or ELEMENT.match(start):
        return False
    if _XML.match(head) is not None:
        return True
    ends = tail.endswith(b"</" + (root[1] or b"") + root[2] + b">")
    return ends and (
        root[1] is not None or _NAMESPACE.match(start) is not None or ELEMENT.search(start) is None
    )


def _is_json(head: bytes, body: bytes) -> bool:
    guard = _JSON_GUARD.match(head)
    head = head[guard.end() :] if guard else head
    if head[:1] not in (b"{", b"["):
        return False
    text = body.removeprefix(b"\xef\xbb\xbf").lstrip(_BLANK)
    try:
        json.loads(text[guard.end() :] if guard else text)
        return True
    except (ValueError, RecursionError):  # truncated, several values, or in another charset
        return _JSON_BEGIN.match(head) is not None and not _DOCUMENT.search(body)


def _is_code(head: bytes, body: bytes) -> bool:
    start = _after(_SLASHED, head)
    end = _tail(body).rstrip(_BLANK + b"\0")
    if _is_call_with_data(start, body):
        return True
    if (body.count(b";") + body.count(b"{")) * _CODE_BYTES_PER_MARK < len(body):
        return False
    if _SCRIPT_BEGIN.match(start):
        return end.endswith(_SCRIPT_END) and not _DOCUMENT.search(body)
    return (
        _STYLE_BEGIN.match(start) is not None
        and end.endswith(_STYLE_END)
        and not _TAGS.search(body)
    )


def _is_call_with_data(start: bytes, body: bytes) -> bool:
    """Whether this is JSONP: comments, then one function call with JSON as its argument."""
    call, end = _CALL.match(start), _CALL_END.search(body, max(len(body) - _TAIL_BYTES, 0))
    if call is None or end is None or start[call.end() :].lstrip()[:1] not in (b"{", b"["):
        return False
    begin = body.find(call[0])
    try:
        json.loads(body[begin + len(call[0]) : end.start()])
    except (ValueError, RecursionError):
        return False
    return True


def _after(skipped: re.Pattern[bytes], head: bytes) -> bytes:
    """The rest of `head` after all consecutive matches of `skipped`, without leading blanks."""
    at = 0
    while match := skipped.match(head, at):
        at = match.end()
    return head[at:].lstrip(_BLANK)


def _tail(body: bytes) -> bytes:
    return body[-_TAIL_BYTES:].replace(b"\0", b"")
