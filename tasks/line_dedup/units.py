"""From texts to the hashes of their lines or paragraphs, and from removed ones to edits."""

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
    """Units (lines or paragraphs) of a batch of documents, in order; arrays of shape (units,).

    Unit u is lines [first[u], end[u]) of document rows[u].
    """

    hashes: npt.NDArray[np.uint64]
    rows: npt.NDArray[np.uint32]
    first: npt.NDArray[np.uint32]
    end: npt.NDArray[np.uint32]

    @classmethod
    def joined(cls, batches: Sequence[Units], sizes: Iterable[int]) -> Units:
        """The units of consecutive batches, with `sizes` documents each, as those of one batch."""
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
    # Importing these compiles loops, so import only where they are needed.
    from tasks.line_dedup.kernel import hash_units
    from tasks.text.shingle_kernel import find_contextual

    forms = _forms(parameters.normalise)
    contextual = np.empty(len(texts), dtype=np.bool_)
    find_contextual(texts.data, texts.starts, forms.form, contextual)
    # Lower-casing a text as a whole neither adds nor removes line feeds, so lines keep numbers.
    texts = texts.changed(np.flatnonzero(contextual).tolist(), str.lower)
    size = int(np.count_nonzero(texts.data == 0x0A)) + len(texts)
    hashes, lengths, offsets = (
        np.empty(size, np.uint64),
        np.empty(size, np.int64),
        np.zeros_like(texts.starts),
    )
    first, end = np.empty(size, np.uint32), np.empty(size, np.uint32)
    hash_units(
        texts.data,
        texts.starts,
        forms.space,
        forms.form,
        parameters.unit == "paragraph",
        hashes,
        first,
        end,
        lengths,
        offsets,
    )
    rows = np.repeat(np.arange(len(texts), dtype=np.uint32), np.diff(offsets))
    counted = np.flatnonzero(lengths[: offsets[-1]] >= parameters.minimum_characters)
    return Units(hashes[counted], rows[counted], first[counted], end[counted])


@dataclass(frozen=True)
class _Forms:
    """Tables by code point: `space` (is white space) and `form`, the normal form's code point.

    `form` is `DELETED` where the normal form omits the character, and `CONTEXTUAL` where its lower
    case is several characters or depends on its neighbours.
    """

    space: npt.NDArray[np.bool_]
    form: npt.NDArray[np.uint32]


@functools.cache
def _forms(normalise: str) -> _Forms:
    """The tables of a `normalise` option: 5.5 MB, built in 0.2 s."""
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
        # cc_net's list also has a full-width digit, which becomes 0 before punctuation is handled.
        form[[*map(ord, PUNCTUATION), *CONTROLS]] = DELETED
    space.setflags(write=False)
    form.setflags(write=False)
    return _Forms(space, form)


def unit_text(text: str, first: int, unit: str) -> str:
    """The text of the unit that begins with line `first`."""
    lines = text.split("\n")[first:]
    return lines[0] if unit == "line" else "\n".join(itertools.takewhile(str.strip, lines))


def removal(text: str, removed: Sequence[tuple[int, int]], reason: str) -> list[Edit]:
    """The edits that remove lines [first, end) of each pair from `text`.

    Blank lines next to them are removed as the stage's docstring says.
    """
    closed = text.endswith("\n")
    lines = (text[:-1] if closed else text).split("\n")
    # Characters before a line: those of the lines before it, and a line feed for each of these.
    lengths = itertools.accumulate(map(len, lines), initial=0)
    starts = [characters + line for line, characters in enumerate(lengths)]
    if "" in lines or any(map(str.isspace, lines)):
        gone = [False] * len(lines)
        for first, end in removed:
            gone[first:end] = [True] * (end - first)
        _drop_blank_lines(lines, gone)
        removed = list(_runs(gone))
    spans: list[list[int]] = []
    for low, high in removed:
        if spans and spans[-1][1] == starts[low]:
            spans[-1][1] = starts[high]
        else:
            spans.append([starts[low], starts[high]])
    if spans and spans[-1][1] > len(text):
        # The last line has no line feed of its own: remove the one before it.
        spans[-1] = [max(spans[-1][0] - 1, 0), len(text)]
    return [Edit(start, end, "", reason) for start, end in spans]


def _drop_blank_lines(lines: Sequence[str], gone: list[bool]) -> None:
    """Mark in `gone` the blank lines that would be left at an end of the text or next to others.

    In every run of marked and blank lines with a marked one, only the longest run of blank lines
    stays, and none at the ends of the text.
    """
    gone_or_blank = [marked or not line.strip() for marked, line in zip(gone, lines, strict=True)]
    for low, high in _runs(gone_or_blank):
        if not any(gone[low:high]):
            continue
        blank = list(_runs([not marked for marked in gone[low:high]]))
        kept = max(blank, key=lambda run: run[1] - run[0], default=(0, 0))
        if low == 0 or high == len(lines):
            kept = (0, 0)
        gone[low:high] = [not kept[0] <= line < kept[1] for line in range(high - low)]


def _runs(flags: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """[start, end) of every maximal run of true flags."""
    start = 0
    for value, group in itertools.groupby(flags):
        length = sum(1 for _ in group)
        if value:
            yield start, start + length
        start += length
