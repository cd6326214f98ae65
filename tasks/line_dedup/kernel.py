"""The compiled loop behind `tasks.line_dedup.units`: UTF-8 to one hash per line or paragraph.

`hash_units`, for every document:

1. Split at line feeds. A line of nothing but white space is blank.
2. A unit is a line that is not blank or, with `paragraphs`, a maximal run of such lines.
3. Each character is replaced by its normal form, or left out where that is `DELETED`. White space
   at the ends of a line does not count; the lines of a paragraph are joined by one space.
4. The hash: h = (h ^ c) PRIME, h ^= h >> 32 for every character c of the normal form (as FNV-1a,
   with a shift), finished by MurmurHash3's mixer. All arithmetic is modulo 2**64, as uint64 has it.

Example with the ccnet forms: "Page 12 \n\nPage 34" has two units, lines [0, 1) and [2, 3), both
with the normal form "page 00" of 7 characters, hence with the same hash.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tasks.text.compiled import compiled
from tasks.text.utf8 import BYTES_IN, decode, mix

DELETED = 0xFFFFFFFE
"""In the table of forms: the character is left out of the normal form."""

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
    data: Any,
    starts: Any,
    space: Any,
    form: Any,
    paragraphs: bool,
    hashes: Any,
    first_lines: Any,
    end_lines: Any,
    lengths: Any,
    offsets: Any,
) -> None:
    """Steps 1 to 4 of the module's docstring, for N documents.

    Read:
        data                    uint8: UTF-8; document i is data[starts[i]:starts[i + 1]]
        space, form             by code point: is white space; the normal form, or `DELETED`
    Written, document i's units at offsets[i]:offsets[i + 1]:
        hashes                  uint64
        first_lines, end_lines  uint32: the unit is lines [first, end), from 0
        lengths                 int64: characters of the normal form

    White space at the end of a line cannot be told from that within it until the line ends. So
    `running` and `characters` are the state after every character, `word` and `length` that after
    the last one that is not white space, which is what counts.
    """
    written = 0  # units
    for document in range(starts.shape[0] - 1):
        position = starts[document]
        end = starts[document + 1]
        line = 0
        open_unit = False  # a unit has begun: it ends at a blank line, or before the next line
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
                if blank:  # no other character on this line yet
                    if spacing:
                        continue
                    blank = False
                    if open_unit and paragraphs:  # go on with the paragraph, after a space
                        running = (running ^ np.uint64(0x20)) * np.uint64(_PRIME)
                        running ^= running >> np.uint64(32)
                        characters += 1
                    else:
                        if open_unit:
                            hashes[written] = mix(word)
                            lengths[written] = length
                            end_lines[written] = line
                            written += 1
                        open_unit = True
                        first_lines[written] = line
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
            if blank and open_unit:  # a blank line ends a unit of either kind
                hashes[written] = mix(word)
                lengths[written] = length
                end_lines[written] = line
                written += 1
                open_unit = False
            position += 1
            line += 1
        if open_unit:  # the end of the document ends the last one
            hashes[written] = mix(word)
            lengths[written] = length
            end_lines[written] = line
            written += 1
        offsets[document + 1] = written
