"""Texts to the hashes of their lines or paragraphs, and removed ones to edits."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.documents.edits import Edit
from tasks.line_dedup.stage import LineDedupParameters
from tasks.text.normalise import CONTROLS, PUNCTUATION
from tasks.text.shingles import batches


@dataclass(frozen=True)
class Units:
    """Units of a batch of documents, in order: lines [first, end) of document `rows` have `hashes`."""

    hashes: npt.NDArray[np.uint64]
    rows: npt.NDArray[np.uint32]
    first: npt.NDArray[np.uint32]
    end: npt.NDArray[np.uint32]


def units_of(texts: Sequence[str], parameters: LineDedupParameters) -> Units:
    """The units of every text that are long enough to count."""
    parts = [_units(texts[part], part.start, parameters) for part in batches(texts)] or [_units([], 0, parameters)]
    return Units(
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.first for part in parts]),
        np.concatenate([part.end for part in parts]),
    )


def _units(texts: Sequence[str], first_row: int, parameters: LineDedupParameters) -> Units:
    from tasks.line_dedup.kernel import hash_units  # compiles: only where it is needed

    known = _forms(parameters.normalise)
    # What lower case makes of a few characters no table by character can say. It neither adds nor takes line feeds.
    encoded = [
        (text.lower() if any(character in text for character in known.contextual) else text).encode("utf-8")
        for text in texts
    ]
    starts = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)), out=starts[1:])
    data = np.frombuffer(b"".join(encoded) or b" ", dtype=np.uint8)
    size = int(np.count_nonzero(data == 0x0A)) + len(encoded)
    hashes, lengths, offsets = np.empty(size, np.uint64), np.empty(size, np.int64), np.zeros_like(starts)
    first, end = np.empty(size, np.uint32), np.empty(size, np.uint32)
    hash_units(
        data, starts, known.space, known.form, parameters.unit == "paragraph", hashes, first, end, lengths, offsets
    )
    rows = np.repeat(np.arange(first_row, first_row + len(texts), dtype=np.uint32), np.diff(offsets))
    counted = np.flatnonzero(lengths[: offsets[-1]] >= parameters.minimum_characters)
    return Units(hashes[counted], rows[counted], first[counted], end[counted])


@dataclass(frozen=True)
class _Forms:
    """By code point: `space` (white space) and `form`, the character of the normal form, or `DELETED`.

    `contextual` are the characters whose lower case is not one character whatever stands beside them.
    """

    space: npt.NDArray[np.bool_]
    form: npt.NDArray[np.uint32]
    contextual: str


@functools.cache
def _forms(normalise: str) -> _Forms:
    """Tables of 5.5 MB, built in 0.2 s."""
    from tasks.line_dedup.kernel import DELETED

    space = np.zeros(sys.maxunicode + 1, dtype=np.bool_)
    form = np.arange(sys.maxunicode + 1, dtype=np.uint32)
    contextual = []
    for code, character in enumerate(map(chr, range(sys.maxunicode + 1))):
        space[code] = character.isspace()
        if normalise == "ccnet":
            lower = character.lower()
            if len(lower) > 1 or character == "\N{GREEK CAPITAL LETTER SIGMA}":
                contextual.append(character)
            elif character.isdecimal():
                form[code] = ord("0")
            else:
                form[code] = ord(lower)
    if normalise == "ccnet":
        # cc_net's list also names one full-width digit, which is 0 before punctuation is looked at.
        form[[*map(ord, PUNCTUATION), *CONTROLS]] = DELETED
    space.setflags(write=False)
    form.setflags(write=False)
    return _Forms(space, form, "".join(contextual))


def unit_text(text: str, first: int, unit: str) -> str:
    """The line, or the paragraph that begins at the line, number `first`."""
    lines = text.split("\n")[first:]
    return lines[0] if unit == "line" else "\n".join(itertools.takewhile(str.strip, lines))


def removal(text: str, removed: Sequence[tuple[int, int]], reason: str) -> list[Edit]:
    """The edits that take lines [first, end) of each pair out of `text`, and blank lines as the stage says."""
    closed = text.endswith("\n")
    lines = (text[:-1] if closed else text).split("\n")
    starts = list(itertools.accumulate((len(line) + 1 for line in lines), initial=0))
    if "" in lines or any(map(str.isspace, lines)):
        goes = [False] * len(lines)
        for first, end in removed:
            goes[first:end] = [True] * (end - first)
        _drop_blank_lines(lines, goes)
        removed = list(_runs(goes))
    spans: list[list[int]] = []
    for low, high in removed:
        if spans and spans[-1][1] == starts[low]:
            spans[-1][1] = starts[high]
        else:
            spans.append([starts[low], starts[high]])
    if spans and spans[-1][1] > len(text):
        # The last line has no line feed of its own: the one before it goes.
        spans[-1] = [max(spans[-1][0] - 1, 0), len(text)]
    return [Edit(start, end, "", reason) for start, end in spans]


def _drop_blank_lines(lines: Sequence[str], goes: list[bool]) -> None:
    """Mark the blank lines that would double others, or stand at an end, once marked lines are gone."""
    for low, high in _runs([gone or not line.strip() for gone, line in zip(goes, lines, strict=True)]):
        if not any(goes[low:high]):
            continue
        blank = [(start, end) for start, end in _runs([not gone for gone in goes[low:high]])]
        kept = max(blank, key=lambda run: run[1] - run[0], default=(0, 0))
        if low == 0 or high == len(lines):
            kept = (0, 0)
        goes[low:high] = [not kept[0] <= at < kept[1] for at in range(high - low)]


def _runs(flags: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """[start, end) of every maximal run of true flags."""
    at = 0
    for value, group in itertools.groupby(flags):
        length = sum(1 for _ in group)
        if value:
            yield at, at + length
        at += length
