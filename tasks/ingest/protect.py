"""Protects running text from what resiliparse's extraction would drop from the middle of it.

resiliparse judges every node of a page, even inside a paragraph. It drops text nodes of exactly
three bytes whose last is in 0x80-0xBE (meant for icon fonts, but this includes most single
characters from U+0800 on, and words such as "là"), a lone pilcrow, <time>, <label>, <button>, and
inline elements by words in their class, id, rel or itemprop. Dropping blocks is its job; dropping
words within a block is not.
"""

from __future__ import annotations

import re

from tasks.ingest.inline import keep_inline

_GUARD = b"\x01\x02"
"""Put before text nodes that could be dropped. Control characters, because documents have none, so
a page's own need not be kept; two of them, because one and a two-byte letter would again be three
bytes.
"""

_SHORT_NODE = re.compile(
    rb">([ \t\n\r\f\v]*+)(?!<[A-Za-z/!])"
    # or a reference
    rb"(?=(?:(?:[^<&]{2}[\x80-\xbf]|\xc2\xb6)[ \t\n\r\f\v]*+|[^<&]{0,2}&[^<]{0,70})(?:<|\Z)"
    rb"|<[\x80-\xff])"  # a "<" that does not begin a tag is text
)
_BEGINS_WITH_TAG = re.compile(rb"\s*<")
_SHOWN_GUARD = _GUARD.decode()
_ICON = re.compile(f"{_SHOWN_GUARD}(?:[\ue000-\uf8ff]|¶(?=</a>))?")


def protect(page: bytes) -> bytes:
    """Rewrite a page's source, in UTF-8, so that extraction keeps running text whole.

    Puts a guard before every text node short enough to be dropped; the rest is `keep_inline`.
    """
    if _GUARD[:1] in page:  # searching for one byte is ten times as fast as for two
        page = page.replace(_GUARD, b"")
    page = keep_inline(page)
    if not _BEGINS_WITH_TAG.match(page):
        page = _GUARD + page
    return _SHORT_NODE.sub(rb">\1" + _GUARD, page)


def restore(minimal_html: str) -> str:
    """Remove the guards from extracted HTML, and with them icons: guarded nodes that begin in the
    private use area, and pilcrows that link headings to themselves.
    """
    return _ICON.sub("", minimal_html) if _SHOWN_GUARD in minimal_html else minimal_html
