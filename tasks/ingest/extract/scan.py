"""From the serialised tree of a page to its elements and blocks, in one compiled pass.

A block is what a browser lays out in one flow: text and inline elements up to the next other tag,
or up to an empty line made of two <br>. The text of every block is written into one buffer as it
is shown: references resolved, white space collapsed (kept in <pre>), <br> as a line feed, without
what is not shown (scripts, styles, options, hidden inline elements, readings of ruby).

The source is what lexbor serialises, so that every element is closed, attributes stand in double
quotes, and "<" and ">" are only tags. To look at a node from Python takes 2 to 3 us; a page of a
thousand elements is scanned in a third of a millisecond.

1. A comment or doctype is passed over.
2. An end tag closes elements. A start tag opens one: its class words, and what it inherits, are
   written into a row of `elements` and `masks`.
3. A tag that is not inline ends the block: its row of `blocks` counts if it has text.
4. Text is copied, character by character, and counted in the row of the block.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tasks.ingest.extract.between import (
    GAP,
    add_cells,
    after_comment,
    after_raw,
    copy_letters,
    count_word,
    is_icon,
    without_gaps,
    write_feeds,
)
from tasks.ingest.extract.columns import (
    B_BREAKS,
    B_BUTTONS,
    B_ELEMENT,
    B_END,
    B_FIRST,
    B_LAST,
    B_LINKED,
    B_LINKS,
    B_START,
    B_WIDE,
    B_WIDTH,
    BYTES,
    E_END,
    E_FIRST,
    E_PARENT,
    E_TAG,
    HASHES,
    M_HASH,
    M_OWN,
    M_TAGS,
    M_WORDS,
    NUMBERS,
    OTHER,
)  # fmt: skip
from tasks.ingest.extract.letters import (
    OFFSET,
    PRIME,
    count_character,
    is_letter,
    kind_of_first,
    read_attributes,
    read_character,
    read_name,
)
from tasks.ingest.extract.names import BUTTON, INLINE, LINK, NUMBER, PRE, RAW, SKIP, VOID
from tasks.ingest.extract.tables import lookup
from tasks.text.compiled import compiled

MAX_OPEN = 1024
"""Elements open at once: a page of more is deeper than `tasks.ingest.page.MAX_DEPTH`."""

_LINKS_ALONE = 0.9

_BR, _RUBY = NUMBER["br"], NUMBER["ruby"]
_RT, _RP, _RTC = NUMBER["rt"], NUMBER["rp"], NUMBER["rtc"]
_B, _STRONG = NUMBER["b"], NUMBER["strong"]
_INLINE, _VOID, _SKIP, _RAW, _PRE, _LINK, _BUTTON = INLINE, VOID, SKIP, RAW, PRE, LINK, BUTTON
_OFFSET, _PRIME = OFFSET, PRIME
_NOTHING, _ENDED, _TOUCHES = range(3)
"""Of links and buttons: none is near, one has just ended, and another has begun right there."""


@compiled(
    types.UniTuple(types.int64, 3)(
        BYTES,
        NUMBERS,
        types.Tuple((HASHES, NUMBERS, NUMBERS, HASHES)),
        types.UniTuple(HASHES, 2),
        types.Tuple((HASHES, BYTES)),
        types.int32[:, ::1],
        types.uint64[:, ::1],
        types.int32[:, ::1],
        types.uint64[:, ::1],
        types.uint8[::1],
    )
)
def scan(
    html: Any,
    openings: Any,
    tags: Any,
    class_words: Any,
    stated: Any,
    elements: Any,
    masks: Any,
    blocks: Any,
    block_masks: Any,
    text: Any,
) -> Any:
    """Fill `elements` int32 (T, 4), `masks` uint64 (T, 4), `blocks` int32 (T, N_BLOCK),
    `block_masks` uint64 (T, 2) (hash of the text, categories of its inline elements) and `text`
    uint8 (N + 1,); return (elements, blocks, bytes of text), -1 elements where too many are open.

    `html` uint8 (N,); `openings` int64 (fewer than T,): the places of its "<"; `tags`:
    `names.tag_table` and `names.ancestor_bits`; `class_words`: `names.word_table`; `stated`: the
    words of title, description and JSON-LD as a table, and which of the three has each, by bit.
    """
    tag_hashes, tag_numbers, tag_flags, tag_bits = tags
    word_hashes, word_masks = class_words
    page_words, where = stated
    size, n_openings = html.shape[0], openings.shape[0]
    opening = 0  # the first that is not before `at`
    stack, stack_flags = np.zeros(MAX_OPEN, np.int64), np.zeros(MAX_OPEN, np.int64)
    open_ = n_elements = n_blocks = written = 0
    skip_from = 0  # open elements up to the outermost that is not shown; 0: all are shown
    links = buttons = pre = bold = ruby = 0  # open ones
    block = np.zeros(blocks.shape[1], np.int32)  # the row of the block
    active = False  # whether a block has begun
    space = False  # white space is due before the next character
    feeds = 0  # line feeds are due
    touching, gaps = _NOTHING, 0
    text_hash = word = _OFFSET
    word_length = 0
    inner = np.uint64(0)
    at = 0
    while True:
        ends = at >= size  # the block
        if not ends and html[at] == 60 and at + 1 < size:
            if html[at + 1] == 33 or html[at + 1] == 63:
                at = after_comment(html, at)
                continue
            closing = html[at + 1] == 47
            name, at = read_name(html, at + 2 if closing else at + 1)
            place = lookup(tag_hashes, name)
            tag = tag_numbers[place] if place >= 0 else 0
            flags = tag_flags[place] if place >= 0 else 0
            if closing:
                while at < size and html[at] != 62:
                    at += 1
                at += 1
                top = open_ - 1
                while top >= 0 and elements[stack[top], E_TAG] != tag:
                    top -= 1
                if top < 0 or flags & _VOID:
                    continue
                shown = skip_from == 0
                while open_ > top:
                    open_ -= 1
                    closed = stack[open_]
                    elements[closed, E_END] = n_blocks + (active and block[B_WIDTH] > 0)
                    number = elements[closed, E_TAG]
                    links -= (stack_flags[open_] & _LINK) != 0
                    buttons -= (stack_flags[open_] & _BUTTON) != 0
                    bold -= number == _B or number == _STRONG
                    ruby -= number == _RUBY
                    if open_ < skip_from:
                        skip_from = 0
                if not shown:
                    continue
                if flags & _INLINE:
                    if flags & (_LINK | _BUTTON):
                        touching = _ENDED
                    continue
                ends = True
                if flags & _PRE:
                    pre -= 1
                elif pre:
                    ends = False
                    if active and feeds == 0:
                        feeds = 1
            else:
                at, own, letters, hides = read_attributes(html, at, tag, word_hashes, word_masks)
                if tag == _BR:
                    if skip_from == 0 and active:
                        block[B_BREAKS] += 1
                        feeds += 1
                        space = False
                        ends = feeds == 2 and pre == 0
                elif flags & _VOID:
                    ends = not flags & _INLINE and skip_from == 0 and pre == 0
                else:
                    if open_ == MAX_OPEN:
                        return -1, 0, 0
                    behind = active and block[B_WIDTH] > 0 and not flags & _INLINE
                    parent = stack[open_ - 1] if open_ else -1
                    elements[n_elements, E_PARENT] = parent
                    elements[n_elements, E_TAG] = tag
                    elements[n_elements, E_FIRST] = n_blocks + behind
                    elements[n_elements, E_END] = n_blocks
                    masks[n_elements, M_OWN] = own
                    masks[n_elements, M_HASH] = letters
                    masks[n_elements, M_TAGS] = hides | tag_bits[tag]
                    masks[n_elements, M_WORDS] = own
                    if parent >= 0:
                        masks[n_elements, M_TAGS] |= masks[parent, M_TAGS]
                        masks[n_elements, M_WORDS] |= masks[parent, M_WORDS]
                    stack[open_] = n_elements
                    stack_flags[open_] = flags
                    open_ += 1
                    n_elements += 1
                    links += (flags & _LINK) != 0
                    buttons += (flags & _BUTTON) != 0
                    bold += tag == _B or tag == _STRONG
                    ruby += tag == _RUBY
                    if skip_from == 0 and (
                        flags & _SKIP
                        or (flags & _INLINE and hides)
                        or (ruby and (tag == _RT or tag == _RP or tag == _RTC))
                    ):
                        skip_from = open_
                    if flags & _RAW:
                        at = after_raw(html, openings, opening, at, name)
                    elif skip_from == 0 and flags & _INLINE:
                        if active:
                            block[B_LINKS] += (flags & _LINK) != 0
                        if flags & (_LINK | _BUTTON) and touching == _ENDED:
                            touching = _TOUCHES
                    elif skip_from == 0:
                        pre += (flags & _PRE) != 0
                        ends = pre == 0 or (pre == 1 and flags & _PRE != 0)
                        if not ends and active and feeds == 0:
                            feeds = 1
            if not ends:
                continue
        if ends:
            if active:
                if word_length:
                    count_word(word, 1, page_words, where, block)
                    word, word_length = _OFFSET, 0
                if block[B_WIDTH] > 0:
                    if gaps:
                        alone = block[B_LINKED] + block[B_BUTTONS] >= _LINKS_ALONE * block[B_WIDTH]
                        written = without_gaps(text, block[B_START], written, alone)
                    block[B_END] = written
                    blocks[n_blocks] = block
                    block_masks[n_blocks, 0] = text_hash
                    block_masks[n_blocks, 1] = inner
                    n_blocks += 1
                else:
                    written = block[B_START]
            active, space, feeds, touching = False, False, 0, _NOTHING
            if at >= size:
                break
            continue
        while opening < n_openings and openings[opening] < at:
            opening += 1
        stop = openings[opening] if opening < n_openings else size
        first, last = at, stop
        while first < last and html[first] <= 32:
            first += 1
        while last > first and html[last - 1] <= 32:
            last -= 1
        if skip_from or stop == at or is_icon(html, first, last, stop, size):
            at = max(stop, at + 1)
            continue
        if first == last and pre == 0:
            space = True
            at = stop
            continue
        if not active:
            active, space, feeds, touching, gaps = True, False, 0, _NOTHING, 0
            text_hash, inner = _OFFSET, np.uint64(0)
            top = open_ - 1
            while top >= 0 and stack_flags[top] & _INLINE:
                top -= 1
            block[:] = 0
            block[B_START] = written
            block[B_ELEMENT] = stack[top] if top >= 0 else -1
            block[B_LINKS] = links > 0
        if open_:
            inner |= masks[stack[open_ - 1], M_OWN]
        while at < stop:
            byte, length = read_character(html, at, stop)
            is_space = byte == 32 or (9 <= byte <= 13 and byte != 11)
            is_space = is_space or (byte == 0xC2 and html[at + 1] == 0xA0)
            is_wide = byte >= 0xE3 or (byte == 0xE2 and html[at + 1] >= 0xBA)
            in_word = not is_space and is_letter(html, at, byte)
            if word_length and (is_wide or not in_word):
                count_word(word, 1, page_words, where, block)
                word, word_length = _OFFSET, 0
            if is_space:
                if not pre:
                    space = True
                elif byte == 10:
                    if block[B_WIDTH]:
                        feeds += 1
                    else:  # an empty line before the text
                        written = block[B_START]
                else:
                    written, feeds = write_feeds(text, written, feeds), 0
                    text[written] = 9 if byte == 9 else 32
                    written += 1
                at += length
                continue
            if block[B_WIDTH] == 0:
                block[B_FIRST] = kind_of_first(html, at, byte)
            elif feeds:
                written = write_feeds(text, written, feeds)
            elif space:
                text[written] = 32
                written += 1
                add_cells(block, 1, links, buttons, 0)
            elif touching == _TOUCHES:
                text[written] = GAP
                written += 1
                gaps += 1
            feeds, space, touching = 0, False, _NOTHING
            add_cells(block, 2 if is_wide else 1, links, buttons, bold)
            block[B_WIDE] += is_wide
            count_character(html, at, stop, byte, block)
            is_reference = html[at] == 38
            for offset in range(1 if is_reference else length):
                byte = byte if is_reference else html[at + offset]
                text[written] = byte
                written += 1
                text_hash = (text_hash ^ np.uint64(byte)) * _PRIME
                if in_word:
                    word = (word ^ np.uint64(byte | 32 if byte < 0x80 else byte)) * _PRIME
                    word_length = 1
            if word_length and is_wide:  # every wide character is looked up, every second counts
                count_word(word, block[B_WIDE] & 1, page_words, where, block)
                word, word_length = _OFFSET, 0
            at += length
            # the same for what most characters are: small letters that follow on one
            count, text_hash, word = copy_letters(html, at, stop, text, written, text_hash, word)
            if count:
                add_cells(block, count, links, buttons, bold)
                block[B_LAST], word_length = OTHER, 1
                at, written = at + count, written + count
    while open_:
        open_ -= 1
        elements[stack[open_], E_END] = n_blocks
    return n_elements, n_blocks, written
