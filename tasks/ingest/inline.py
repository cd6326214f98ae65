"""Inline elements that stand in running text are kept from resiliparse's judgement, in the source
of a page.

resiliparse judges every element, by the words in its class, id, rel and itemprop, and drops <time>,
<label> and <button>: so words vanish from the midst of a line. A line here is what a browser lays
out in one flow, text and inline tags up to the next other tag. Where a line has text that is not
judged, its judged elements lose what they are judged by; a line that is judged as a whole (a share
button, a pager, a form's label) stays resiliparse's to drop.

The source is worked on, not the tree: to look at a node from Python takes 2 to 3 us, to pass by a
tag 0.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_DROPPED = ("time", "label", "button")
_NAMES = (
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "blink", "br", "cite", "code", "data", "del", "dfn", "em", "font",
    "i", "img", "ins", "kbd", "mark", "nobr", "output", "q", "rb", "rp", "rt", "rtc", "ruby", "s", "samp", "small",
    "span", "strike", "strong", "sub", "sup", "tt", "u", "var", "wbr", *_DROPPED,
)  # fmt: skip
_JUDGING = (
    "class",
    "id",
    "rel",
    "itemprop",
    "aria-expanded",
    "data-ad",
    "data-advertisement",
    "data-text-ad",
)
_VOID = frozenset((b"br", b"img", b"wbr"))
_FREQUENT = "asbieulctm"


def _either(words: Iterable[str]) -> str:
    """A pattern for any of the words in either case, as a tree of letters, which fails at the
    first that is wrong.
    """
    after: dict[str, list[str]] = {}
    for word in words:
        after.setdefault(word[:1], []).append(word[1:])
    letters = sorted(
        filter(None, after),
        key=lambda letter: (letter not in _FREQUENT, _FREQUENT.find(letter), letter),
    )
    if not letters:
        return ""
    branches = "|".join(f"[{letter}{letter.upper()}]{_either(after[letter])}" for letter in letters)
    return f"(?:{branches})" + ("?+" if "" in after else "")


_PATTERNS = {
    b"inline": _either(_NAMES).encode(),
    b"first": "".join(
        {letter for name in _NAMES for letter in (name[0], name[0].upper())}
    ).encode(),
    b"text": rb"[^<]++|<(?![A-Za-z/!?])",
    b"rest": rb"""(?=[\s/>])[^<>"']*+(?:(?:"[^"]{0,1000}+"|'[^']{0,1000}+')[^<>"']*+)*+>""",
    b"comment": rb"<!--(?:[^-]++|-(?!->))*+-->",
    b"dropped": _either(_DROPPED).encode(),
    b"judging": _either(_JUDGING).encode(),
}
"""`rest`: a tag from its name on. Quoted values are bounded, so that quotes which never end take
no time.
"""
_LINE = re.compile(
    # most tags end before
    rb"<(?=[%(first)b])(?![dDlL][iIdDlLtT]|[tT][rRdDhH]|[uU][lL]|[sS][cC])%(inline)b%(rest)b"
    rb"(?:%(text)b|(?:</%(inline)b[\s/]*+>|%(comment)b|<(?i:img|w?br)%(rest)b)(?:\s*+(?!<[A-Za-z/!])(\S))?"
    rb"|<%(inline)b%(rest)b)*+" % _PATTERNS
)
"""A line from its first inline tag on; the group is set where text follows something else than a
start tag.
"""
_TOKEN = re.compile(rb"(?:%(text)b)++|%(comment)b|<(/?)(%(inline)b)%(rest)b" % _PATTERNS)
_IS_DROPPED = re.compile(rb"<%(dropped)b[\s/>]" % _PATTERNS)
_JUDGED_BY = re.compile(
    rb"""\s%(judging)b(?:\s*=\s*+("[^"]*+"|'[^']*+'|[^\s>"']++)|(?=[\s/>]))""" % _PATTERNS
)
_VALUES = re.compile(rb"""=(?<=[sdlptSDLPT\s]=)\s*+("[^"]*+"|'[^']*+'|[^\s>"']++)""")
"""Values of attributes whose names end as those by which is judged: a first look, which text
costs no time.
"""
_NAME = re.compile(rb"\s%(judging)b(?=[\s=/>])" % _PATTERNS)
_WORDS = re.compile(
    rb"ad|sponsor|promoted|paid|banner|donate|logo|spinner|view-count|skip|scroll|next|prev|permalink|pagina|log.?in"
    rb"|sign.?(?:in|up)|account|user[_-]|meta.?data|by.?line|date.?line|author-date|submitted|social|shar|syndicat|letter"
    rb"|(?:post|entry|article|content|story|section)[a-z_-]*(?:foot|tease|meta|sub|side|auth|publ|time|date|on|info|label"
    rb"|tag|key|categ)|follow|mail|like|feedback|engagement|facebook|twitter|subscribe|wa|jp|expandable|collapsed"
    rb"|nocontent|hidden|^.?(?:author|tag|search|url|datePublished|false).?$",
    re.IGNORECASE,
)
"""Whatever resiliparse may match, and more."""
_HIDDEN = re.compile(
    rb"""\s(?i:hidden(?=[\s=/>])|aria-hidden\s*=\s*["']?true"""
    rb"""|style\s*=[^>]{0,500}?(?:display\s*:\s*none|visibility\s*:\s*hidden)"""
    rb"""|class\s*=\s*["']?(?:[^"'>]{0,500}?\s)?(?:(?:is|visually)[-_])?(?:hidden|invisible|display-none|h-0)(?=["'\s>]))"""
)
_FAR = 1 << 12
"""Bytes that are looked back for text before a line: endless white space is not gone through
again for each line.
"""
_PARAGRAPH = (b"p>", b"p ", b"p\n", b"P>", b"P ")
_MAX_OPEN = 256
"""Elements open in a line: pages nested deeper are refused later."""


