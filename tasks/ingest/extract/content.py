"""The main content of a page: the blocks that a classifier keeps, joined to text.

1. `scan` cuts the serialised tree into blocks, `describe` says what each looks like.
2. A forest of small trees gives for every block the probability p that it is main content (fitted
   on pages of seven types by `tests/benchmarks/fit_extraction.py`).
3. Blocks are kept in the order of p as long as the expected F1 of the page's words grows: with w
   words a block, F1 of the kept set K is expected to be 2 * sum_K(p w) / (sum_K(w) + sum(p w)).
   So a page of cards, none of which is certain, keeps them all, and an article drops a teaser of
   the same p.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from resiliparse.parse.html import HTMLTree

from tasks.ingest.extract import features as looks
from tasks.ingest.extract.columns import (
    B_ELEMENT,
    B_END,
    B_LINKED,
    B_START,
    B_WIDTH,
    B_WORDS,
    E_PARENT,
    E_TAG,
    ELEMENT_COLUMNS,
    ELEMENT_MASKS,
    N_BLOCK,
)
from tasks.ingest.extract.forest import load, log_odds
from tasks.ingest.extract.head import Head, Markup, markup_of, page_features, read_head
from tasks.ingest.extract.letters import add_words
from tasks.ingest.extract.names import NUMBER, ancestor_bits, tag_table, word_table
from tasks.ingest.extract.scan import scan
from tasks.ingest.extract.surroundings import depth_of
from tasks.ingest.extract.tables import empty
from tasks.ingest.raw_documents import Unreadable

_TAGS = (*tag_table(), ancestor_bits())
_CLASS_WORDS = word_table()
_FOREST = load(Path(__file__).with_name("forest.json"), looks.FEATURES)
MAX_TAGS = 2_000_000
"""Tags of a page, ends included, 150 bytes of tables each: no page of 4 MB has as many."""

LEAST_EXPECTED = 0.15
"""A page of which less F1 is expected has no main content: a menu, a script's empty frame."""

MAX_BETWEEN, LEAST_BETWEEN = 8, 0.1
"""Blocks between two kept ones that are kept with them, and the least p of these."""

MAX_HEADINGS, LEAST_HEADING = 2, 0.03
"""Headings above a kept block that are kept with it, and the least p of these."""

_ROWS_AT_ONCE = 1 << 15
"""Blocks described at once, 30 MB: a page of 4 MB may have a million."""

_P, _LI, _PRE, _H1 = (NUMBER[name] for name in ("p", "li", "pre", "h1"))
_CELLS = (NUMBER["td"], NUMBER["th"])


_NONE = np.array([[-1, 0, 0, 0]], np.int32)


