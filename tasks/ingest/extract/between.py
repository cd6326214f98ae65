"""What `scan` passes over between a page's tags, and what it does with text that it has read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tasks.ingest.extract.columns import (
    B_BOLD,
    B_BUTTONS,
    B_DATA,
    B_DESCRIPTION,
    B_LINKED,
    B_TITLE,
    B_WIDTH,
    B_WORDS,
    BYTES,
    HASHES,
    NUMBERS,
)
from tasks.ingest.extract.letters import PRIME, read_name
from tasks.ingest.extract.tables import lookup
from tasks.text.compiled import compiled

GAP = 0xFF
"""The byte between two links or buttons that touch, which no UTF-8 has: a space where the block is
nothing else.
"""


@compiled(types.int64(BYTES, NUMBERS, types.int64, types.int64, types.uint64))
def after_raw(html: Any, openings: Any, opening: Any, at: Any, name: Any) -> Any:
    """Place of the end tag, from `at` on, of an element whose content is no mark-up; `openings` are
    the places of "<", those before `opening` before `at` too.
    """
    for number in range(opening, openings.shape[0]):
        tag = openings[number]
        closes = tag >= at and tag + 1 < html.shape[0] and html[tag + 1] == 47
        if closes and read_name(html, tag + 2)[0] == name:
            return tag
    return html.shape[0]


@compiled(types.int64(BYTES, types.int64))
def after_comment(html: Any, at: Any) -> Any:
    """Place behind a comment or doctype."""
    size = html.shape[0]
    if at + 3 < size and html[at + 2] == 45 and html[at + 3] == 45:
        at += 4
        while at + 2 < size and not (html[at] == 45 and html[at + 1] == 45 and html[at + 2] == 62):
            at += 1
        return min(at + 3, size)
    while at < size and html[at] != 62:
        at += 1
    return min(at + 1, size)


@compiled(types.boolean(BYTES, types.int64, types.int64, types.int64, types.int64))
def is_icon(html: Any, at: Any, last: Any, stop: Any, size: Any) -> Any:
    """Whether a text node, white space aside, is one character for an icon font (private use area),
    or the pilcrow that is a heading's link to itself.
    """
    if last - at == 3:
        return html[at] == 0xEE or (html[at] == 0xEF and html[at + 1] < 0xA4)
    return (
        last - at == 2
        and html[at] == 0xC2
        and html[at + 1] == 0xB6
        and stop + 2 < size
        and html[stop + 1] == 47
        and html[stop + 2] == 97
    )


@compiled(types.int64(types.uint8[::1], types.int64, types.int64, types.boolean))
def without_gaps(text: Any, start: Any, end: Any, spaced: Any) -> Any:
    """Take the gaps from a block's text, or make them spaces; its new end."""
    fill = start
    for place in range(start, end):
        if text[place] != GAP or spaced:
            text[fill] = text[place] if text[place] != GAP else 32
            fill += 1
    return fill


@compiled(types.int64(types.uint8[::1], types.int64, types.int64))
def write_feeds(text: Any, end: Any, count: Any) -> Any:
    """Write line feeds at the end of the text; its new end."""
    for place in range(end, end + count):
        text[place] = 10
    return end + count


@compiled(types.void(types.uint64, types.int64, HASHES, BYTES, types.int32[::1]))
def count_word(word: Any, counts: Any, page_words: Any, where: Any, block: Any) -> None:
    """Count a word, as so many, and whether the page's title, description or JSON-LD has it too."""
    block[B_WORDS] += counts
    known = lookup(page_words, word)
    if known >= 0:
        block[B_TITLE] += where[known] & 1
        block[B_DESCRIPTION] += (where[known] >> 1) & 1
        block[B_DATA] += where[known] >> 2


@compiled(types.void(types.int32[::1], types.int64, types.int64, types.int64, types.int64))
def add_cells(block: Any, cells: Any, links: Any, buttons: Any, bold: Any) -> None:
    """Add cells to a block's counts, within so many open links, buttons and bold elements."""
    block[B_WIDTH] += cells
    if links:
        block[B_LINKED] += cells
    elif buttons:
        block[B_BUTTONS] += cells
    if bold:
        block[B_BOLD] += cells


@compiled(
    types.Tuple((types.int64, types.uint64, types.uint64))(
        BYTES,
        types.int64,
        types.int64,
        types.uint8[::1],
        types.int64,
        types.uint64,
        types.uint64,
    )
)
def copy_letters(
    html: Any, at: Any, stop: Any, text: Any, end: Any, text_hash: Any, word: Any
) -> Any:
    """Copy the small letters of ASCII at `at` to the end of the text; (their number, hashes of the
    text and of the word with them).
    """
    count = 0
    while at + count < stop and 97 <= html[at + count] <= 122:
        letter = np.uint64(html[at + count])
        text[end + count] = html[at + count]
        text_hash = (text_hash ^ letter) * PRIME
        word = (word ^ letter) * PRIME
        count += 1
    return count, text_hash, word
