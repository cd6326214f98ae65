"""Extracts the text of a web page from its bytes: encoding detection, then main-content extraction.

Time and memory are bounded by limits on the page, never by a clock, so that a slow machine writes
the same documents. resiliparse takes time quadratic in the nesting depth, in the number of <option>
elements and in the attributes of one tag (measured on 1 MB: 16,000 nested <div> 5 s, 95,000
<option> 150 s, 100,000 attributes 18 s); pages beyond the limits below are refused.
"""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
from resiliparse.parse.html import HTMLTree

from tasks.ingest.charset.detect import as_utf8
from tasks.ingest.extract.content import content_of, cut
from tasks.ingest.extract.head import markup_of, read_head
from tasks.ingest.extract.metadata import Metadata, metadata_of
from tasks.ingest.extract.with_trafilatura import trafilatura_text
from tasks.ingest.raw_documents import Unreadable

Extractor = Literal["puna", "resiliparse", "trafilatura"]
"""Ours, its earlier name, and trafilatura's."""

MAX_DEPTH = 256
MAX_OPTIONS = 5_000
MAX_TAG_WORDS = 20_000

# Any child would do; looking only at first children is faster.
_TOO_DEEP = "* > " * MAX_DEPTH + ":first-child"
# "<" is outside the group, because searching for a pattern with a literal first letter is fast.
_OPTION = re.compile(b"<(?i:option)")
_LONG_TAG = 8_192
_WINDOW = _LONG_TAG // 2


def html_text(page: bytes, declared: str | None) -> str:
    """Main content of an HTML page as plain text. `declared` is the charset of the HTTP header.

    Raises Unreadable("charset") or Unreadable("page_too_complex").
    """
    return text_of(source_of(page, declared))


def source_of(page: bytes, declared: str | None) -> bytes:
    """The source of an HTML page in UTF-8, including any NUL characters. Raises
    Unreadable("charset").

    Bytes, not a string: most pages are in UTF-8 already, and patterns search bytes faster.
    """
    return as_utf8(page, declared)


def text_of(html: bytes, extractor: Extractor = "puna") -> str:
    """Main content of an HTML page's source in UTF-8, as plain text. Raises
    Unreadable("page_too_complex").
    """
    return read_page(html, extractor)[0]


def read_page(html: bytes, extractor: Extractor = "puna") -> tuple[str, Metadata]:
    """The main content of a page, and the title, author, date and language that it states.

    Raises Unreadable("page_too_complex").
    """
    page, tree = parsed(html)
    source = str(tree)
    markup = markup_of(source)
    head = read_head(markup)
    blocks = cut(markup, head)
    if blocks.depth() >= MAX_DEPTH and is_too_deep(tree):
        raise Unreadable("page_too_complex")
    text = trafilatura_text(page) if extractor == "trafilatura" else content_of(blocks, head)
    return text, metadata_of(source, head)


def is_too_deep(tree: HTMLTree) -> bool:
    """Whether elements are nested too deep; asked only where `Blocks.depth` does not rule it out,
    as it takes 0.3 ms.
    """
    return tree.document is not None and tree.document.query_selector(_TOO_DEEP) is not None


def parsed(html: bytes) -> tuple[str, HTMLTree]:
    """A page's source, in UTF-8, as text without NUL characters, and its tree. Raises
    Unreadable("page_too_complex").
    """
    html = html.replace(b"\0", b"")
    if too_complex(html):
        raise Unreadable("page_too_complex")
    page = html.decode(errors="replace")  # parse_from_bytes is slower
    tree = HTMLTree.parse(page)
    if tree.document is None:
        raise Unreadable("page_too_complex")
    return page, tree


def too_complex(html: bytes) -> bool:
    """Whether a page has too many <option> elements, or a tag with too many words, to be parsed in
    reasonable time.
    """
    source = np.frombuffer(html, np.uint8)
    if (
        np.count_nonzero(source == ord(">")) > MAX_OPTIONS  # faster than bytes.count
        and np.count_nonzero((source[:-1] == ord("<")) & (source[1:] | 32 == ord("o")))
        > MAX_OPTIONS
        and len(_OPTION.findall(html)) > MAX_OPTIONS
    ):
        return True
    at = 0
    while at + _WINDOW < len(html):  # a long tag leaves one of these windows without a ">"
        if html.find(b">", at, at + _WINDOW) >= 0:
            at += _WINDOW
            continue
        end = html.find(b">", at + _WINDOW)
        if end < 0:
            end = len(html)
        segment = html[html.rfind(b">", 0, at) + 1 : end]
        at = end
        tag = segment.find(b"<") if len(segment) > _LONG_TAG else -1
        is_tag = tag >= 0 and segment[tag + 1 : tag + 2] != b"!"
        if is_tag and len(segment[tag:].split()) > MAX_TAG_WORDS:
            return True
    return False
