"""From the serialised tree of a page to its elements and blocks, in one compiled pass.

A block is what a browser lays out in one flow: text and inline elements up to the next other tag,
or up to an empty line made of two <br>. The text of every block is written into one buffer as it
is shown: references resolved, white space collapsed (kept in <pre>), <br> as a line feed, without
what is not shown (scripts, styles, options, hidden inline elements, readings of ruby).

The source is what lexbor serialises, so that every element is closed, attributes stand in double
quotes, and "<" and ">" are only tags. Looking at a node from Python takes 2 to 3 us; a page of a
thousand elements is scanned in less than one of them would take.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tasks.ingest.extract.names import BUTTON, INLINE, LINK, NUMBER, PRE, RAW, SKIP, VOID
from tasks.text.compiled import compiled

MAX_OPEN = 1024
ELEMENT_COLUMNS = ("parent", "tag", "first", "end")
ELEMENT_MASKS = ("tags", "words", "own_words", "own_hash")
BLOCK_COLUMNS = (
    "start", "end", "element", "width", "words", "linked", "links", "buttons", "upper", "digits",
    "punctuation", "sentences", "marks", "first", "last", "breaks", "title", "description", "wide",
    "bold",
)  # fmt: skip
E_PARENT, E_TAG, E_FIRST, E_END = range(4)
M_TAGS, M_WORDS, M_OWN, M_HASH = range(4)
(
    B_START, B_END, B_ELEMENT, B_WIDTH, B_WORDS, B_LINKED, B_LINKS, B_BUTTONS, B_UPPER, B_DIGITS,
    B_PUNCTUATION, B_SENTENCES, B_MARKS, B_FIRST, B_LAST, B_BREAKS, B_TITLE, B_DESCRIPTION, B_WIDE,
    B_BOLD,
) = range(len(BLOCK_COLUMNS))  # fmt: skip
N_BLOCK = len(BLOCK_COLUMNS)

_BR, _RUBY, _LI = NUMBER["br"], NUMBER["ruby"], NUMBER["li"]
_RT, _RP, _RTC = NUMBER["rt"], NUMBER["rp"], NUMBER["rtc"]
_B, _STRONG = NUMBER["b"], NUMBER["strong"]
_INLINE, _VOID, _SKIP, _RAW, _PRE, _LINK, _BUTTON = INLINE, VOID, SKIP, RAW, PRE, LINK, BUTTON
_OFFSET, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_HIDDEN, _ARIA = np.uint64(1 << 60), np.uint64(1 << 61)
GAP = 0xFF
"""The byte between two links or buttons that touch, which no UTF-8 holds: a space where the block
is nothing else.
"""

_BYTES = types.Array(types.uint8, 1, "C", readonly=True)
_WORDS64 = types.Array(types.uint64, 1, "C", readonly=True)
_INTS = types.Array(types.int64, 1, "C", readonly=True)


@compiled(types.int64(_WORDS64, types.uint64))
def lookup(table: Any, value: Any) -> int:
    """Place of a value in an ascending table; -1 where it is not there."""
    low, high = 0, table.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if table[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low if low < table.shape[0] and table[low] == value else -1


@compiled(types.UniTuple(types.uint64, 2)(_BYTES, types.int64, types.int64, _WORDS64, _WORDS64))
def word_mask(html: Any, at: Any, end: Any, hashes: Any, masks: Any) -> Any:
    """(categories of the words of an attribute's value, hash of its letters)."""
    mask = np.uint64(0)
    letters = _OFFSET
    word = _OFFSET
    length = 0
    lower = False
    while at <= end:
        byte = html[at] if at < end else np.uint8(32)
        is_upper = 65 <= byte <= 90
        is_letter = is_upper or 97 <= byte <= 122 or byte >= 128
        if (not is_letter or (is_upper and lower)) and length:
            if length > 1:
                place = lookup(hashes, word)
                if place >= 0:
                    mask |= masks[place]
            word, length = _OFFSET, 0
        if is_letter:
            word = (word ^ np.uint64(byte | 32)) * _PRIME
            letters = (letters ^ np.uint64(byte | 32)) * _PRIME
            length += 1
        elif byte == 32:
            letters = (letters ^ np.uint64(32)) * _PRIME
        lower = is_letter and not is_upper
        at += 1
    return mask, letters


@compiled(types.boolean(_BYTES, types.int64, types.int64))
def is_hiding(html: Any, at: Any, end: Any) -> bool:
    """Whether a class has one of the words that hide: hidden, invisible, visually-hidden."""
    while at < end:
        start = at
        while at < end and html[at] > 32:
            at += 1
        size = at - start
        if size == 6 or size == 9 or size == 15:
            # hidden, is-hidden / invisible, visually-hidden
            tail = at - 6
            if (
                html[tail] == 104
                and html[tail + 1] == 105
                and html[tail + 2] == 100
                and html[tail + 3] == 100
                and html[tail + 4] == 101
                and html[tail + 5] == 110
                and (size == 6 or html[tail - 1] == 45)
            ):
                return True
            if size == 9 and html[start] == 105 and html[start + 2] == 118 and html[at - 1] == 101:
                return True
        at += 1
    return False


@compiled(
    types.UniTuple(types.int64, 3)(
        _BYTES,
        _WORDS64,
        _INTS,
        _INTS,
        _WORDS64,
        _WORDS64,
        _WORDS64,
        _WORDS64,
        _WORDS64,
        types.int32[:, ::1],
        types.uint64[:, ::1],
        types.int32[:, ::1],
        types.uint64[:, ::1],
        types.uint8[::1],
    )
)
def scan(
    html: Any,
    tag_hashes: Any,
    tag_numbers: Any,
    tag_flags: Any,
    tag_bits: Any,
    word_hashes: Any,
    word_masks: Any,
    title: Any,
    description: Any,
    elements: Any,
    masks: Any,
    blocks: Any,
    block_masks: Any,
    text: Any,
) -> Any:
    """Fill `elements` (E, 4), `masks` (E, 4), `blocks` (B, N_BLOCK), `block_masks` (B, 2) (hash of
    the text, words of inline elements) and `text`; return (elements, blocks, bytes of text).
    """
    size = html.shape[0]
    stack = np.zeros(MAX_OPEN, np.int64)
    stack_flags = np.zeros(MAX_OPEN, np.int64)
    open_ = 0
    n_elements = n_blocks = written = 0
    skip_from = 0  # number of open elements at which what is not shown ends; 0: all is shown
    links = buttons = pre = bold = ruby = 0
    # the block
    active = False
    space = False  # white space is due before the next character
    feeds = 0  # line feeds are due
    element = -1
    tag_since = 0  # 1: a link or button has just ended, 2: and another has begun
    width = words = linked = n_links = buttoned = upper = digits = punctuation = sentences = 0
    mark_bits = breaks = in_title = in_description = wide = bolded = gaps = 0
    block_start = 0
    first_kind = last_kind = 0
    text_hash = word_hash = _OFFSET
    word_length = 0
    inner = np.uint64(0)
    at = 0
    while True:
        is_end = at >= size
        breaks_block = is_end
        if not is_end and html[at] == 60 and at + 1 < size:
            # ---- a tag, comment or doctype
            following = html[at + 1]
            if following == 33 or following == 63:
                if at + 3 < size and html[at + 2] == 45 and html[at + 3] == 45:
                    at += 4
                    while at + 2 < size and not (
                        html[at] == 45 and html[at + 1] == 45 and html[at + 2] == 62
                    ):
                        at += 1
                    at += 3
                else:
                    while at < size and html[at] != 62:
                        at += 1
                    at += 1
                continue
            closing = following == 47
            at += 2 if closing else 1
            name = _OFFSET
            while at < size and html[at] != 62 and html[at] > 32:
                byte = html[at]
                if 65 <= byte <= 90:
                    byte = byte | np.uint8(32)
                name = (name ^ np.uint64(byte)) * _PRIME
                at += 1
            place = lookup(tag_hashes, name)
            tag = tag_numbers[place] if place >= 0 else 0
            flags = tag_flags[place] if place >= 0 else 0
            if closing:
                while at < size and html[at] != 62:
                    at += 1
                at += 1
                if flags & _VOID:
                    continue
                top = open_ - 1
                while top >= 0 and elements[stack[top], E_TAG] != tag:
                    top -= 1
                if top < 0:
                    continue
                shown = skip_from == 0
                ending_block = n_blocks + (1 if active and width > 0 else 0)
                while open_ > top:
                    open_ -= 1
                    closed = stack_flags[open_]
                    elements[stack[open_], E_END] = ending_block
                    if closed & _LINK:
                        links -= 1
                    if closed & _BUTTON:
                        buttons -= 1
                    number = elements[stack[open_], E_TAG]
                    if number == _B or number == _STRONG:
                        bold -= 1
                    if number == _RUBY:
                        ruby -= 1
                    if skip_from and open_ < skip_from:
                        skip_from = 0
                if not shown:
                    continue
                if flags & _INLINE:
                    if flags & (_LINK | _BUTTON):
                        tag_since = 1
                    continue
                breaks_block = True
                if flags & _PRE:
                    pre -= 1
                elif pre:
                    breaks_block = False
                    if active and feeds == 0:
                        feeds = 1
            else:
                # ---- a start tag: its attributes
                own = np.uint64(0)
                letters = np.uint64(tag)
                hides = np.uint64(0)
                while at < size and html[at] != 62:
                    while at < size and html[at] <= 32:
                        at += 1
                    key = at
                    while at < size and html[at] > 32 and html[at] != 61 and html[at] != 62:
                        at += 1
                    key_size = at - key
                    value = value_end = at
                    if at + 1 < size and html[at] == 61 and html[at + 1] == 34:
                        value = at + 2
                        at = value
                        while at < size and html[at] != 34:
                            at += 1
                        value_end = at
                        at += 1
                    elif key_size == 0 and at < size and html[at] != 62:
                        at += 1
                    if key_size == 5 and html[key] == 99 and html[key + 1] == 108:  # class
                        mask, its_letters = word_mask(
                            html, value, value_end, word_hashes, word_masks
                        )
                        own |= mask
                        letters = (letters ^ its_letters) * _PRIME
                        if is_hiding(html, value, value_end):
                            hides |= _ARIA
                    elif (key_size == 2 and html[key] == 105 and html[key + 1] == 100) or (
                        key_size == 4 and html[key] == 114 and html[key + 1] == 111
                    ):  # id, role
                        mask, its_letters = word_mask(
                            html, value, value_end, word_hashes, word_masks
                        )
                        own |= mask
                    elif key_size == 6 and html[key] == 104 and html[key + 1] == 105:  # hidden
                        hides |= _HIDDEN
                    elif key_size == 11 and html[key] == 97 and html[key + 5] == 104:
                        # aria-hidden
                        if value_end - value == 4 and html[value] == 116:
                            hides |= _ARIA
                    elif key_size == 5 and html[key] == 115 and html[key + 1] == 116:  # style
                        scout = value
                        while scout + 11 < value_end:
                            if html[scout] == 100 and html[scout + 7] == 58:  # display:
                                scout += 8
                                if html[scout] == 32:
                                    scout += 1
                                if html[scout] == 110 and html[scout + 1] == 111:
                                    hides |= _HIDDEN
                            elif html[scout] == 118 and html[scout + 10] == 58:  # visibility:
                                scout += 11
                                if html[scout] == 32:
                                    scout += 1
                                if html[scout] == 104:
                                    hides |= _HIDDEN
                            scout += 1
                at += 1
                if tag == _BR:
                    if skip_from == 0 and active:
                        breaks += 1
                        feeds += 1
                        space = False
                        if feeds == 2 and pre == 0:
                            breaks_block = True
                    if not breaks_block:
                        continue
                elif flags & _VOID:
                    if flags & _INLINE or skip_from:
                        continue
                    breaks_block = pre == 0
                else:
                    parent = stack[open_ - 1] if open_ else -1
                    if open_ == MAX_OPEN:
                        return -1, 0, 0
                    elements[n_elements, E_PARENT] = parent
                    elements[n_elements, E_TAG] = tag
                    elements[n_elements, E_FIRST] = n_blocks + (
                        1 if active and width > 0 and not flags & _INLINE else 0
                    )
                    elements[n_elements, E_END] = n_blocks
                    masks[n_elements, M_OWN] = own
                    masks[n_elements, M_HASH] = letters
                    inherited = hides | tag_bits[tag]
                    if parent >= 0:
                        inherited |= masks[parent, M_TAGS]
                        own |= masks[parent, M_WORDS]
                    masks[n_elements, M_TAGS] = inherited
                    masks[n_elements, M_WORDS] = own
                    stack[open_] = n_elements
                    stack_flags[open_] = flags
                    open_ += 1
                    n_elements += 1
                    if flags & _LINK:
                        links += 1
                        if active and skip_from == 0:
                            n_links += 1
                    if flags & _BUTTON:
                        buttons += 1
                    if tag == _B or tag == _STRONG:
                        bold += 1
                    if tag == _RUBY:
                        ruby += 1
                    if skip_from == 0 and (
                        flags & _SKIP
                        or (flags & _INLINE and hides)
                        or (ruby and (tag == _RT or tag == _RP or tag == _RTC))
                    ):
                        skip_from = open_
                    if flags & _RAW:
                        while at + 1 < size:
                            if html[at] == 60 and html[at + 1] == 47:
                                scout = at + 2
                                ending = _OFFSET
                                while scout < size and html[scout] != 62 and html[scout] > 32:
                                    byte = html[scout]
                                    if 65 <= byte <= 90:
                                        byte = byte | np.uint8(32)
                                    ending = (ending ^ np.uint64(byte)) * _PRIME
                                    scout += 1
                                if ending == name:
                                    break
                            at += 1
                        continue
                    if skip_from:
                        continue
                    if flags & _INLINE:
                        if flags & (_LINK | _BUTTON) and tag_since == 1:
                            tag_since = 2
                        continue
                    breaks_block = True
                    if flags & _PRE:
                        pre += 1
                        if pre > 1:
                            breaks_block = False
                    elif pre:
                        breaks_block = False
                        if active and feeds == 0:
                            feeds = 1
            if not breaks_block:
                continue
        if breaks_block:
            # ---- the block ends
            if word_length:
                words += 1
                if lookup(title, word_hash) >= 0:
                    in_title += 1
                if lookup(description, word_hash) >= 0:
                    in_description += 1
                word_hash, word_length = _OFFSET, 0
            if active and width > 0:
                if gaps:
                    fill = block_start
                    spaced = linked + buttoned >= 0.9 * width
                    for place in range(block_start, written):
                        if text[place] != GAP:
                            text[fill] = text[place]
                            fill += 1
                        elif spaced:
                            text[fill] = 32
                            fill += 1
                    written = fill
                blocks[n_blocks, B_START] = block_start
                blocks[n_blocks, B_END] = written
                blocks[n_blocks, B_ELEMENT] = element
                blocks[n_blocks, B_WIDTH] = width
                blocks[n_blocks, B_WORDS] = words
                blocks[n_blocks, B_LINKED] = linked
                blocks[n_blocks, B_LINKS] = n_links
                blocks[n_blocks, B_BUTTONS] = buttoned
                blocks[n_blocks, B_UPPER] = upper
                blocks[n_blocks, B_DIGITS] = digits
                blocks[n_blocks, B_PUNCTUATION] = punctuation
                blocks[n_blocks, B_SENTENCES] = sentences
                blocks[n_blocks, B_MARKS] = mark_bits
                blocks[n_blocks, B_FIRST] = first_kind
                blocks[n_blocks, B_LAST] = last_kind
                blocks[n_blocks, B_BREAKS] = breaks
                blocks[n_blocks, B_TITLE] = in_title
                blocks[n_blocks, B_DESCRIPTION] = in_description
                blocks[n_blocks, B_WIDE] = wide
                blocks[n_blocks, B_BOLD] = bolded
                block_masks[n_blocks, 0] = text_hash
                block_masks[n_blocks, 1] = inner
                n_blocks += 1
            elif active:
                written = block_start
            active = False
            space, feeds, tag_since = False, 0, 0
            if is_end:
                break
            continue
        # ---- text up to the next tag
        stop = at
        while stop < size and html[stop] != 60:
            stop += 1
        if skip_from or stop == at:
            at = stop if stop > at else at + 1
            continue
        # a node that is one character for an icon font, or a heading's link to itself
        scout, last = at, stop
        while scout < last and html[scout] <= 32:
            scout += 1
        while last > scout and html[last - 1] <= 32:
            last -= 1
        if last - scout == 3 and (
            html[scout] == 0xEE
            or (html[scout] == 0xEF and html[scout + 1] < 0xA4)
        ):
            at = stop
            continue
        if last - scout == 2 and html[scout] == 0xC2 and html[scout + 1] == 0xB6:
            if stop + 2 < size and html[stop + 1] == 47 and html[stop + 2] == 97:
                at = stop
                continue
        if last == scout and pre == 0:
            if active and last < stop or at < stop:
                space = True
            at = stop
            continue
        if not active:
            active = True
            block_start = written
            space, feeds, gaps = False, 0, 0
            element = -1
            top = open_ - 1
            while top >= 0 and stack_flags[top] & _INLINE:
                top -= 1
            element = stack[top] if top >= 0 else -1
            n_links = 1 if links else 0
            width = words = linked = buttoned = upper = digits = punctuation = sentences = 0
            mark_bits = breaks = in_title = in_description = wide = bolded = 0
            first_kind = last_kind = 0
            text_hash = _OFFSET
            inner = np.uint64(0)
            tag_since = 0
        if open_:
            inner |= masks[stack[open_ - 1], M_OWN]
        while at < stop:
            byte = html[at]
            if byte == 38:  # &
                if at + 4 < stop and html[at + 1] == 97 and html[at + 4] == 59:  # amp
                    length = 5
                elif at + 3 < stop and html[at + 3] == 59:  # lt, gt
                    length = 4
                    byte = np.uint8(60) if html[at + 1] == 108 else np.uint8(62)
                elif at + 5 < stop and html[at + 1] == 110 and html[at + 5] == 59:  # nbsp
                    length = 6
                    byte = np.uint8(32)
                elif at + 5 < stop and html[at + 1] == 113 and html[at + 5] == 59:  # quot
                    length = 6
                    byte = np.uint8(34)
                else:
                    length = 1
            elif byte < 0xC0:
                length = 1
            elif byte < 0xE0:
                length = 2
            elif byte < 0xF0:
                length = 3
            else:
                length = 4
            if at + length > stop:
                length = stop - at
            is_space = (
                byte == 32
                or byte == 10
                or byte == 9
                or byte == 13
                or byte == 12
                or (byte == 0xC2 and at + 1 < stop and html[at + 1] == 0xA0)
            )
            is_wide = byte >= 0xE3 or (byte == 0xE2 and html[at + 1] >= 0xBA)
            letter = (
                97 <= (byte | 32) <= 122 or 48 <= byte <= 57 or byte == 95
                or (byte >= 0xC3 and not (byte == 0xE2 and html[at + 1] <= 0x82))
            ) and not is_space
            if byte == 0xEF and (html[at + 1] == 0xBC or html[at + 1] == 0xBD):
                letter = html[at + 1] == 0xBD or html[at + 2] >= 0xA1
            if byte == 0xE3 and html[at + 1] == 0x80:
                letter = False
            if word_length and (not letter or is_wide):
                words += 1
                if lookup(title, word_hash) >= 0:
                    in_title += 1
                if lookup(description, word_hash) >= 0:
                    in_description += 1
                word_hash, word_length = _OFFSET, 0
            if is_space:
                if pre:
                    if byte == 10:
                        if width:
                            feeds += 1
                        else:
                            written = block_start
                    else:
                        while feeds:
                            text[written] = 10
                            written += 1
                            feeds -= 1
                        text[written] = 9 if byte == 9 else 32
                        written += 1
                else:
                    space = True
                at += length
                continue
            if width:
                if feeds:
                    while feeds:
                        text[written] = 10
                        written += 1
                        feeds -= 1
                elif space:
                    text[written] = 32
                    written += 1
                    width += 1
                    if links:
                        linked += 1
                    elif buttons:
                        buttoned += 1
                elif tag_since == 2:
                    text[written] = GAP
                    written += 1
                    gaps += 1
            feeds = 0
            space = False
            tag_since = 0
            cells = 2 if is_wide else 1
            if width == 0:
                if 48 <= byte <= 57:
                    first_kind = 1
                elif 65 <= byte <= 90 or (byte == 0xC3 and html[at + 1] < 0x9F):
                    first_kind = 2
                elif 97 <= byte <= 122 or byte == 0xC3:
                    first_kind = 3
                elif letter:
                    first_kind = 4
                else:
                    first_kind = 0
            width += cells
            if is_wide:
                wide += 1
            if links:
                linked += cells
            elif buttons:
                buttoned += cells
            if bold:
                bolded += cells
            last_kind = 0
            if 65 <= byte <= 90:
                upper += 1
            elif 48 <= byte <= 57:
                digits += 1
                last_kind = 1
            elif byte == 44 or byte == 59 or byte == 58:
                punctuation += 1
                last_kind = 3 if byte == 58 else 0
            elif byte == 46 or byte == 33 or byte == 63:
                if at + 1 >= stop or html[at + 1] <= 32 or html[at + 1] == 38 or html[at + 1] == 34:
                    sentences += 1
                last_kind = 2
            elif byte == 36:
                mark_bits |= 1  # a price
            elif byte == 0xC2:
                following = html[at + 1]
                if following == 0xA9:
                    mark_bits |= 2  # copyright
                elif following == 0xA3 or following == 0xA5:
                    mark_bits |= 1
                elif following == 0xBB:
                    mark_bits |= 4
                    last_kind = 2
            elif byte == 0xE2 and html[at + 1] == 0x80:
                following = html[at + 2]
                if following == 0xA6 or following == 0x9D:
                    last_kind = 2
                elif following == 0xBA:
                    mark_bits |= 4
                elif following == 0xA2:
                    mark_bits |= 8
            elif byte == 0xE2 and html[at + 1] == 0x82:
                mark_bits |= 1
            elif byte == 0xE3 and html[at + 1] == 0x80:
                if html[at + 2] == 0x82:
                    sentences += 1
                    last_kind = 2
                elif html[at + 2] == 0x81:
                    punctuation += 1
            elif byte == 0xEF and html[at + 1] == 0xBC:
                if html[at + 2] == 0x81 or html[at + 2] == 0x9F:
                    sentences += 1
                    last_kind = 2
                elif html[at + 2] == 0x8C:
                    punctuation += 1
            elif byte == 0xD8 or byte == 0xDB:
                if html[at + 1] == 0x9F or (byte == 0xDB and html[at + 1] == 0x94):
                    sentences += 1
                    last_kind = 2
                elif byte == 0xD8 and html[at + 1] == 0x8C:
                    punctuation += 1
            elif byte == 0xE0 and html[at + 1] == 0xA5 and html[at + 2] == 0xA4:
                sentences += 1
                last_kind = 2
            elif byte == 124:
                mark_bits |= 8
            elif byte == 64:
                mark_bits |= 16
            elif byte == 62:
                mark_bits |= 4
            elif byte == 34 or byte == 39 or byte == 41:
                last_kind = 4
            if html[at] == 38:
                text[written] = byte
                written += 1
                text_hash = (text_hash ^ np.uint64(byte)) * _PRIME
                at += length
            else:
                for place in range(at, at + length):
                    text[written] = html[place]
                    written += 1
                    text_hash = (text_hash ^ np.uint64(html[place])) * _PRIME
                if letter:
                    if length == 1:
                        word_hash = (word_hash ^ np.uint64(byte | 32)) * _PRIME
                    else:
                        for place in range(at, at + length):
                            word_hash = (word_hash ^ np.uint64(html[place])) * _PRIME
                    word_length += 1
                    if is_wide:
                        if lookup(title, word_hash) >= 0:
                            in_title += 1
                        if lookup(description, word_hash) >= 0:
                            in_description += 1
                        words += wide & 1
                        word_hash, word_length = _OFFSET, 0
                at += length
    while open_:
        open_ -= 1
        elements[stack[open_], E_END] = n_blocks
    return n_elements, n_blocks, written


@compiled(types.int64(_BYTES, types.uint64[::1]))
def hash_words(text: Any, hashes: Any) -> int:
    """Hashes of the words of a text, as `scan` has them, into `hashes`; their number."""
    count = 0
    word, length = _OFFSET, 0
    for at in range(text.shape[0] + 1):
        byte = text[at] if at < text.shape[0] else np.uint8(32)
        if 97 <= (byte | 32) <= 122 or 48 <= byte <= 57 or byte == 95:
            word = (word ^ np.uint64(byte | 32)) * _PRIME
            length += 1
        elif byte >= 0x80:
            word = (word ^ np.uint64(byte)) * _PRIME
            length += 1
        elif length:
            hashes[count] = word
            count += 1
            word, length = _OFFSET, 0
    return count
