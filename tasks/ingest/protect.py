"""What resiliparse would take out of the midst of running text is made safe before it extracts.

resiliparse judges every node of a page, those inside a paragraph too. It drops a text node of
exactly three bytes whose last lies in 0x80-0xBE (meant for icon fonts: most single characters from
U+0800 on, and a letter such as the "à" of "là" after one ASCII character), a lone pilcrow, <time>,
<label>, <button>, and inline elements by the words in their class, id, rel or itemprop. Blocks are
its to judge; what stands between the words of one is not.
"""

from __future__ import annotations

import re

from tasks.ingest.inline import keep_inline

_GUARD = b"\x01\x02"
"""Put before text nodes that could be dropped: control characters, which documents hold none of,
so that a page's own need not be kept; two, as one and a letter of two bytes are three.
"""

_SHORT_NODE = re.compile(
    rb">([ \t\n\r\f\v]*+)(?!<[A-Za-z/!])"
    # or a reference
    rb"(?=(?:(?:[^<&]{2}[\x80-\xbf]|\xc2\xb6)[ \t\n\r\f\v]*+|[^<&]{0,2}&[^<]{0,70})(?:<|\Z)"
    rb"|<[\x80-\xff])"  # "<" that begins no tag is text
)
_BEGINS_WITH_TAG = re.compile(rb"\s*<")
_SHOWN_GUARD = _GUARD.decode()
_ICON = re.compile(f"{_SHOWN_GUARD}(?:[\ue000-\uf8ff]|¶(?=</a>))?")


def protect(page: bytes) -> bytes:
    """The source of a page, in UTF-8, with a guard before every text node that is short enough
    to be dropped, with a space between a word and the block that follows it, as the block may be
    dropped and the next word then touch the first, and with inline elements that are not judged
    where they stand in running text.
    """
    if _GUARD[:1] in page:  # one byte is found ten times as fast as two
        page = page.replace(_GUARD, b"")
    page = keep_inline(page)
    if not _BEGINS_WITH_TAG.match(page):
        page = _GUARD + page
    return _SHORT_NODE.sub(rb">\1" + _GUARD, page)


def restore(minimal_html: str) -> str:
    """What was extracted, without the guards and without icons: a guarded node that begins in
    the private use area, or the pilcrow that is a heading's link to itself.
    """
    return _ICON.sub("", minimal_html) if _SHOWN_GUARD in minimal_html else minimal_html