def keep_inline(page: bytes) -> bytes:
    """The source of a page, in UTF-8, in which visible inline elements inside running text are
    not judged.
    """
    parts: list[bytes] = []
    done = 0
    for line in _LINE.finditer(page):
        start = line.start()
        gap = page[page.rfind(b">", 0, start) + 1 : start]
        if not gap or gap.isspace():
            after_text = page[page.rfind(b"<", 0, start) + 1] in b"pP!" and _in_text(page, start)
        else:
            after_text = True
        if (after_text or line.lastindex) and _may_have_judged(found := line[0]):
            kept = _kept(found, after_text)
            if kept is not found:
                parts += (page[done:start], kept)
                done = line.end()
    return b"".join((*parts, page[done:])) if parts else page


def _in_text(page: bytes, at: int) -> bool:
    """Whether a line is running text by what is before it, white space and comments aside: text,
    or the tag of a paragraph, in which nothing is judged on its own.
    """
    while True:
        before = page[max(0, at - _FAR) : at].rstrip()
        if not before.endswith(b">"):
            return before != b""
        opened = page.rfind(b"<", max(0, at - _FAR), at)
        if not before.endswith(b"-->"):
            return page[opened + 1 : opened + 3] in _PARAGRAPH
        at = max(0, page.rfind(b"<!--", max(0, at - _FAR), at))


def _kept(line: bytes, beside_text: bool) -> bytes:
    """A line without what the judged elements beside text are judged by; itself where there are
    none.
    """
    tokens: list[bytes] = []
    open_: list[tuple[bytes, int, bool]] = []  # name, place of the start tag, whether it is judged
    closed: list[tuple[int, int]] = []  # places of the start and end tags of judged elements
    # start tags of judged elements with text of their own, -1 for the line
    with_text = {-1} if beside_text else set()
    parents: dict[int, int] = {}
    inside = -1  # the innermost judged element that is open
    for token in _TOKEN.finditer(line):
        tokens.append(token[0])
        name = token[2].lower() if token[2] else b""
        if not name:
            if not (token[0].startswith(b"<!--") or token[0].isspace()):
                with_text.add(inside)
        elif token[1]:
            at = next(
                (at for at in reversed(range(len(open_))) if open_[at][0] == name), len(open_)
            )
            for _, start, is_judged in reversed(open_[at:]):
                inside = parents[start] if is_judged else inside
            if at < len(open_) and open_[at][2]:
                closed.append((open_[at][1], len(tokens) - 1))
            del open_[at:]
        elif name not in _VOID:
            start = len(tokens) - 1
            if len(open_) == _MAX_OPEN:
                return line
            open_.append((name, start, is_judged := _is_judged(token[0])))
            if is_judged:
                parents[start], inside = inside, start
    kept = False
    for start, end in closed:
        if _HIDDEN.search(tokens[start]) or not _beside(start, parents, with_text):
            continue
        kept = True
        if _IS_DROPPED.match(tokens[start]):
            tokens[start], tokens[end] = b"<span>", b"</span>"
        else:
            tokens[start] = _NAME.sub(b" x", tokens[start])
    return b"".join(tokens) if kept else line


def _beside(start: int, parents: dict[int, int], with_text: set[int]) -> bool:
    """Whether an element around this judged one, or the line, has text of its own: if that is
    kept, so is this.
    """
    while start in parents:
        start = parents[start]
        if start in with_text:
            return True
    return False


def _may_have_judged(line: bytes) -> bool:
    return (
        any(map(_is_judged_by, _VALUES.findall(line)))
        or _IS_DROPPED.search(line) is not None
        or b"-ad" in line  # data-ad without a value
    )


def _is_judged(tag: bytes) -> bool:
    return any(map(_is_judged_by, _JUDGED_BY.findall(tag))) or _IS_DROPPED.match(tag) is not None


@lru_cache(maxsize=1 << 13)  # pages repeat their classes
def _is_judged_by(value: bytes) -> bool:
    return not value or _WORDS.search(value) is not None
