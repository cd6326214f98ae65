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
from tasks.ingest.extract.head import Head, page_features, read_head
from tasks.ingest.extract.letters import hash_words
from tasks.ingest.extract.names import NUMBER, ancestor_bits, tag_table, word_table
from tasks.ingest.extract.scan import scan
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


class Blocks(NamedTuple):
    """A page cut up: what `scan` fills, cut to size, and the text."""

    elements: npt.NDArray[np.int32]
    masks: npt.NDArray[np.uint64]
    blocks: npt.NDArray[np.int32]
    block_masks: npt.NDArray[np.uint64]
    text: bytes

    def texts(self) -> list[str]:
        return [
            self.text[start:end].decode("utf-8", "replace")
            for start, end in self.blocks[:, :2].tolist()
        ]


def cut(page: str, head: Head) -> Blocks:
    """The serialised source of a page as blocks."""
    source = page.encode("utf-8", "replace")
    size = source.count(b"<") + 1
    if size > MAX_TAGS:
        raise Unreadable("page_too_complex")
    elements = np.empty((size, len(ELEMENT_COLUMNS)), np.int32)
    masks = np.empty((size, len(ELEMENT_MASKS)), np.uint64)
    blocks = np.empty((size, N_BLOCK), np.int32)
    block_masks = np.empty((size, 2), np.uint64)
    text = np.empty(len(source) + 1, np.uint8)
    meta = head.meta
    n_elements, n_blocks, written = scan(
        np.frombuffer(source, np.uint8),
        _TAGS,
        _CLASS_WORDS,
        (
            _hashes(f"{head.title} {meta.get('og:title', '')}"),
            _hashes(f"{meta.get('description', '')} {meta.get('og:description', '')}"),
            _hashes(head.stated()),
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


def _hashes(words: str) -> npt.NDArray[np.uint64]:
    source = np.frombuffer(words.encode("utf-8", "replace"), np.uint8)
    hashes = np.empty(len(source) + 1, np.uint64)
    return np.unique(hashes[: hash_words(source, hashes)])


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
    page = str(tree)
    return content_of(page, read_head(page))


def content_of(page: str, head: Head) -> str:
    """The same from a page's serialised source and its head."""
    found = cut(page, head)
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
    # one row more for what stands in no element
    parent, tag = np.append(found.elements[:, [E_PARENT, E_TAG]], [[-1, 0]], axis=0).T
    element = found.blocks[:, B_ELEMENT]
    own, outer = (number - _H1 + 1 for number in (tag[element], tag[parent[element]]))
    return np.where((own > 0) & (own <= 6), own, np.where((outer > 0) & (outer <= 6), outer, 0))


def _joined(found: Blocks, kept: list[int]) -> str:
    """List items one a line with a bullet, cells of a row in one line, other blocks apart."""
    parts: list[str] = []
    elements, text = found.elements, found.text
    places = found.blocks[:, [B_START, B_END, B_ELEMENT]].tolist()
    was_item, was_row = False, -1
    for at in kept:
        start, end, element = places[at]
        piece = text[start:end].decode("utf-8", "replace")
        parent, tag, first, _ = elements[element].tolist() if element >= 0 else (-1, 0, 0, 0)
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
