"""From the bytes of a web page to its text: declared and detected character sets, then main-content extraction.

Time and memory are bounded by what the page holds, never by a clock, so that a slow machine writes the same documents:
resiliparse needs time quadratic in the nesting depth, in the number of <option> and in the attributes of one tag
(measured on 1 MB: 16,000 nested <div> 5 s, 95,000 <option> 150 s, 100,000 attributes 18 s); beyond the limits below a
page is refused.
"""

from __future__ import annotations

import codecs
import re

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5
from resiliparse.parse.html import HTMLTree

from tasks.ingest.conserve import protect
from tasks.ingest.main_text import main_text

MAX_DEPTH = 256
MAX_OPTIONS = 5_000
MAX_TAG_WORDS = 20_000
MAX_REPLACED = 0.02
"""Share of characters that may be undecodable before a page counts as not being text in any known character set."""

_TOO_DEEP = "* > " * MAX_DEPTH + ":first-child"  # whose siblings are as deep
_OPTION = re.compile("<(?i:option)")  # "<" outside, as searching is quick for a pattern that begins with one letter
_META_CHARSET = re.compile(
    rb"<meta[^>]{0,512}?charset[ \t\r\n]*=[ \t\r\n]*[\"']?([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE
)
_META_WITHIN_BYTES = 4096
_LONG_TAG = 8_192
_WINDOW = _LONG_TAG // 2
_WIDER = {"gbk": "gb18030", "gb2312": "gb18030", "shift_jis": "cp932", "euc-kr": "cp949", "euc_kr": "cp949"}
"""What pages under these names really use; each contains the named one."""


class Unreadable(ValueError):
    """A page or record that gives no document; the message is the ledger's reason."""


def html_text(page: bytes, declared: str | None) -> str:
    """Main content of an HTML page as plain text. `declared` is the charset of the HTTP header.

    Raises Unreadable("charset") or Unreadable("page_too_complex").
    """
    meta = _META_CHARSET.search(page, 0, _META_WITHIN_BYTES)
    html = decode(page, (declared, meta[1].decode("ascii") if meta else None))
    if too_complex(html):
        raise Unreadable("page_too_complex")
    tree = HTMLTree.parse(protect(html))
    if tree.document is None or tree.document.query_selector(_TOO_DEEP) is not None:
        raise Unreadable("page_too_complex")
    return main_text(tree)


def too_complex(html: str) -> bool:
    """Whether a page has more <option> elements, or a tag with more words, than are parsed in reasonable time."""
    if html.count(">") > MAX_OPTIONS and len(_OPTION.findall(html)) > MAX_OPTIONS:
        return True
    if all(html.find(">", at, at + _WINDOW) >= 0 for at in range(0, len(html) - _WINDOW, _WINDOW)):
        return False  # a long tag would leave one of these windows without an end
    for segment in html.split(">"):
        tag = segment.find("<") if len(segment) > _LONG_TAG else -1
        if tag >= 0 and segment[tag + 1 : tag + 2] != "!" and len(segment[tag:].split()) > MAX_TAG_WORDS:
            return True
    return False


def decode(data: bytes, declared: tuple[str | None, ...] = ()) -> str:
    """Bytes to text: byte order mark, valid UTF-8, else the best of the `declared` charsets and the detected one.

    Valid UTF-8 with bytes above 127 is practically never anything else, whatever a header says. A character cut off at
    the end does not count. Unknown charset names are passed over. Raises Unreadable("charset").
    """
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if data.startswith(mark):
            return _accept(data[len(mark) :].decode(name, "replace"))
    names = [name for name in (_python_name(name) for name in declared) if name]
    if not any(name.startswith(("iso2022", "iso-2022", "utf-16", "utf-7")) for name in names):
        try:
            return _accept(codecs.utf_8_decode(data, "strict", False)[0])
        except UnicodeDecodeError:
            pass
    names += [name for name in (_python_name(detect_encoding(data)), "utf-8") if name]
    return _accept(min((data.decode(name, "replace") for name in dict.fromkeys(names)), key=_replaced))


def _accept(text: str) -> str:
    if _replaced(text) > MAX_REPLACED * len(text) + 1:
        raise Unreadable("charset")
    return text


def _replaced(text: str) -> int:
    return text.count("\ufffd") + text.count("\0")


def _python_name(name: str | None) -> str | None:
    """Python's codec for a charset as the WHATWG reads its name (iso-8859-1: windows-1252); None for an unknown one."""
    mapped = map_encoding_to_html5(name, fallback_utf8=False) if name else None
    return codecs.lookup(_WIDER.get(mapped, mapped)).name if mapped else None
