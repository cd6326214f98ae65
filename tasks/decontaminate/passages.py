"""The passages to remove around the runs of words that mark a document.

As GPT-3's authors did (https://arxiv.org/abs/2005.14165, appendix C), a margin of 200 characters on
both sides is removed too, because answers are near their question, and so are pieces of under 200
characters that would be left between two passages or at an end of the text. Unlike theirs, a
passage includes the item's choices if they follow the question, however long they are, and extends
to the ends of its first and last sentence (or line); and the remaining text stays one document, in
which a line feed (or an empty line, if the passage contained one) replaces the passage.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Sequence

import numpy as np

from tasks.documents.edits import Edit
from tasks.text.word_hashes import Hashes, window_hashes, word_hashes, word_spans

REASON = "decontaminate"

_SENTENCE_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s)|[。！？…]+[”’」』）]*|\n")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")


def end_of_choices(text: str, end: int, choices: Sequence[Hashes], reach: int) -> int:
    """The end of an item's last choice after the question, which ends at `end`; else `end`.

    `choices` are given as word hashes, and searched for within `reach` characters.
    """
    window = text[end : end + reach]
    (words,) = word_hashes([window])
    last = 0
    for choice in choices:
        if 0 < len(choice) <= len(words):
            matches = np.flatnonzero(
                window_hashes(words, len(choice)) == window_hashes(choice, len(choice))
            )
            last = max(last, int(matches[0]) + len(choice) if len(matches) else 0)
    return end + int(word_spans(window)[1][last - 1]) if last else end


def passages(text: str, spans: Iterable[tuple[int, int]], margin: int) -> list[Edit]:
    """The edits that remove the passages around `spans` (start, end; characters) from `text`."""
    bounds = [0, *(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]
    merged: list[list[int]] = []
    for start, end in sorted(spans):
        # Add the margin, extend to whole sentences, and include a short remainder at either end.
        low = bounds[bisect.bisect_right(bounds, max(start - margin, 0)) - 1]
        high = bounds[bisect.bisect_left(bounds, min(end + margin, len(text)))]
        low = 0 if low < margin else low
        high = len(text) if len(text) - high < margin else high
        if merged and (low - merged[-1][1] < max(margin, 1) or text[merged[-1][1] : low].isspace()):
            merged[-1][1] = max(merged[-1][1], high)
        else:
            merged.append([low, high])
    return [_edit(text, low, high) for low, high in merged]


def _edit(text: str, low: int, high: int) -> Edit:
    """Remove the passage and the white space around it, which one separator replaces."""
    start, end = _before_space(text, low), _after_space(text, high)
    if start == 0 or end == len(text):
        return Edit(start, end, "", REASON)
    return Edit(start, end, "\n\n" if _BLANK_LINE.search(text, start, end) else "\n", REASON)


def _before_space(text: str, position: int) -> int:
    while position and text[position - 1].isspace():
        position -= 1
    return position


def _after_space(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position
