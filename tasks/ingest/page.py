"""From the bytes of a web page to its text: its character set, then main-content extraction.

Time and memory are bounded by what the page holds, never by a clock, so that a slow machine writes the same documents:
resiliparse needs time quadratic in the nesting depth, in the number of <option> and in the attributes of one tag
(measured on 1 MB: 16,000 nested <div> 5 s, 95,000 <option> 150 s, 100,000 attributes 18 s); beyond the limits below a
page is refused.
"""

from __future__ import annotations

import re

import numpy as np
from resiliparse.parse.html import HTMLTree

from tasks.ingest.charset.choose import decode as decode
from tasks.ingest.charset.labels import declared_in
from tasks.ingest.found import Unreadable as Unreadable
from tasks.ingest.main_text import main_text

MAX_DEPTH = 256
MAX_OPTIONS = 5_000
MAX_TAG_WORDS = 20_000

_TOO_DEEP = "* > " * MAX_DEPTH + "*"
_OPTION = re.compile(b"<option", re.IGNORECASE)
_LONG_TAG_BYTES = 8_192


def html_text(page: bytes, declared: str | None) -> str:
    """Main content of an HTML page as plain text. `declared` is the charset of the HTTP header.

    Raises Unreadable("charset") or Unreadable("page_too_complex").
    """
    html = decode(page, (declared, *declared_in(page))).replace("\0", "")
    if too_complex(html):
        raise Unreadable("page_too_complex")
    tree = HTMLTree.parse(html)
    if tree.document is None or tree.document.query_selector(_TOO_DEEP) is not None:
        raise Unreadable("page_too_complex")
    return main_text(tree)


def too_complex(html: str) -> bool:
    """Whether a page has more <option> elements, or a tag with more words, than are parsed in reasonable time."""
    data = html.encode(errors="replace")
    if data.count(b"<o") + data.count(b"<O") > MAX_OPTIONS and len(_OPTION.findall(data)) > MAX_OPTIONS:
        return True
    ends = np.flatnonzero(np.frombuffer(data + b">", np.uint8) == ord(">"))
    for index in np.flatnonzero(np.diff(ends, prepend=-1) > _LONG_TAG_BYTES).tolist():
        segment = data[ends[index - 1] + 1 if index else 0 : ends[index]]
        tag = segment.find(b"<")
        if tag >= 0 and segment[tag + 1 : tag + 2] != b"!" and len(segment[tag:].split()) > MAX_TAG_WORDS:
            return True
    return False