class Blocks(NamedTuple):
    """A page cut up: what `scan` fills, cut to size, and the text."""

    elements: npt.NDArray[np.int32]
    masks: npt.NDArray[np.uint64]
    blocks: npt.NDArray[np.int32]
    block_masks: npt.NDArray[np.uint64]
    text: bytes

    def rows_of(self, numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Rows of elements, int32 (N, 4); for -1, that of one without a parent, a name, a block."""
        rows = np.take(self.elements if len(self.elements) else _NONE, numbers, 0, mode="clip")
        rows[numbers < 0] = _NONE
        return rows

    def depth(self) -> int:
        """Of the deepest element; those without an end tag (<br>, <img>) are no elements here."""
        return int(depth_of(self.elements))

    def texts(self) -> list[str]:
        return [
            self.text[start:end].decode("utf-8", "replace")
            for start, end in self.blocks[:, :2].tolist()
        ]


def cut(markup: Markup, head: Head) -> Blocks:
    """The serialised source of a page as blocks. Raises Unreadable("page_too_complex")."""
    source = np.frombuffer(markup.source, np.uint8)
    size = len(markup.openings) + 1
    if size > MAX_TAGS:
        raise Unreadable("page_too_complex")
    elements = np.empty((size, len(ELEMENT_COLUMNS)), np.int32)
    masks = np.empty((size, len(ELEMENT_MASKS)), np.uint64)
    blocks = np.empty((size, N_BLOCK), np.int32)
    block_masks = np.empty((size, 2), np.uint64)
    text = np.empty(len(source) + 1, np.uint8)
    meta = head.meta
    n_elements, n_blocks, written = scan(
        source,
        markup.openings,
        _TAGS,
        _CLASS_WORDS,
        _words(
            f"{head.title} {meta.get('og:title', '')}",
            f"{meta.get('description', '')} {meta.get('og:description', '')}",
            head.stated(),
        ),
        elements,
        masks,
        blocks,
        block_masks,
        text,
    )
    if n_elements < 0:
        raise Unreadable("page_too_complex")
    return Blocks(
        elements[:n_elements],
        masks[:n_elements],
        blocks[:n_blocks],
        block_masks[:n_blocks],
        text[:written].tobytes(),
    )


def _words(*texts: str) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
    """The words of up to eight texts as a table, and which texts have each, by bit."""
    sources = [np.frombuffer(text.encode("utf-8", "replace"), np.uint8) for text in texts]
    keys = empty(sum(len(source) // 2 + 1 for source in sources))
    bits = np.zeros(len(keys), np.uint8)
    for number, source in enumerate(sources):
        add_words(source, 1 << number, keys, bits)
    return keys, bits


def described(
    found: Blocks, head: Head, start: int = 0, count: int | None = None
) -> npt.NDArray[np.float32]:
    """What `count` blocks from `start` on look like, by default all; float32 (N, len(FEATURES))."""
    size = len(found.blocks) - start
    rows = np.empty((size if count is None else min(count, size), len(looks.FEATURES)), np.float32)
    if len(rows):
        looks.describe(*found[:4], page_features(head), start, rows)
    return rows


def probabilities(found: Blocks, head: Head) -> npt.NDArray[np.float32]:
    """Of every block being main content; float32 (B,)."""
    odds = np.zeros(len(found.blocks), np.float32)
    for start in range(0, len(odds), _ROWS_AT_ONCE):
        rows = described(found, head, start, _ROWS_AT_ONCE)
        log_odds(*_FOREST, rows, odds[start : start + len(rows)])
    return np.asarray(1 / (1 + np.exp(-odds)), np.float32)


def chosen(
    probability: npt.NDArray[np.float32], words: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    """The blocks to keep by themselves, bool (B,), from p and their numbers of words; none where
    F1 would be expected to be next to nothing.
    """
    if not len(probability):
        return np.zeros(0, np.bool_)
    order = np.argsort(-probability, kind="stable")
    right = np.cumsum((probability * words)[order])
    f1 = right / (np.cumsum(words[order]) + right[-1])
    best = np.argmax(f1)
    if 2 * f1[best] < LEAST_EXPECTED:
        return np.zeros(len(probability), np.bool_)
    return np.asarray(probability >= probability[order[best]])


def main_content(tree: HTMLTree) -> str:
    """The main content of a parsed page, blocks apart by blank lines; "" where there is none.
    Raises Unreadable("page_too_complex").
    """
    markup = markup_of(str(tree))
    head = read_head(markup)
    return content_of(cut(markup, head), head)


def content_of(found: Blocks, head: Head) -> str:
    """The same from a page's blocks and its head."""
    probability = probabilities(found, head)
    words = np.maximum(found.blocks[:, B_WORDS], 0.1).astype(np.float32)
    keep = chosen(probability, words)
    return _joined(found, np.flatnonzero(completed(found, probability, keep)).tolist())


def completed(
    found: Blocks, probability: npt.NDArray[np.float32], keep: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """The blocks that are kept with what makes them whole: up to eight short lines between two of
    them, headings right above one, and the first <h1>, which is the title.
    """
    keep = keep.copy()
    kept = np.flatnonzero(keep)
    if not len(kept):
        return keep
    is_line = probability >= LEAST_BETWEEN
    is_line &= found.blocks[:, B_LINKED] <= 0.3 * found.blocks[:, B_WIDTH]
    gaps = np.flatnonzero((np.diff(kept) > 1) & (np.diff(kept) <= MAX_BETWEEN + 1))
    for before, after in zip(kept[gaps].tolist(), kept[gaps + 1].tolist(), strict=True):
        if is_line[before + 1 : after].all():
            keep[before + 1 : after] = True
    level = headings(found)
    heads = np.flatnonzero(level)
    next_head, below, above = -1, False, 0
    for at in heads[::-1].tolist():  # below: whether what comes after these headings is kept
        if at + 1 != next_head:
            below, above = at + 1 < len(keep) and bool(keep[at + 1]), 0
        keep[at] |= below and above < MAX_HEADINGS and bool(probability[at] >= LEAST_HEADING)
        next_head, above = at, above + 1
    titles = np.flatnonzero(level == 1)
    if len(titles) and probability[titles[0]] >= LEAST_HEADING:
        keep[titles[0]] = True
    return keep


def headings(found: Blocks) -> npt.NDArray[np.int32]:
    """The level of the heading that each block is, 0 for none, int32 (B,): what stands right in
    <h2>, or in an element that does.
    """
    around = found.rows_of(found.blocks[:, B_ELEMENT])
    outside = found.rows_of(around[:, E_PARENT])
    own, outer = (rows[:, E_TAG] - _H1 + 1 for rows in (around, outside))
    return np.where((own > 0) & (own <= 6), own, np.where((outer > 0) & (outer <= 6), outer, 0))


def _joined(found: Blocks, kept: list[int]) -> str:
    """List items one a line with a bullet, cells of a row in one line, other blocks apart."""
    parts: list[str] = []
    elements, text = found.elements, found.text
    blocks = found.blocks[kept]
    spans, around = blocks[:, [B_START, B_END]].tolist(), found.rows_of(blocks[:, B_ELEMENT])
    was_item, was_row = False, -1
    for at, (start, end), (parent, tag, first, _) in zip(kept, spans, around.tolist(), strict=True):
        piece = text[start:end].decode("utf-8", "replace")
        if tag != _PRE and not piece.isascii():
            piece = "\n".join(" ".join(line.split()) for line in piece.split("\n"))
        piece = piece.strip("\n")
        if not piece or piece.isspace():
            continue
        if tag == _P and parent >= 0 and first == at:
            above = elements[parent]
            if above[1] == _LI or above[1] in _CELLS:
                parent, tag, first, _ = above.tolist()
        item = tag == _LI and first == at
        row = parent if tag in _CELLS and parent >= 0 else -1
        if parts:
            if row >= 0 and row == was_row:
                parts.append(" | ")
            else:
                parts.append(
                    "\n"
                    if (item and was_item)
                    or (row >= 0 and was_row >= 0 and elements[row, 0] == elements[was_row, 0])
                    else "\n\n"
                )
        parts.append(f"• {piece}" if item else piece)
        was_item, was_row = item, row
    return "".join(parts)
