"""What the classifier sees of each block: its own text, where it stands, what stands beside it.

One compiled pass over the arrays of `scan` and what `surroundings` makes of them. Nothing depends
on a language: lengths are in cells (a CJK character counts two), sentence ends are those of every
script. Features are written in the order of their names, `c` being the place of the next one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tasks.ingest.extract.columns import (
    B_BOLD,
    B_BREAKS,
    B_BUTTONS,
    B_DATA,
    B_DESCRIPTION,
    B_DIGITS,
    B_ELEMENT,
    B_FIRST,
    B_LAST,
    B_LINKED,
    B_LINKS,
    B_MARKS,
    B_PUNCTUATION,
    B_SENTENCES,
    B_TITLE,
    B_UPPER,
    B_WIDE,
    B_WIDTH,
    B_WORDS,
    E_END,
    E_FIRST,
    E_PARENT,
    E_TAG,
    M_OWN,
    M_TAGS,
    M_WORDS,
)  # fmt: skip
from tasks.ingest.extract.names import ANCESTORS, CATEGORIES, NUMBER
from tasks.ingest.extract.surroundings import (
    alike_groups,
    best_element,
    looks,
    same_texts,
    sibling_counts,
    sums_of,
)
from tasks.text.compiled import compiled

PAGE_FEATURES = ("article", "product", "list", "forum", "og_type", "path", "slug")
"""What the caller knows of the page, see `page_features`."""
LEVELS = 4
_OWN = (
    "width", "words", "link_share", "links", "button_share", "upper_share", "digit_share",
    "punctuation", "sentences", "price", "copyright", "arrow", "bar", "at", "first", "last",
    "breaks", "in_title", "in_description", "in_data", "wide_share", "bold_share", "word_length",
    "tag", "heading", "depth", "first_of_element", "list_item",
)  # fmt: skip
_PLACE = (
    "place", "share_before", "page_width", "page_blocks", "page_links", "page_mean", "page_long",
    "page_prices", "page_headings", "page_list", "page_table", "since_heading", "heading_above",
    "from_h1", "page_h1", "heading_width", "page_articles",
)  # fmt: skip
_BESIDE = (
    *(
        f"{name}{offset:+d}"
        for offset in (-3, -2, -1, 1, 2, 3)
        for name in ("width", "link_share", "heading", "alike")
    ),
    "long_before",
    "long_after",
    "text_near",
    "links_near",
)
_AROUND = tuple(
    f"{name}^{level}"
    for level in range(1, LEVELS + 1)
    for name in ("blocks", "width", "links", "share", "mean", "long")
)
_REPEATED = (
    "alike", "alike_width", "alike_links", "same_text", "same_before", "siblings", "sibling_blocks",
    "sibling_width", "sibling_links", "outer_siblings", "outer_blocks", "outer_width",
    "outer_links", "in_best", "best_share", "from_best", "outer_best",
)  # fmt: skip
FEATURES = (
    *_OWN, *_PLACE, *_BESIDE, *_AROUND, *_REPEATED,
    *(f"page:{name}" for name in PAGE_FEATURES),
    *(f"in:{name}" for name in ANCESTORS), "in:hidden", "in:aria",
    *(f"under:{name}" for name in CATEGORIES), *(f"near:{name}" for name in CATEGORIES),
)  # fmt: skip

_LI, _BODY = NUMBER["li"], NUMBER["body"]
_N_ANCESTORS, _N_CATEGORIES, _N_PAGE = len(ANCESTORS), len(CATEGORIES), len(PAGE_FEATURES)
_LEVELS = LEVELS
_HIDDEN_BIT, _ARIA_BIT = 60, 61
_ONE = np.uint64(1)


@compiled(
    types.void(
        types.int32[:, ::1],
        types.uint64[:, ::1],
        types.int32[:, ::1],
        types.uint64[:, ::1],
        types.Array(types.float32, 1, "C", readonly=True),
        types.int64,
        types.float32[:, ::1],
    )
)
def describe(
    elements: Any, masks: Any, blocks: Any, block_masks: Any, page: Any, start: int, out: Any
) -> None:
    """Fill `out`, float32 (N, len(FEATURES)), for N blocks from the block `start` on.

    `elements`, `masks`, `blocks` and `block_masks` are what `scan` filled, cut to size; `page` is
    float32 (len(PAGE_FEATURES),).
    """
    n = blocks.shape[0]
    sums, link_share = sums_of(blocks)
    heading, alike, counts = looks(elements, masks, blocks)
    total, linked_total, long_total = sums[n, 0], sums[n, 1], sums[n, 2]
    alike_n, alike_width, alike_links = alike_groups(alike, blocks)
    same, same_before = same_texts(block_masks)
    siblings = sibling_counts(elements, masks)
    best_first, best_end, outer_first, outer_end = best_element(elements, masks, blocks, link_share)
    prices, headings, items, cells, articles, h1s, first_h1 = counts
    last_heading = -1
    last_long = -1
    next_long = np.full(n + 1, n + 50, np.int64)
    for b in range(n - 1, -1, -1):
        next_long[b] = b if sums[b + 1, 2] > sums[b, 2] else next_long[b + 1]
    for b in range(start + out.shape[0]):
        if b < start:
            if heading[b]:
                last_heading = b
            if sums[b + 1, 2] > sums[b, 2]:
                last_long = b
            continue
        row = out[b - start]
        width = np.float32(blocks[b, B_WIDTH])
        element = blocks[b, B_ELEMENT]
        marks = blocks[b, B_MARKS]
        words = np.float32(max(blocks[b, B_WORDS], 1))
        c = 0
        row[c] = np.log1p(width)
        row[c + 1] = words
        row[c + 2] = blocks[b, B_LINKED] / width
        row[c + 3] = blocks[b, B_LINKS]
        row[c + 4] = blocks[b, B_BUTTONS] / width
        row[c + 5] = blocks[b, B_UPPER] / width
        row[c + 6] = blocks[b, B_DIGITS] / width
        row[c + 7] = blocks[b, B_PUNCTUATION] / words
        row[c + 8] = blocks[b, B_SENTENCES]
        c += 9
        for bit in range(5):
            row[c] = (marks >> bit) & 1
            c += 1
        row[c] = blocks[b, B_FIRST]
        row[c + 1] = blocks[b, B_LAST]
        row[c + 2] = blocks[b, B_BREAKS]
        row[c + 3] = blocks[b, B_TITLE] / words
        row[c + 4] = blocks[b, B_DESCRIPTION] / words
        row[c + 5] = blocks[b, B_DATA] / words
        row[c + 6] = 2 * blocks[b, B_WIDE] / width
        row[c + 7] = blocks[b, B_BOLD] / width
        row[c + 8] = width / words
        tag = elements[element, E_TAG] if element >= 0 else 0
        row[c + 9] = min(tag, 22)
        row[c + 10] = heading[b]
        c += 11
        depth = 0
        above = element
        while above >= 0:
            depth += 1
            above = elements[above, E_PARENT]
        row[c] = depth
        row[c + 1] = 1 if element >= 0 and elements[element, E_FIRST] == b else 0
        row[c + 2] = 1 if tag == _LI else 0
        # place
        row[c + 3] = b / n
        row[c + 4] = sums[b, 0] / total
        row[c + 5] = np.log1p(np.float32(total))
        row[c + 6] = np.log1p(np.float32(n))
        row[c + 7] = linked_total / total
        row[c + 8] = total / n
        row[c + 9] = long_total / total
        row[c + 10] = prices / n
        row[c + 11] = headings / n
        row[c + 12] = items / n
        row[c + 13] = cells / n
        row[c + 14] = min(b - last_heading, 50) if last_heading >= 0 else 60
        row[c + 15] = heading[last_heading] if last_heading >= 0 else 0
        row[c + 16] = max(min(b - first_h1, 200), -200) if first_h1 >= 0 else 300
        row[c + 17] = min(h1s, 5)
        row[c + 18] = sums[b, 0] - sums[last_heading, 0] if last_heading >= 0 else -1
        row[c + 19] = min(articles, 20)
        c += 20
        if heading[b]:
            last_heading = b
        # beside
        for offset in (-3, -2, -1, 1, 2, 3):
            other = b + offset
            if 0 <= other < n:
                row[c] = np.log1p(np.float32(blocks[other, B_WIDTH]))
                row[c + 1] = link_share[other]
                row[c + 2] = heading[other]
                row[c + 3] = alike[other] == alike[b]
            else:
                row[c] = row[c + 1] = row[c + 2] = row[c + 3] = -1
            c += 4
        row[c] = min(b - last_long, 50) if last_long >= 0 else 60
        row[c + 1] = min(next_long[b + 1] - b, 50)
        low, high = max(b - 5, 0), min(b + 6, n)
        row[c + 2] = np.log1p(np.float32(sums[high, 2] - sums[low, 2]))
        row[c + 3] = (sums[high, 1] - sums[low, 1]) / (sums[high, 0] - sums[low, 0])
        c += 4
        if sums[b + 1, 2] > sums[b, 2]:
            last_long = b
        # around: ancestors that hold more than what they hold
        above = element
        first, end = b, b + 1
        for _ in range(_LEVELS):
            while above >= 0 and elements[above, E_END] - elements[above, E_FIRST] <= end - first:
                above = elements[above, E_PARENT]
            if above >= 0:
                first, end = min(elements[above, E_FIRST], b), max(elements[above, E_END], b + 1)
            inside = np.float32(sums[end, 0] - sums[first, 0])
            row[c] = np.log1p(np.float32(end - first))
            row[c + 1] = np.log1p(inside)
            row[c + 2] = (sums[end, 1] - sums[first, 1]) / inside
            row[c + 3] = inside / total
            row[c + 4] = inside / (end - first)
            row[c + 5] = (sums[end, 2] - sums[first, 2]) / inside
            c += 6
        # repeated
        row[c] = np.log1p(np.float32(alike_n[b]))
        row[c + 1] = alike_width[b]
        row[c + 2] = alike_links[b]
        row[c + 3] = min(same[b], 20)
        row[c + 4] = min(same_before[b], 20)
        c += 5
        inner = outer = -1  # the smallest and the largest of repeated cards around
        above = element
        while above >= 0 and elements[above, E_TAG] != _BODY:
            if siblings[above] >= 3:
                if inner < 0:
                    inner = above
                if elements[above, E_END] - elements[above, E_FIRST] >= 2 or outer < 0:
                    outer = above
            above = elements[above, E_PARENT]
        for which in range(2):
            card = inner if which == 0 else outer
            if card >= 0:
                holder = elements[card, E_PARENT]
                first, end = (
                    elements[card, E_FIRST],
                    max(elements[card, E_END], elements[card, E_FIRST] + 1),
                )
                row[c] = np.log1p(np.float32(siblings[card]))
                row[c + 1] = end - first
                first, end = (
                    elements[holder, E_FIRST],
                    max(elements[holder, E_END], elements[holder, E_FIRST] + 1),
                )
                inside = np.float32(max(sums[end, 0] - sums[first, 0], 1))
                row[c + 2] = inside / siblings[card]
                row[c + 3] = (sums[end, 1] - sums[first, 1]) / inside
                c += 4
            else:
                row[c] = row[c + 1] = row[c + 2] = row[c + 3] = -1
                c += 4
        row[c] = best_first <= b < best_end
        row[c + 1] = (sums[best_end, 0] - sums[best_first, 0]) / total
        c += 2
        if b < best_first:
            row[c] = max(b - best_first, -100)
        elif b >= best_end:
            row[c] = min(b - best_end + 1, 100)
        else:
            row[c] = 0
        c += 1
        row[c] = outer_first <= b < outer_end
        c += 1
        for at in range(_N_PAGE):
            row[c] = page[at]
            c += 1
        tags = under = near = np.uint64(0)
        if element >= 0:
            tags = masks[element, M_TAGS]
            under = masks[element, M_WORDS]
            near = block_masks[b, 1] | masks[element, M_OWN]
            above = elements[element, E_PARENT]
            for _ in range(2):
                if above >= 0:
                    near |= masks[above, M_OWN]
                    above = elements[above, E_PARENT]
            under |= block_masks[b, 1]
        for bit in range(_N_ANCESTORS):
            row[c] = (tags >> np.uint64(bit)) & _ONE
            c += 1
        row[c] = (tags >> np.uint64(_HIDDEN_BIT)) & _ONE
        row[c + 1] = (tags >> np.uint64(_ARIA_BIT)) & _ONE
        c += 2
        for bit in range(_N_CATEGORIES):
            row[c] = (under >> np.uint64(bit)) & _ONE
            c += 1
        for bit in range(_N_CATEGORIES):
            row[c] = (near >> np.uint64(bit)) & _ONE
            c += 1
