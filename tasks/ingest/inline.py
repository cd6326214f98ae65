"""Rewrites a page's source so that resiliparse keeps inline elements within running text.

resiliparse judges every element by the words in its class, id, rel and itemprop, and drops <time>,
<label> and <button>, so words vanish from the middle of a line. A *line* is what a browser lays out
in one flow: text and inline tags up to the next tag of another kind. A *judged* element is one that
resiliparse might drop.

1. Find the start tags of judged elements, which are few, in one pass (`_CANDIDATE`). The same pass
   puts a space between a word and the block after it: the block may be dropped, and the next word
   would then touch the first.
2. Find the line around each: its beginning by searching backwards (`_line_start`), its end by
   `_LINE`.
3. If the line has text outside the judged elements, take away what they are judged by: rename
   <time>, <label> and <button> to <span>, and the judging attributes to `x` (`_line_unjudged`). A
   line that is judged as a whole (a share button, a pager, a form's label) is left for resiliparse
   to drop.

Example: in `<p>Posted <time>today</time> by me`, text surrounds <time>, so the result is
`<p>Posted <span>today</span> by me`. A `<div><button>Share</button></div>` stays as it is.

This edits the source, not the tree, because visiting a node from Python takes 2 to 3 us, passing a
tag in a pattern 0.1 us.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_DROPPED = ("time", "label", "button")
_INLINE = (
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "blink", "br", "cite", "code", "data", "del",
    "dfn", "em", "font",
    "i", "img", "ins", "kbd", "mark", "nobr", "output", "q", "rb", "rp", "rt", "rtc", "ruby", "s",
    "samp", "small",
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
    """A pattern for any of the words in either case: a trie, to fail at the first wrong letter."""
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


_QUOTED = rb"""(?:"[^"]{0,1000}+"|'[^']{0,1000}+')"""
_ATTRIBUTES = rb"""[^<>"']*+(?:%b[^<>"']*+)*+""" % _QUOTED
_PATTERNS = {
    b"inline": _either(_INLINE).encode(),
    b"first": "".join(
        {letter for name in _INLINE for letter in (name[0], name[0].upper())}
    ).encode(),
    b"text": rb"[^<]++|<(?![A-Za-z/!?])",
    b"value": rb"""(?:"[^"]*+"|'[^']*+'|[^\s>"']++)""",
    b"attributes": _ATTRIBUTES,
    b"rest": rb"(?=[\s/>])" + _ATTRIBUTES + b">",
    b"unjudging": rb"""(?:\s++(?!%b[\s=/>])[^\s<>"']*+(?:%b[^\s<>"']*+)*+)*+"""
    % (_either(_JUDGING).encode(), _QUOTED),
    b"comment": rb"<!--(?:[^-]++|-(?!->))*+-->",
    b"dropped": _either(_DROPPED).encode(),
    b"judging": _either(_JUDGING).encode(),
}
"""`rest`: a tag after its name; `unjudging`: its first attributes, up to a judging one. Quoted
values are bounded, so that unclosed quotes cost no time.
"""
_CANDIDATE = re.compile(
    # a block right after a word
    rb"<(?:(?<=[^\s>]<)(?=[abdfhlmnoptuABDFHLMNOPTUsS])(?=(?i:div|p|ul|ol|dl|table|section|article|aside|figure|nav|form"
    rb"|header|footer|noscript|h[1-6]|blockquote|details|fieldset|main|dialog)\b)"
    # a block that resiliparse takes for an inline element
    rb"|(?=/?[sSlLxX][eEuUmM])(?=/?(?i:summary|legend|search|xmp)\b)"
    # an inline element that is dropped, or judged by its attributes; most tags fail before this
    rb"|(?=[%(first)b])(?![dDlL][iIdDlLtT]|[tT][rRdDhH]|[uU][lL]|[sS][cC])(?:%(dropped)b(?=[\s/>])"
    rb"|%(inline)b%(unjudging)b\s++%(judging)b(?:\s*+=\s*+(%(value)b)|(?=[\s/>]))"
    rb"%(unjudging)b(?:\s++(?=%(judging)b[\s=/>])(%(attributes)b)>)?+))" % _PATTERNS
)
"""The "<" of a block beside a word, or the start tag of an element that may be judged. Groups: the
value of the first judging attribute, unset if the element is dropped whatever its attributes; the
attributes from a second judging one on.
"""
_LINE = re.compile(
    rb"<%(inline)b%(rest)b"
    rb"(?:%(text)b|(?:</%(inline)b[\s/]*+>|%(comment)b|<(?i:img|w?br)%(rest)b)(?:\s*+(?!<[A-Za-z/!])(\S))?"
    rb"|<%(inline)b%(rest)b)*+" % _PATTERNS
)
"""A line from one of its inline tags on; the group is set if text follows anything but a start tag.
"""
_INLINE_TAG = re.compile(rb"</?%(inline)b[\s/>]" % _PATTERNS)
_TOKEN = re.compile(rb"(?:%(text)b)++|%(comment)b|<(/?)(%(inline)b)%(rest)b" % _PATTERNS)
_IS_DROPPED = re.compile(rb"<%(dropped)b[\s/>]" % _PATTERNS)
_JUDGED_BY = re.compile(rb"(?<!\S)%(judging)b(?:\s*=\s*+(%(value)b)|(?=[\s/>]|\Z))" % _PATTERNS)
_NAME = re.compile(rb"\s%(judging)b(?=[\s=/>])" % _PATTERNS)
_WORDS = re.compile(
    rb"ad|sponsor|promoted|paid|banner|donate|logo|spinner|view-count|skip|scroll|next|prev|permalink|pagina|log.?in"
    rb"|sign.?(?:in|up)|account|user[_-]|meta.?data|by.?line|date.?line|author-date|submitted|social|shar|syndicat|letter"
    rb"|(?:post|entry|article|content|story|section)[a-z_-]*(?:foot|tease|meta|sub|side|auth|publ|time|date|on|info|label"
    rb"|tag|key|categ)|follow|mail|like|feedback|engagement|facebook|twitter|subscribe|wa|jp|expandable|collapsed"
    rb"|nocontent|hidden|^.?(?:author|tag|search|url|datepublished|false).?$"
)
"""A superset of what resiliparse matches, for values in lower case."""
_HIDDEN = re.compile(
    rb"""\s(?i:hidden(?=[\s=/>])|aria-hidden\s*=\s*["']?true"""
    rb"""|style\s*=[^>]{0,500}?(?:display\s*:\s*none|visibility\s*:\s*hidden)"""
    rb"""|class\s*=\s*["']?(?:[^"'>]{0,500}?\s)?(?:(?:is|visually)[-_])?(?:hidden|invisible|display-none|h-0)(?=["'\s>]))"""
)
_HYPHEN, _SLASH = b"-/"
_PARAGRAPH = (b"<p>", b"<p ", b"<p\n", b"<P>", b"<P ")
_MAX_OPEN = 256
"""Most elements open in a line; pages nested deeper are refused later."""


