"""The compiled loop behind `tasks.line_dedup.units`: UTF-8 to one hash a line or paragraph.

All hash arithmetic is modulo 2**64 by intent.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tasks.text.compiled import compiled
from tasks.text.utf8 import BYTES_IN, decode, mix

DELETED = 0xFFFFFFFF
"""In the table of forms: the normal form leaves the character out."""

_SEED = 0xCBF29CE484222325
_PRIME = 0x9FB21C651E98DF25
_INTS, _LINES, _HASHES = types.int64[::1], types.uint32[::1], types.uint64[::1]
_FLAGS_IN = types.Array(types.boolean, 1, "C", readonly=True)
_POINTS_IN = types.Array(types.uint32, 1, "C", readonly=True)


@compiled(
    types.void(
        BYTES_IN,
        _INTS,
        _FLAGS_IN,
        _POINTS_IN,
        types.boolean,
        _HASHES,
        types.uint32[::1],
        types.uint32[::1],
        _INTS,
        _INTS,
    )
)
def hash_units(
    data: Any, starts: Any, space: Any, form: Any, paragraphs: bool, hashes: Any, first_lines: Any, end_lines: Any,
    lengths: Any, offsets: Any,
) -> None:  # fmt: skip
    """Documents `data[starts[i]:starts[i + 1]]` to units: hash, lines [first, end), characters of the normal form.

    Document i's units stand at `offsets[i]:offsets[i + 1]`. Two passes over a line: where it begins and ends without
    white space, then its characters.
    """
    found = 0
    for document in range(starts.shape[0] - 1):
        position = starts[document]
        end = starts[document + 1]
        line = 0
        open_unit = False
        word = np.uint64(0)
        length = 0
        while position <= end:
            begin = stop = position
            blank = True
            while position < end and data[position] != 0x0A:
                point, width = decode(data, position)
                if not space[point]:
                    if blank:
                        begin = position
                        blank = False
                    stop = position + width
                position += width
            if open_unit and (blank or not paragraphs):
                hashes[found] = mix(word)
                lengths[found] = length
                end_lines[found] = line
                found += 1
                open_unit = False
            if not blank:
                if open_unit:
                    word = (word ^ np.uint64(0x20)) * np.uint64(_PRIME)
                    word ^= word >> np.uint64(32)
                    length += 1
                else:
                    open_unit = True
                    word = np.uint64(_SEED)
                    length = 0
                    first_lines[found] = line
                at = begin
                while at < stop:
                    point, width = decode(data, at)
                    at += width
                    character = form[point]
                    if character == DELETED:
                        continue
                    # The shift lets later characters meet all bits of earlier ones.
                    word = (word ^ np.uint64(character)) * np.uint64(_PRIME)
                    word ^= word >> np.uint64(32)
                    length += 1
            position += 1
            line += 1
        if open_unit:
            hashes[found] = mix(word)
            lengths[found] = length
            end_lines[found] = line
            found += 1
        offsets[document + 1] = found
