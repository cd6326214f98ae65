"""What is known of all blocks of a page before each is described: sums, looks, repeats, the element
with the most text.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tasks.ingest.extract.columns import (
    B_BUTTONS,
    B_ELEMENT,
    B_LINKED,
    B_MARKS,
    B_WIDTH,
    E_END,
    E_FIRST,
    E_PARENT,
    E_TAG,
    HIDDEN,
    M_HASH,
    M_TAGS,
)
from tasks.ingest.extract.names import NUMBER
from tasks.text.compiled import compiled

_H1, _LI, _TD, _ARTICLE = NUMBER["h1"], NUMBER["li"], NUMBER["td"], NUMBER["article"]
_HIDDEN = HIDDEN
_ONE = np.uint64(1)
_ELEMENTS, _MASKS = types.int32[:, ::1], types.uint64[:, ::1]
_FLOATS, _COUNTS = types.float32[::1], types.int64[::1]


@compiled(types.int64(_ELEMENTS))
def depth_of(elements: Any) -> Any:
    """Elements from the root to the deepest one, both counted."""
    depths = np.zeros(elements.shape[0] + 1, np.int64)  # the last, -1, is what is above the root
    deepest = 0
    for element in range(elements.shape[0]):
        depths[element] = depths[elements[element, E_PARENT]] + 1
        deepest = max(deepest, depths[element])
    return deepest


@compiled(types.Tuple((types.int64[:, ::1], _FLOATS))(_ELEMENTS))
def sums_of(blocks: Any) -> Any:
    """(sums (N + 1, 3) of the cells, linked cells and cells in long blocks before each block; share
    of linked cells of each, (N,)); buttons count as links.
    """
    n = blocks.shape[0]
    sums = np.zeros((n + 1, 3), np.int64)
    link_share = np.zeros(n, np.float32)
    for b in range(n):
        width = blocks[b, B_WIDTH]
        linked = min(blocks[b, B_LINKED] + blocks[b, B_BUTTONS], width)
        link_share[b] = linked / width
        sums[b + 1, 0] = sums[b, 0] + width
        sums[b + 1, 1] = sums[b, 1] + linked
        is_long = width >= 80 and linked < 0.4 * width
        sums[b + 1, 2] = sums[b, 2] + (width if is_long else 0)
    return sums, link_share


@compiled(
    types.Tuple((_COUNTS, types.uint64[::1], types.UniTuple(types.int64, 7)))(
        _ELEMENTS, _MASKS, _ELEMENTS
    )
)
def looks(elements: Any, masks: Any, blocks: Any) -> Any:
    """(level of the heading that each block is, or 0; hash of what each looks like; how many blocks
    have a price, are headings, list items, cells; how many elements are articles; how many blocks
    are in <h1>, and the first, -1 for none).
    """
    n = blocks.shape[0]
    heading = np.zeros(n, np.int64)
    alike = np.zeros(n, np.uint64)
    prices = headings = items = cells = articles = h1s = 0
    first_h1 = -1
    for b in range(n):
        element = blocks[b, B_ELEMENT]
        if element >= 0:
            tag = elements[element, E_TAG]
            above = element
            for _ in range(2):  # h2 > div, li > p
                if above >= 0 and _H1 <= elements[above, E_TAG] < _H1 + 6:
                    heading[b] = elements[above, E_TAG] - _H1 + 1
                above = elements[above, E_PARENT] if above >= 0 else -1
            items += tag == _LI
            cells += tag == _TD
            # the element, and three above it
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
        if heading[b] == 1:
            h1s += 1
            first_h1 = b if first_h1 < 0 else first_h1
    for e in range(elements.shape[0]):
        articles += elements[e, E_TAG] == _ARTICLE
    return heading, alike, (prices, headings, items, cells, articles, h1s, first_h1)


@compiled(types.Tuple((_COUNTS, _FLOATS, _FLOATS))(types.uint64[::1], _ELEMENTS))
def alike_groups(alike: Any, blocks: Any) -> Any:
    """Of the blocks that look like each: how many, their mean cells, the share of linked ones."""
    n = blocks.shape[0]
    order = np.argsort(alike)
    count = np.zeros(n, np.int64)
    mean = np.zeros(n, np.float32)
    links = np.zeros(n, np.float32)
    start = 0
    for place in range(1, n + 1):
        if place == n or alike[order[place]] != alike[order[start]]:
            width = linked = 0
            for at in range(start, place):
                width += blocks[order[at], B_WIDTH]
                linked += blocks[order[at], B_LINKED]
            for at in range(start, place):
                count[order[at]] = place - start
                mean[order[at]] = width / (place - start)
                links[order[at]] = linked / width
            start = place
    return count, mean, links


@compiled(types.UniTuple(_COUNTS, 2)(_MASKS))
def same_texts(block_masks: Any) -> Any:
    """How many blocks have the same text as each, and how many of them are before it."""
    n = block_masks.shape[0]
    texts = block_masks[:, 0].copy()
    order = np.argsort(texts, kind="mergesort")
    same = np.zeros(n, np.int64)
    before = np.zeros(n, np.int64)
    start = 0
    for place in range(1, n + 1):
        if place == n or texts[order[place]] != texts[order[start]]:
            for at in range(start, place):
                same[order[at]] = place - start
                before[order[at]] = at - start
            start = place
    return same, before


@compiled(_COUNTS(_ELEMENTS, _MASKS))
def sibling_counts(elements: Any, masks: Any) -> Any:
    """Of each element, how many of its parent's children look like it and have text."""
    n = elements.shape[0]
    keys = np.zeros(n, np.uint64)
    for e in range(n):
        keys[e] = np.uint64(elements[e, E_PARENT] + 1) * np.uint64(0x9E3779B97F4A7C15) ^ masks[
            e, M_HASH
        ] * np.uint64(0xC2B2AE3D27D4EB4F)
    order = np.argsort(keys)
    siblings = np.zeros(n, np.int64)
    start = 0
    for place in range(1, n + 1):
        if place == n or keys[order[place]] != keys[order[start]]:
            count = 0
            for at in range(start, place):
                e = order[at]
                count += elements[e, E_END] > elements[e, E_FIRST]
            for at in range(start, place):
                siblings[order[at]] = count
            start = place
    return siblings


@compiled(types.UniTuple(types.int64, 4)(_ELEMENTS, _MASKS, _ELEMENTS, _FLOATS))
def best_element(elements: Any, masks: Any, blocks: Any, link_share: Any) -> Any:
    """The blocks [first, end) of the element with the most text right below it, as in Readability
    (0, 0: none), and those of the next one around it that holds more (0, N: none).
    """
    n, n_elements = blocks.shape[0], elements.shape[0]
    score = np.zeros(n_elements, np.float32)
    for b in range(n):
        width = blocks[b, B_WIDTH]
        if width >= 60 and link_share[b] < 0.4 and blocks[b, B_ELEMENT] >= 0:
            element = blocks[b, B_ELEMENT]
            if not (masks[element, M_TAGS] >> np.uint64(_HIDDEN)) & _ONE:
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
    if best < 0:
        return 0, 0, 0, n
    first, end = elements[best, E_FIRST], elements[best, E_END]
    above = elements[best, E_PARENT]
    while above >= 0 and elements[above, E_END] - elements[above, E_FIRST] == end - first:
        above = elements[above, E_PARENT]
    if above < 0:
        return first, end, 0, n
    return first, end, elements[above, E_FIRST], elements[above, E_END]
