"""From the bytes of a web page to its text: its character set, then main-content extraction.

Time and memory are bounded by what the page holds, never by a clock, so that a slow machine writes
the same documents: resiliparse needs time quadratic in the nesting depth, in the number of <option>
and in the attributes of one tag (measured on 1 MB: 16,000 nested <div> 5 s, 95,000 <option> 150 s,
100,000 attributes 18 s); beyond the limits below a page is refused.
"""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
from resiliparse.parse.html import HTMLTree

from tasks.ingest.charset.choose import as_utf8
from tasks.ingest.extract.content import main_content
from tasks.ingest.extract.with_trafilatura import trafilatura_text
from tasks.ingest.found import Unreadable

Extractor = Literal["puna", "resiliparse", "trafilatura"]
MAX_DEPTH = 256
MAX_OPTIONS = 5_000
MAX_TAG_WORDS = 20_000

# whose siblings are as deep
_DEEP, _TOO_DEEP = ("* > " * depth + ":first-child" for depth in (64, MAX_DEPTH))
# "<" outside, as searching is quick for a pattern that begins with one letter
_OPTION = re.compile(b"<(?i:option)")
_LONG_TAG = 8_192
_WINDOW = _LONG_TAG // 2


def html_text(page: bytes, declared: str | None) -> str:
    """Main content of an HTML page as plain text. `declared` is the charset of the HTTP header.

    Raises Unreadable("charset") or Unreadable("page_too_complex").
    """
    return text_of(source_of(page, declared))


def source_of(page: bytes, declared: str | None) -> bytes:
    """The source of an HTML page in UTF-8, with the NUL characters that it may hold. Raises
    Unreadable("charset").

    It stays bytes until its text is found: most pages are in UTF-8, and a pattern runs through
    bytes faster.
    """
    return as_utf8(page, declared)


def text_of(html: bytes, extractor: Extractor = "puna") -> str:
    """Main content of an HTML page's source, in UTF-8, as plain text. "resiliparse" is what puna's
    extractor was called once. Raises Unreadable("page_too_complex").
    """
    page, tree = parsed(html)
    return trafilatura_text(page) if extractor == "trafilatura" else main_content(tree)


def parsed(html: bytes) -> tuple[str, HTMLTree]:
    """A page's source, in UTF-8, as text without NUL characters, and its tree. Raises
    Unreadable("page_too_complex").
    """
    html = html.replace(b"\0", b"")
    if too_complex(html):
        raise Unreadable("page_too_complex")
    page = html.decode(errors="replace")  # parse_from_bytes is slower
    tree = HTMLTree.parse(page)
    document = tree.document
    # shorter is faster
    if document is None or (document.query_selector(_DEEP) and document.query_selector(_TOO_DEEP)):
        raise Unreadable("page_too_complex")
    return page, tree


def too_complex(html: bytes) -> bool:
    """Whether a page has more <option> elements, or a tag with more words, than are parsed in
    reasonable time.
    """
    ends = np.count_nonzero(np.frombuffer(html, np.uint8) == ord(">"))  # faster than bytes.count
    if ends > MAX_OPTIONS and len(_OPTION.findall(html)) > MAX_OPTIONS:
        return True
    at = 0
    while at + _WINDOW < len(html):  # a long tag leaves one of these windows without an end
        if html.find(b">", at, at + _WINDOW) >= 0:
            at += _WINDOW
            continue
        end = html.find(b">", at + _WINDOW)
        at, segment = (
            end if end >= 0 else len(html),
            html[html.rfind(b">", 0, at) + 1 : end if end >= 0 else None],
        )
        tag = segment.find(b"<") if len(segment) > _LONG_TAG else -1
        if (
            tag >= 0
            and segment[tag + 1 : tag + 2] != b"!"
            and len(segment[tag:].split()) > MAX_TAG_WORDS
        ):
            return True
    return False