def keep_inline(page: bytes) -> bytes:
    """Rewrite a page's source, in UTF-8: visible inline elements within running text are no longer
    judged, and a space is put between a word and the block after it.
    """
    parts: list[bytes] = []
    done = end = 0
    for candidate in _CANDIDATE.finditer(page):
        value = candidate[1]
        # most are not judged after all
        if value is not None and not _is_judged_by(value):
            more = candidate[2]
            if more is None or not _any_judging(more):
                continue
        start, after = candidate.span()
        if after == start + 1:
            parts += (page[done:start], b" ")
            done = start
        elif start >= end:
            start, after_text = _line_start(page, end, start)
            line = _LINE.match(page, start)
            if line is None:
                continue
            end = line.end()
            if after_text or line.lastindex:
                kept = _line_unjudged(line[0], after_text)
                if kept is not line[0]:
                    parts += (page[done:start], kept)
                    done = end
    return b"".join((*parts, page[done:])) if parts else page


def _line_start(page: bytes, least: int, at: int) -> tuple[int, bool]:
    """(the first inline tag of the line around a judged element at `at`, whether text or the start
    tag of a paragraph precedes it).

    A paragraph counts as text because it is not judged as a whole. The previous line ended at
    `least`, so no byte is searched twice.
    """
    start = at
    after_text = False
    while True:
        end = page.rfind(b">", least, at) + 1
        if end != at and not after_text:
            after_text = (gap := page[end or least : at]) != b"" and not gap.isspace()
        if page[end - 2] == _HYPHEN and page.endswith(b"-->", least, end):
            at = page.rfind(b"<!--", least, end)
        else:
            at = page.rfind(b"<", least, end)
            if not _INLINE_TAG.match(page, at) or at < 0:
                return start, after_text or (at >= 0 and page.startswith(_PARAGRAPH, at))
            if page[at + 1] != _SLASH:
                start, after_text = at, False
        if at < 0:
            return start, after_text


def _line_unjudged(line: bytes, beside_text: bool) -> bytes:
    """The line, with the elements beside text no longer judged; the same object if none are."""
    tokens: list[bytes] = []
    open_: list[tuple[bytes, int, bool]] = []  # name, place of the start tag, whether it is judged
    closed: list[tuple[int, int]] = []  # places of the start and end tags of judged elements
    # places of the start tags of judged elements that contain text directly, -1 for the line
    with_text = {-1} if beside_text else set()
    parents: dict[int, int] = {}
    inside = -1  # the innermost judged element that is open
    for place, match in enumerate(_TOKEN.finditer(line)):
        token, slash, name = match.group(0, 1, 2)
        tokens.append(token)
        if name is None:
            if inside not in with_text and not (token.startswith(b"<!--") or token.isspace()):
                with_text.add(inside)
        elif slash:
            name = name.lower()
            at = len(open_) - 1
            while at >= 0 and open_[at][0] != name:
                at -= 1
            if at < 0:
                continue
            for _, start, is_judged in reversed(open_[at:]):
                inside = parents[start] if is_judged else inside
            if open_[at][2]:
                closed.append((open_[at][1], place))
            del open_[at:]
        elif (name := name.lower()) not in _VOID:
            if len(open_) == _MAX_OPEN:
                return line
            open_.append((name, place, is_judged := _is_judged(token)))
            if is_judged:
                parents[place], inside = inside, place
    kept = False
    for start, end in closed:
        if _HIDDEN.search(tokens[start]) or not _is_beside_text(start, parents, with_text):
            continue
        kept = True
        if _IS_DROPPED.match(tokens[start]):
            tokens[start], tokens[end] = b"<span>", b"</span>"
        else:
            tokens[start] = _NAME.sub(b" x", tokens[start])
    return b"".join(tokens) if kept else line


def _is_beside_text(start: int, parents: dict[int, int], with_text: set[int]) -> bool:
    """Whether the line or a judged element around this one contains text directly: then this one is
    kept if that is.
    """
    while start in parents:
        start = parents[start]
        if start in with_text:
            return True
    return False


def _is_judged(tag: bytes) -> bool:
    return _IS_DROPPED.match(tag) is not None or _any_judging(tag)


def _any_judging(attributes: bytes) -> bool:
    return any(map(_is_judged_by, _JUDGED_BY.findall(attributes)))


@lru_cache(maxsize=1 << 13)  # pages repeat their classes
def _is_judged_by(value: bytes) -> bool:
    return not value or _WORDS.search(value.lower()) is not None
