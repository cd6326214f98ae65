"""What resiliparse would take out of the midst of running text is made safe before it extracts.

resiliparse judges every node of a page, those inside a paragraph too. It drops a text node of
exactly three bytes whose last lies in 0x80-0xBE (meant for icon fonts: most single characters from
U+0800 on, and a letter such as the "à" of "là" after one ASCII character), a lone pilcrow, <time>,
<label>, <button>, and inline elements by the words in their class, id, rel or itemprop. Blocks are
its to judge; what stands between the words of one is not.
"""

from __future__ import annotations

import re
from typing import Literal

from resiliparse.parse.html import ElementNode, HTMLTree, Node, TextNode

_GUARD = "\x01\x02"
"""Put before text nodes that could be dropped: control characters, which documents hold none of, so
that a page's own need not be kept; two, as one and a letter of two bytes are three; ASCII, so that
a page of ASCII stays one (faster).
"""

_SPACE = r"[ \t\n\r\f\v\0]*+"  # NUL: the parser drops it
_SHORT_NODE = re.compile(
    # or a reference
    rf">({_SPACE})(?!<[A-Za-z/!])(?=[^<&]{{0,2}}(?:[^\0-\x7f]{_SPACE}|&[^<]{{0,70}})(?:<|\Z)"
    r"|<[^\0-\x7f])"  # "<" that begins no tag is text
)
_BEGINS_WITH_TAG = re.compile(r"\s*<")
_WORDS_PART = re.compile(
    r"<(?=[abdfhlmnopstuxABDFHLMNOPSTUX]|/[sS][uUeE]|/[lL][eE]|/[xX])(?:(?<=[^\s>]<)(?=(?i:div|p|ul|ol|dl|table|section"
    r"|article|aside|figure|nav|form|header|footer|noscript|h[1-6]|blockquote|details|fieldset|main|dialog)\b)"
    r"|(?=/?(?i:summary|legend|search|xmp)\b))"
)
"""Between a word and a block, which may be dropped; around blocks that resiliparse takes for inline
elements.
"""

_ICON = re.compile(f"{_GUARD}(?:[\ue000-\uf8ff]|¶(?=</a>))?")

_DROPPED_TAGS = ("time", "label", "button")
_JUDGED = frozenset(
    (
        "class",
        "id",
        "rel",
        "itemprop",
        "aria-expanded",
        "data-ad",
        "data-advertisement",
        "data-text-ad",
    )
)
_IN_PARAGRAPHS = ", ".join(
    f"p {inside}" for inside in (*_DROPPED_TAGS, "[class]", "[rel]", "[itemprop]")
)
# each selector more costs 1 % of the time
_ELSEWHERE = "time, li > span[class], td > span[class], dd > span[class]"
_JUDGED_CLASS = re.compile(
    r"ad|sponsor|promoted|paid|banner|donate|logo|spinner|view-count|skip|scroll|next|prev|permalink|pagina|log|sign"
    r"|account|user|meta|by|date|author|submitted|post|entry|article|content|story|section|social|shar|syndicat|letter"
    r"|follow|mail|like|feedback|engagement|facebook|twitter|subscribe|wa|jp|expandable|collapsed",
    re.IGNORECASE,
)
"""Whatever resiliparse may match, and more: elements without any of these need no second look."""

_HIDING = frozenset(("hidden", "aria-hidden", "class", "style"))
_HIDDEN_CLASS = re.compile(
    r"(?:^|\s)(?:(?:is|visually)[-_])?(?:hidden|invisible|display-none|h-0)(?:\s|$)", re.IGNORECASE
)
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
_FORMATTING = frozenset(
    (
        "b", "strong", "i", "em", "u", "s", "small", "sub", "sup", "mark", "font", "q", "cite", "code", "abbr", "kbd",
        "var", "ins", "del", "ruby", "bdi",
    )
)  # fmt: skip
_INLINE = _FORMATTING | {"a", "span"}
_MAX_CLIMB = 4
_MAX_STEPS = 3


def protect(page: str) -> str:
    """The source of a page with a guard before every text node that is short enough to be dropped,
    and with a space between a word and the block that follows it, as the block may be dropped and
    the next word then touch the first.
    """
    if _GUARD[0] in page:  # one character is found ten times as fast as two
        page = page.replace(_GUARD, "")
    page = _WORDS_PART.sub(" <", page)
    if not _BEGINS_WITH_TAG.match(page):
        page = _GUARD + page
    return _SHORT_NODE.sub(rf">\1{_GUARD}", page)


def restore(minimal_html: str) -> str:
    """What was extracted, without the guards and without icons: a guarded node that begins in the
    private use area, or the pilcrow that is a heading's link to itself.
    """
    return _ICON.sub("", minimal_html) if _GUARD in minimal_html else minimal_html


def keep_inline(tree: HTMLTree) -> None:
    """Changes the tree so that visible inline elements inside running text are not judged on their
    own.
    """
    document = tree.document
    if document is None:
        return
    for node in document.query_selector_all(
        _IN_PARAGRAPHS
    ).values():  # iterating a list is quadratic
        _keep(node)
    judged: dict[str, bool] = {}  # a page repeats its classes
    for node in document.query_selector_all(_ELSEWHERE).values():
        name = node.getattr("class") or ""
        if name not in judged:
            judged[name] = _JUDGED_CLASS.search(name) is not None
        if (judged[name] or node.tag in _DROPPED_TAGS) and _beside_text(node):
            _keep(node)


def _beside_text(node: ElementNode) -> bool:
    """Whether text stands next to the element, or next to the inline element of which it is all."""
    for _ in range(_MAX_CLIMB):
        before, after = _shown(node.prev, "prev"), _shown(node.next, "next")
        if before is not None or after is not None:
            return _is_text(before) or _is_text(after)
        parent = node.parent_element
        if parent is None or parent.tag not in _INLINE:
            return False
        node = parent
    return False


def _shown(node: Node | None, way: Literal["prev", "next"]) -> Node | None:
    """The first node this way that shows anything; white space, comments and empty elements do
    not.
    """
    for _ in range(_MAX_STEPS):
        if node is None or (isinstance(node, TextNode) and (node.value or "").strip()):
            return node
        if isinstance(node, ElementNode) and node.has_child_nodes():
            return node
        node = node.prev if way == "prev" else node.next
    return None


def _is_text(node: Node | None) -> bool:
    return isinstance(node, TextNode) or (isinstance(node, ElementNode) and node.tag in _FORMATTING)


def _keep(node: ElementNode) -> None:
    names = node.attrs
    dropped = node.tag in _DROPPED_TAGS
    judged = _JUDGED.intersection(names)
    if not (judged or dropped) or (not _HIDING.isdisjoint(names) and _is_hidden(node)):
        return
    if dropped:
        node.replace_with(*node.child_nodes)
    else:
        for name in judged:
            node.remove_attribute(name)


def _is_hidden(node: ElementNode) -> bool:
    return (
        node.has_attribute("hidden")
        or node.getattr("aria-hidden") == "true"
        or _HIDDEN_CLASS.search(node.getattr("class") or "") is not None
        or _HIDDEN_STYLE.search(node.getattr("style") or "") is not None
    )
