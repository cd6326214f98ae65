"""From the bytes of a web page to its text: its character set, then main-content extraction.

Time and memory are bounded by what the page holds, never by a clock, so that a slow machine writes
the same documents: resiliparse needs time quadratic in the nesting depth, in the number of <option>
and in the attributes of one tag (measured on 1 MB: 16,000 nested <div> 5 s, 95,000 <option> 150 s,
100,000 attributes 18 s); beyond the limits below a page is refused.
"""

from __future__ import annotations

import re

from resiliparse.parse.html import HTMLTree

from tasks.ingest.charset.choose import decode
from tasks.ingest.charset.labels import declared_in
from tasks.ingest.conserve import protect
from tasks.ingest.found import Unreadable
from tasks.ingest.main_text import main_text

MAX_DEPTH = 256
MAX_OPTIONS = 5_000
MAX_TAG_WORDS = 20_000

_TOO_DEEP = "* > " * MAX_DEPTH + ":first-child"  # whose siblings are as deep
_OPTION = re.compile(
    "<(?i:option)"
)  # "<" outside, as searching is quick for a pattern that begins with one letter
_LONG_TAG = 8_192
_WINDOW = _LONG_TAG // 2


def html_text(page: bytes, declared: str | None) -> str:
    """Main content of an HTML page as plain text. `declared` is the charset of the HTTP header.

    Raises Unreadable("charset") or Unreadable("page_too_complex").
    """
    return text_of(source_of(page, declared))


def source_of(page: bytes, declared: str | None) -> str:
    """The source of an HTML page, with the NUL characters that it may hold. Raises
    Unreadable("charset").
    """
    return decode(page, (declared, *declared_in(page)))


def text_of(html: str) -> str:
    """Main content of an HTML page's source as plain text. Raises
    Unreadable("page_too_complex").
    """
    html = html.replace("\0", "")
    if too_complex(html):
        raise Unreadable("page_too_complex")
    tree = HTMLTree.parse(protect(html))
    if tree.document is None or tree.document.query_selector(_TOO_DEEP) is not None:
        raise Unreadable("page_too_complex")
    return main_text(tree)


def too_complex(html: str) -> bool:
    """Whether a page has more <option> elements, or a tag with more words, than are parsed in
    reasonable time.
    """
    if html.count(">") > MAX_OPTIONS and len(_OPTION.findall(html)) > MAX_OPTIONS:
        return True
    if all(html.find(">", at, at + _WINDOW) >= 0 for at in range(0, len(html) - _WINDOW, _WINDOW)):
        return False  # a long tag would leave one of these windows without an end
    for segment in html.split(">"):
        tag = segment.find("<") if len(segment) > _LONG_TAG else -1
        if (
            tag >= 0
            and segment[tag + 1 : tag + 2] != "!"
            and len(segment[tag:].split()) > MAX_TAG_WORDS
        ):
            return True
    return False
