"""Compiled loops of packing and writing; importing compiles them (a second) or loads them.

L: the row length in tokens; R: rows; N: documents; T: tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tasks.text.compiled import compiled
from tasks.text.utf8 import BYTES_IN, decode

_LENGTHS = types.Array(types.int64, 1, "C")
_IDS = types.Array(types.uint32, 1, "C")
_FLAGS = types.Array(types.boolean, 1, "C")

_ONE = np.uint64(1)


@compiled(types.int64(types.uint64))
def lowest_bit(word: Any) -> Any:
    """Position of the lowest set bit of a word that is not 0."""
    position = 0
    for step in (32, 16, 8, 4, 2, 1):
        if word & ((_ONE << np.uint64(step)) - _ONE) == 0:
            word >>= np.uint64(step)
            position += step
    return position


@compiled(types.int64(types.Array(types.uint64, 1, "C"), types.int64))
def first_from(words: Any, start: Any) -> Any:
    """Position of the first set bit at or after `start` in a bit set; -1 if there is none."""
    at = start >> 6
    word = words[at] & (~np.uint64(0) << np.uint64(start & 63))
    while word == 0:
        at += 1
        if at == len(words):
            return -1
        word = words[at]
    return (at << 6) + lowest_bit(word)


@compiled(_LENGTHS(_LENGTHS, _LENGTHS, types.int64))
def place_best_fit(lengths_N: Any, order_N: Any, capacity: Any) -> Any:
    """Row of each item, placed in this order into the fullest row with room; rows hold `capacity`.

    `newest[room]` is the row with this room that changed last, `older[row]` the one before it; the
    bit set `rooms` says which rooms there are, and `groups` which of its words are not 0.
    """
    rows_N = np.empty(len(lengths_N), np.int64)
    older = np.empty(len(lengths_N), np.int64)
    newest = np.full(capacity + 1, -1, np.int64)
    rooms = np.zeros((capacity >> 6) + 1, np.uint64)
    groups = np.zeros((len(rooms) >> 6) + 1, np.uint64)
    opened = 0
    for item in order_N:
        length = lengths_N[item]
        at = length >> 6
        word = rooms[at] & (~np.uint64(0) << np.uint64(length & 63))
        if word == 0:
            at = first_from(groups, at + 1) if at + 1 < len(rooms) else -1
            word = rooms[at] if at >= 0 else word
        if at >= 0:
            room = (at << 6) + lowest_bit(word)
            row = newest[room]
            newest[room] = older[row]
            if newest[room] < 0:
                rooms[at] &= ~(_ONE << np.uint64(room & 63))
                if rooms[at] == 0:
                    groups[at >> 6] &= ~(_ONE << np.uint64(at & 63))
        else:
            room = capacity
            row = opened
            opened += 1
        rows_N[item] = row
        left = room - length
        if left > 0:
            older[row] = newest[left]
            newest[left] = row
            rooms[left >> 6] |= _ONE << np.uint64(left & 63)
            groups[left >> 12] |= _ONE << np.uint64((left >> 6) & 63)
    return rows_N


@compiled(types.int64(_IDS, types.int64, _IDS, _LENGTHS, _IDS, _IDS))
def append_documents(into: Any, at: Any, ids_T: Any, lengths_N: Any, begin: Any, end: Any) -> Any:
    """Copy documents that stand one after the other in `ids_T` to `into[at:]`, each between
    `begin` and `end`; returns the position after the last.
    """
    read = 0
    for length in lengths_N:
        for token in begin:
            into[at] = token
            at += 1
        into[at : at + length] = ids_T[read : read + length]
        read += length
        at += length
        for token in end:
            into[at] = token
            at += 1
    return at


@compiled(
    types.int64(
        _IDS,
        types.Array(types.int64, 2, "C"),
        types.Array(types.int64, 2, "C"),
        types.boolean,
        types.Array(types.uint32, 2, "C"),
        types.Array(types.int32, 2, "C"),
        types.Array(types.int32, 1, "C"),
    )
)
def fill_rows(
    ids_T: Any,
    documents_N: Any,
    pieces: Any,
    loss_on_source: Any,
    input_ids_RL: Any,
    labels_RL: Any,
    next_label_R: Any,
) -> Any:
    """Copy pieces into rows of padding and ignored labels; returns the number of targets.

    documents_N: (first token in `ids_T`, length, prompt) of each document. pieces: (row, start in
    the row, document, offset, length) of each. Returns -1 - n if piece n continues in another row
    but does not end its own.
    """
    row_length = input_ids_RL.shape[1]
    targets = 0
    for number in range(len(pieces)):
        row, start, document, offset, length = pieces[number]
        first, tokens, prompt = documents_N[document]
        if loss_on_source:
            prompt = 0
        learned = min(max(1, prompt - offset), length)
        for position in range(length):
            token = ids_T[first + offset + position]
            input_ids_RL[row, start + position] = token
            if position >= learned:
                labels_RL[row, start + position] = token
        targets += length - learned
        following = offset + length
        if following < tokens:
            if start + length != row_length:
                return -1 - number
            if following >= prompt:
                next_label_R[row] = ids_T[first + following]
                targets += 1
    return targets


@compiled(
    types.Array(types.boolean, 1, "C")(BYTES_IN, _LENGTHS, types.Array(types.boolean, 1, "C"))
)
def mark_unknown(data: Any, ends_N: Any, unknown: Any) -> Any:
    """Which texts hold a code point marked in `unknown`; N texts of UTF-8, text n ends at
    `ends_N[n]`.
    """
    marked_N = np.zeros(len(ends_N), np.bool_)
    at = 0
    for number in range(len(ends_N)):
        while at < ends_N[number]:
            if data[at] < 0x80:
                at += 1
                continue
            code, width = decode(data, at)
            if unknown[code]:
                marked_N[number] = True
                at = ends_N[number]
                break
            at += width
    return marked_N
