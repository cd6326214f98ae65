"""The compiled loop behind `tasks.line_dedup.units`: UTF-8 to one hash a line or paragraph.

All hash arithmetic is modulo 2**64 by intent.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tasks.text.compiled import compiled
from tasks.text.utf8 import BYTES_IN, decode, mix

DELETED = 0xFFFFFFFE
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
    """Documents `data[starts[i]:starts[i + 1]]` to units: hash, lines [first, end), characters of
    the normal form.

    Document i's units stand at `offsets[i]:offsets[i + 1]`. White space at a line's ends is hashed
    on the way and forgotten: what counts is the state after its last other character.
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
            blank = True
            running = word
            characters = length
            while position < end and data[position] != 0x0A:
                point, width = decode(data, position)
                position += width
                spacing = space[point]
                if blank:
                    if spacing:
                        continue
                    blank = False
                    if open_unit and paragraphs:
                        running = (running ^ np.uint64(0x20)) * np.uint64(_PRIME)
                        running ^= running >> np.uint64(32)
                        characters += 1
                    else:
                        if open_unit:
                            hashes[found] = mix(word)
                            lengths[found] = length
                            end_lines[found] = line
                            found += 1
                        open_unit = True
                        first_lines[found] = line
                        running = np.uint64(_SEED)
                        characters = 0
                character = form[point]
                if character != DELETED:
                    # The shift lets later characters meet all bits of earlier ones.
                    running = (running ^ np.uint64(character)) * np.uint64(_PRIME)
                    running ^= running >> np.uint64(32)
                    characters += 1
                if not spacing:
                    word = running
                    length = characters
            if blank and open_unit:
                hashes[found] = mix(word)
                lengths[found] = length
                end_lines[found] = line
                found += 1
                open_unit = False
            position += 1
            line += 1
        if open_unit:
            hashes[found] = mix(word)
            lengths[found] = length
            end_lines[found] = line
            found += 1
        offsets[document + 1] = found
