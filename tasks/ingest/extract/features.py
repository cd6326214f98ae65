"""What the classifier sees of each block: its own text, where it stands, what stands beside it.

One compiled pass over the arrays of `scan`. Nothing depends on a language: lengths are in cells (a
CJK character counts two), sentence ends are those of every script.
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
    M_HASH,
    M_OWN,
    M_TAGS,
    M_WORDS,
)  # fmt: skip
from tasks.ingest.extract.names import ANCESTORS, CATEGORIES, NUMBER
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

_H1, _P, _LI, _BODY = NUMBER["h1"], NUMBER["p"], NUMBER["li"], NUMBER["body"]
_TD, _ARTICLE = NUMBER["td"], NUMBER["article"]
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
    n, n_elements = blocks.shape[0], elements.shape[0]
    first_row = start
    # prefix sums over blocks: width, linked, long text, controls
    sums = np.zeros((n + 1, 3), np.int64)
    heading = np.zeros(n, np.int64)
    alike = np.zeros(n, np.uint64)
    link_share = np.zeros(n, np.float32)
    prices = headings = items = cells = 0
    for b in range(n):
        width = blocks[b, B_WIDTH]
        linked = min(blocks[b, B_LINKED] + blocks[b, B_BUTTONS], width)
        link_share[b] = linked / width
        sums[b + 1, 0] = sums[b, 0] + width
        sums[b + 1, 1] = sums[b, 1] + linked
        is_long = width >= 80 and linked < 0.4 * width
        sums[b + 1, 2] = sums[b, 2] + (width if is_long else 0)
        element = blocks[b, B_ELEMENT]
        if element >= 0:
            tag = elements[element, E_TAG]
            above = element
            for _ in range(2):  # h2 > div, li > p
                if above >= 0 and _H1 <= elements[above, E_TAG] < _H1 + 6:
                    heading[b] = elements[above, E_TAG] - _H1 + 1
                above = elements[above, E_PARENT] if above >= 0 else -1
            if tag == _LI:
                items += 1
            if tag == _TD:
                cells += 1
            # what it looks like: the element, and three above it
            value = np.uint64(0)
            above = element
            for _ in range(4):
                if above < 0:
                    break
                value = value * np.uint64(0x9E3779B97F4A7C15) + masks[above, M_HASH]
                above = elements[above, E_PARENT]
            alike[b] = value
        prices += blocks[b, B_MARKS] & 1
        headings += heading[b] > 0
    total, linked_total, long_total = sums[n, 0], sums[n, 1], sums[n, 2]
    # blocks that look alike
    order = np.argsort(alike)
    alike_n = np.zeros(n, np.int64)
    alike_width = np.zeros(n, np.float32)
    alike_links = np.zeros(n, np.float32)
    start = 0
    for place in range(1, n + 1):
        if place == n or alike[order[place]] != alike[order[start]]:
            width = linked = 0
            for at in range(start, place):
                width += blocks[order[at], B_WIDTH]
                linked += blocks[order[at], B_LINKED]
            for at in range(start, place):
                alike_n[order[at]] = place - start
                alike_width[order[at]] = width / (place - start)
                alike_links[order[at]] = linked / width
            start = place
    # blocks with the same text
    texts = block_masks[:, 0].copy()
    order = np.argsort(texts, kind="mergesort")
    same = np.zeros(n, np.int64)
    same_before = np.zeros(n, np.int64)
    start = 0
    for place in range(1, n + 1):
        if place == n or texts[order[place]] != texts[order[start]]:
            for at in range(start, place):
                same[order[at]] = place - start
                same_before[order[at]] = at - start
            start = place
    # siblings that look alike
    keys = np.zeros(n_elements, np.uint64)
    for e in range(n_elements):
        keys[e] = np.uint64(elements[e, E_PARENT] + 1) * np.uint64(0x9E3779B97F4A7C15) ^ masks[
            e, M_HASH
        ] * np.uint64(0xC2B2AE3D27D4EB4F)
    element_order = np.argsort(keys)
    siblings = np.zeros(n_elements, np.int64)
    start = 0
    for place in range(1, n_elements + 1):
        if place == n_elements or keys[element_order[place]] != keys[element_order[start]]:
            count = 0
            for at in range(start, place):
                e = element_order[at]
                count += elements[e, E_END] > elements[e, E_FIRST]
            for at in range(start, place):
                siblings[element_order[at]] = count
            start = place
    # the element with the most text right below it, as in Readability
    score = np.zeros(n_elements, np.float32)
    articles = 0
    for e in range(n_elements):
        articles += elements[e, E_TAG] == _ARTICLE
    for b in range(n):
        width = blocks[b, B_WIDTH]
        if width >= 60 and link_share[b] < 0.4 and blocks[b, B_ELEMENT] >= 0:
            element = blocks[b, B_ELEMENT]
            if not (masks[element, M_TAGS] >> np.uint64(_HIDDEN_BIT)) & _ONE:
                weight = np.float32(min(width, 1000))
                above = elements[element, E_PARENT]
                for _ in range(3):
                    if above < 0:
                        break
                    score[above] += weight
                    weight *= np.float32(0.6)
                    above = elements[above, E_PARENT]
    best, best_score = -1, np.float32(0)
    for e in range(n_elements):
        if score[e] > best_score:
            best, best_score = e, score[e]
    best_first = best_end = 0
    outer_first, outer_end = 0, n
    if best >= 0:
        best_first, best_end = elements[best, E_FIRST], elements[best, E_END]
        above = elements[best, E_PARENT]
        while (
            above >= 0
            and elements[above, E_END] - elements[above, E_FIRST] == best_end - best_first
        ):
            above = elements[above, E_PARENT]
        if above >= 0:
            outer_first, outer_end = elements[above, E_FIRST], elements[above, E_END]
    first_h1 = -1
    h1s = 0
    for b in range(n):
        if heading[b] == 1:
            h1s += 1
            if first_h1 < 0:
                first_h1 = b
    last_heading = -1
    last_long = -1
    next_long = np.full(n + 1, n + 50, np.int64)
    for b in range(n - 1, -1, -1):
        next_long[b] = b if sums[b + 1, 2] > sums[b, 2] else next_long[b + 1]
    for b in range(first_row + out.shape[0]):
        if b < first_row:
            if heading[b]:
                last_heading = b
            if sums[b + 1, 2] > sums[b, 2]:
                last_long = b
            continue
        row = out[b - first_row]
        width = np.float32(blocks[b, B_WIDTH])
        element = blocks[b, B_ELEMENT]
        marks = blocks[b, B_MARKS]
        words = np.float32(max(blocks[b, B_WORDS], 1))
        c = 0
        row[c] = np.log1p(width)
        c += 1
        row[c] = words
        c += 1
        row[c] = blocks[b, B_LINKED] / width
        c += 1
        row[c] = blocks[b, B_LINKS]
        c += 1
        row[c] = blocks[b, B_BUTTONS] / width
        c += 1
        row[c] = blocks[b, B_UPPER] / width
        c += 1
        row[c] = blocks[b, B_DIGITS] / width
        c += 1
        row[c] = blocks[b, B_PUNCTUATION] / words
        c += 1
        row[c] = blocks[b, B_SENTENCES]
        c += 1
        for bit in range(5):
            row[c] = (marks >> bit) & 1
            c += 1
        row[c] = blocks[b, B_FIRST]
        c += 1
        row[c] = blocks[b, B_LAST]
        c += 1
        row[c] = blocks[b, B_BREAKS]
        c += 1
        row[c] = blocks[b, B_TITLE] / words
        c += 1
        row[c] = blocks[b, B_DESCRIPTION] / words
        c += 1
        row[c] = blocks[b, B_DATA] / words
        c += 1
        row[c] = 2 * blocks[b, B_WIDE] / width
        c += 1
        row[c] = blocks[b, B_BOLD] / width
        c += 1
        row[c] = width / words
        c += 1
        tag = elements[element, E_TAG] if element >= 0 else 0
        row[c] = min(tag, 22)
        c += 1
        row[c] = heading[b]
        c += 1
        depth = 0
        above = element
        while above >= 0:
            depth += 1
            above = elements[above, E_PARENT]
        row[c] = depth
        c += 1
        row[c] = 1 if element >= 0 and elements[element, E_FIRST] == b else 0
        c += 1
        row[c] = 1 if tag == _LI else 0
        c += 1
        # place
        row[c] = b / n
        c += 1
        row[c] = sums[b, 0] / total
        c += 1
        row[c] = np.log1p(np.float32(total))
        c += 1
        row[c] = np.log1p(np.float32(n))
        c += 1
        row[c] = linked_total / total
        c += 1
        row[c] = total / n
        c += 1
        row[c] = long_total / total
        c += 1
        row[c] = prices / n
        c += 1
        row[c] = headings / n
        c += 1
        row[c] = items / n
        c += 1
        row[c] = cells / n
        c += 1
        row[c] = min(b - last_heading, 50) if last_heading >= 0 else 60
        c += 1
        row[c] = heading[last_heading] if last_heading >= 0 else 0
        c += 1
        row[c] = max(min(b - first_h1, 200), -200) if first_h1 >= 0 else 300
        c += 1
        row[c] = min(h1s, 5)
        c += 1
        row[c] = sums[b, 0] - sums[last_heading, 0] if last_heading >= 0 else -1
        c += 1
        row[c] = min(articles, 20)
        c += 1
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
        c += 1
        row[c] = min(next_long[b + 1] - b, 50)
        c += 1
        low, high = max(b - 5, 0), min(b + 6, n)
        row[c] = np.log1p(np.float32(sums[high, 2] - sums[low, 2]))
        c += 1
        row[c] = (sums[high, 1] - sums[low, 1]) / (sums[high, 0] - sums[low, 0])
        c += 1
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
            c += 1
            row[c] = np.log1p(inside)
            c += 1
            row[c] = (sums[end, 1] - sums[first, 1]) / inside
            c += 1
            row[c] = inside / total
            c += 1
            row[c] = inside / (end - first)
            c += 1
            row[c] = (sums[end, 2] - sums[first, 2]) / inside
            c += 1
        # repeated
        row[c] = np.log1p(np.float32(alike_n[b]))
        c += 1
        row[c] = alike_width[b]
        c += 1
        row[c] = alike_links[b]
        c += 1
        row[c] = min(same[b], 20)
        c += 1
        row[c] = min(same_before[b], 20)
        c += 1
        inner = outer = -1
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
                c += 1
                row[c] = end - first
                c += 1
                first, end = (
                    elements[holder, E_FIRST],
                    max(elements[holder, E_END], elements[holder, E_FIRST] + 1),
                )
                inside = np.float32(max(sums[end, 0] - sums[first, 0], 1))
                row[c] = inside / siblings[card]
                c += 1
                row[c] = (sums[end, 1] - sums[first, 1]) / inside
                c += 1
            else:
                row[c] = row[c + 1] = row[c + 2] = row[c + 3] = -1
                c += 4
        row[c] = best_first <= b < best_end
        c += 1
        row[c] = (sums[best_end, 0] - sums[best_first, 0]) / total
        c += 1
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
        c += 1
        row[c] = (tags >> np.uint64(_ARIA_BIT)) & _ONE
        c += 1
        for bit in range(_N_CATEGORIES):
            row[c] = (under >> np.uint64(bit)) & _ONE
            c += 1
        for bit in range(_N_CATEGORIES):
            row[c] = (near >> np.uint64(bit)) & _ONE
            c += 1
