"""Texts to the hashes of their lines or paragraphs, and removed ones to edits."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.documents.edits import Edit
from tasks.line_dedup.stage import LineDedupParameters
from tasks.text.characters import CONTEXTUAL
from tasks.text.normalise import CONTROLS, PUNCTUATION
from tasks.text.shingles import Utf8


@dataclass(frozen=True)
class Units:
    """Units of a batch of documents, in order: lines [first, end) of document `rows` have
    `hashes`.
    """

    hashes: npt.NDArray[np.uint64]
    rows: npt.NDArray[np.uint32]
    first: npt.NDArray[np.uint32]
    end: npt.NDArray[np.uint32]

    @classmethod
    def joined(cls, batches: Sequence[Units], sizes: Iterable[int]) -> Units:
        """The units of consecutive batches of `sizes` documents as those of one."""
        starts = itertools.accumulate(sizes, initial=0)
        return cls(
            np.concatenate([batch.hashes for batch in batches]),
            np.concatenate(
                [
                    batch.rows + np.uint32(start)
                    for batch, start in zip(batches, starts, strict=False)
                ]
            ),
            np.concatenate([batch.first for batch in batches]),
            np.concatenate([batch.end for batch in batches]),
        )


def units_of(texts: Utf8, parameters: LineDedupParameters) -> Units:
    """The units of every text that are long enough to count."""
    batches = list(texts.batches()) or [texts]
    return Units.joined([_units(batch, parameters) for batch in batches], map(len, batches))


def _units(texts: Utf8, parameters: LineDedupParameters) -> Units:
    from tasks.line_dedup.kernel import hash_units  # these compile: only where they are needed
    from tasks.text.shingle_kernel import find_contextual

    known = _forms(parameters.normalise)
    contextual = np.empty(len(texts), dtype=np.bool_)
    find_contextual(texts.data, texts.starts, known.form, contextual)
    # Lower case neither adds nor takes line feeds.
    texts = texts.changed(np.flatnonzero(contextual).tolist(), str.lower)
    size = int(np.count_nonzero(texts.data == 0x0A)) + len(texts)
    hashes, lengths, offsets = (
        np.empty(size, np.uint64),
        np.empty(size, np.int64),
        np.zeros_like(texts.starts),
    )
    first, end = np.empty(size, np.uint32), np.empty(size, np.uint32)
    hash_units(
        texts.data, texts.starts, known.space, known.form, parameters.unit == "paragraph",
        hashes, first, end, lengths, offsets,
    )  # fmt: skip
    rows = np.repeat(np.arange(len(texts), dtype=np.uint32), np.diff(offsets))
    counted = np.flatnonzero(lengths[: offsets[-1]] >= parameters.minimum_characters)
    return Units(hashes[counted], rows[counted], first[counted], end[counted])


@dataclass(frozen=True)
class _Forms:
    """By code point: `space` (white space) and `form`, the character of the normal form, or
    `DELETED`.

    `form` is `CONTEXTUAL` where lower case is not one character whatever stands beside it.
    """

    space: npt.NDArray[np.bool_]
    form: npt.NDArray[np.uint32]


@functools.cache
def _forms(normalise: str) -> _Forms:
    """Tables of 5.5 MB, built in 0.2 s."""
    from tasks.line_dedup.kernel import DELETED

    space = np.zeros(sys.maxunicode + 1, dtype=np.bool_)
    form = np.arange(sys.maxunicode + 1, dtype=np.uint32)
    for code, character in enumerate(map(chr, range(sys.maxunicode + 1))):
        space[code] = character.isspace()
        if normalise == "ccnet":
            lower = character.lower()
            if len(lower) > 1 or character == "\N{GREEK CAPITAL LETTER SIGMA}":
                form[code] = CONTEXTUAL
            elif character.isdecimal():
                form[code] = ord("0")
            else:
                form[code] = ord(lower)
    if normalise == "ccnet":
        # cc_net's list also names one full-width digit, which is 0 before punctuation is looked at.
        form[[*map(ord, PUNCTUATION), *CONTROLS]] = DELETED
    space.setflags(write=False)
    form.setflags(write=False)
    return _Forms(space, form)


def unit_text(text: str, first: int, unit: str) -> str:
    """The line, or the paragraph that begins at the line, number `first`."""
    lines = text.split("\n")[first:]
    return lines[0] if unit == "line" else "\n".join(itertools.takewhile(str.strip, lines))


def removal(text: str, removed: Sequence[tuple[int, int]], reason: str) -> list[Edit]:
    """The edits that take lines [first, end) of each pair out of `text`, and blank lines as the
    stage says.
    """
    closed = text.endswith("\n")
    lines = (text[:-1] if closed else text).split("\n")
    starts = [at + line for line, at in enumerate(itertools.accumulate(map(len, lines), initial=0))]
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
    """Mark the blank lines that would double others, or stand at an end, once marked lines are
    gone.
    """
    for low, high in _runs(
        [gone or not line.strip() for gone, line in zip(goes, lines, strict=True)]
    ):
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
