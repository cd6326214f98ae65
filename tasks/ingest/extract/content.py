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
from tasks.ingest.extract import scan as scanning
from tasks.ingest.extract.forest import load, log_odds
from tasks.ingest.extract.head import Head, page_features, read_head
from tasks.ingest.extract.names import NUMBER, ancestor_bits, tag_table, word_table

_TAGS = tag_table()
_TAG_BITS = ancestor_bits()
_WORDS = word_table()
_FOREST = load(Path(__file__).with_name("forest.json"), looks.FEATURES)
_P, _LI, _PRE, _TR, _CELLS = NUMBER["p"], NUMBER["li"], NUMBER["pre"], NUMBER["tr"], (NUMBER["td"], NUMBER["th"])


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
    elements = np.empty((size, len(scanning.ELEMENT_COLUMNS)), np.int32)
    masks = np.empty((size, len(scanning.ELEMENT_MASKS)), np.uint64)
    blocks = np.empty((size, scanning.N_BLOCK), np.int32)
    block_masks = np.empty((size, 2), np.uint64)
    text = np.empty(len(source) + 1, np.uint8)
    meta = head.meta
    n_elements, n_blocks, written = scanning.scan(
        np.frombuffer(source, np.uint8),
        *_TAGS,
        _TAG_BITS,
        *_WORDS,
        _hashes(f"{head.title} {meta.get('og:title', '')}"),
        _hashes(f"{meta.get('description', '')} {meta.get('og:description', '')}"),
        elements,
        masks,
        blocks,
        block_masks,
        text,
    )
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
    return np.unique(hashes[: scanning.hash_words(source, hashes)])


def described(found: Blocks, head: Head) -> npt.NDArray[np.float32]:
    """What every block looks like; float32 (B, len(FEATURES))."""
    rows = np.empty((len(found.blocks), len(looks.FEATURES)), np.float32)
    if len(rows):
        looks.describe(*found[:4], page_features(head), rows)
    return rows


def probabilities(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Of every block being main content; float32 (B,)."""
    odds = np.zeros(len(rows), np.float32)
    log_odds(*_FOREST, rows, odds)
    return 1 / (1 + np.exp(-odds))


def chosen(
    probability: npt.NDArray[np.float32], words: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    """The blocks to keep, bool (B,), from p and their numbers of words."""
    if not len(probability):
        return np.zeros(0, np.bool_)
    order = np.argsort(-probability, kind="stable")
    right = np.cumsum((probability * words)[order])
    f1 = right / (np.cumsum(words[order]) + right[-1])
    return probability >= probability[order[np.argmax(f1)]]


def main_content(tree: HTMLTree) -> str:
    """The main content of a parsed page, blocks apart by blank lines; "" where there is none."""
    page = str(tree)
    head = read_head(page)
    found = cut(page, head)
    words = np.maximum(found.blocks[:, scanning.B_WORDS], 0.1).astype(np.float32)
    keep = chosen(probabilities(described(found, head)), words)
    return _joined(found, np.flatnonzero(keep).tolist())


def _joined(found: Blocks, kept: list[int]) -> str:
    """List items one a line with a bullet, cells of a row in one line, other blocks apart."""
    parts: list[str] = []
    elements, text = found.elements, found.text
    places = found.blocks[:, [scanning.B_START, scanning.B_END, scanning.B_ELEMENT]].tolist()
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
                parts.append("\n" if item and was_item or row >= 0 and was_row >= 0 and elements[row, 0] == elements[was_row, 0] else "\n\n")
        parts.append(f"• {piece}" if item else piece)
        was_item, was_row = item, row
    return "".join(parts)
