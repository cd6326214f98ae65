"""Shortens texts for reading: words from the beginning and the end, and what edits removed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.documents.edits import Edits
from tasks.text.scripts import UNSPACED_CLASS

Spans = Sequence[tuple[int, int]]
"""(start, end) in characters of a text."""

MOST_EDITS = 12
"""Edits of a document that are shown."""

REMOVED_WORDS = 60
"""Words of a removed piece that are shown."""

CONTEXT_WORDS = 12
"""Words that are shown before and after a removed piece."""

_WORD = re.compile(rf"[{UNSPACED_CLASS}]|[^\s{UNSPACED_CLASS}]+")
_UNSPACED = re.compile(f"[{UNSPACED_CLASS}]")
_LONG_WORD = re.compile(r"\S{200,}")
_SHOWN_OF_LONG_WORD = 60
_BLANK_LINES = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*){2,}")


def excerpt(text: str, words: int) -> str:
    """About the first two thirds of `words` words and the last third; the whole text if it is not
    much longer. In scripts without spaces every character is a word.
    """
    return _tidy(_shortened(text, words * 2 // 3, words - words * 2 // 3))


def edited_excerpt(text: str, edits: Edits, spans: Spans = ()) -> str:
    """The text around its edits: what they remove in [-...-], what they put there in {+...+}
    (unless it is white space), the rest shortened. `spans`, the characters because of which it was
    removed, are marked and not shortened away.
    """
    if not edits:
        return ""
    pieces = []
    done = 0
    for number, edit in enumerate(edits[:MOST_EDITS]):
        pieces.append(_between(text[done : edit.start], first=number == 0))
        removed = text[edit.start : edit.end]
        body = removed.strip()
        if not body:
            pieces.append(removed)
        else:
            start = edit.start + len(removed) - len(removed.lstrip())
            inside = [span for span in spans if start <= span[0] and span[1] <= start + len(body)]
            shown = (
                marked_excerpt(body, [(low - start, high - start) for low, high in inside])
                if inside
                else _shortened(body, REMOVED_WORDS * 2 // 3, REMOVED_WORDS // 3)
            )
            lead = removed[: start - edit.start]
            trail = removed[start - edit.start + len(body) :]
            pieces.append(f"{lead}[-{shown}-]{trail}")
        if edit.replacement.strip():
            pieces.append(f"{{+{edit.replacement}+}}")
        done = edit.end
    if len(edits) > MOST_EDITS:
        pieces.append(f"\n... ({len(edits) - MOST_EDITS:,} more edits) ...")
    else:
        pieces.append(_shortened(text[done:], CONTEXT_WORDS, 0))
    return _tidy("".join(pieces))


def marked_excerpt(text: str, spans: Spans) -> str:
    """The text around spans of characters, which are put between » and «; the rest shortened."""
    pieces, done = [], 0
    for start, end in _merged(spans)[:MOST_EDITS]:
        pieces.append(_between(text[done:start], first=not done))
        shown = _shortened(text[start:end], REMOVED_WORDS * 2 // 3, REMOVED_WORDS // 3)
        pieces.append(f"»{shown}«")
        done = end
    pieces.append(_shortened(text[done:], CONTEXT_WORDS, 0))
    return _tidy("".join(pieces))


def _merged(spans: Spans) -> list[tuple[int, int]]:
    """The spans in order, overlapping ones as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _between(text: str, *, first: bool) -> str:
    """Text before an edit; text between two edits also shows the words after the first one."""
    return _shortened(text, 0 if first else CONTEXT_WORDS, CONTEXT_WORDS)


def _shortened(text: str, head: int, tail: int) -> str:
    """The text without its middle, if more than a fifth of what is shown would be left out."""
    words = list(_WORD.finditer(text))
    if len(words) <= 1.2 * (head + tail) + 2:
        return text
    begin = text[: words[head - 1].end()] if head else ""
    end = text[words[-tail].start() :] if tail else ""
    left_out = len(words) - head - tail
    unspaced = 2 * len(_UNSPACED.findall(text[:2_000])) > len(text[:2_000])
    unit = "characters" if unspaced else "words"
    middle = f"... ({left_out:,} more {unit}) ..."
    return " ".join(piece for piece, shown in ((begin, head), (middle, 1), (end, tail)) if shown)


def _tidy(text: str) -> str:
    """Without runs of blank lines and words that would fill the screen."""
    text = _BLANK_LINES.sub("\n\n", text.strip("\n"))
    return _LONG_WORD.sub(_short_word, text)


def _short_word(word: re.Match[str]) -> str:
    left_out = len(word[0]) - _SHOWN_OF_LONG_WORD
    return f"{word[0][:_SHOWN_OF_LONG_WORD]}... ({left_out:,} more characters)"
