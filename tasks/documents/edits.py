"""Edits: what stages remove from documents, as a row-aligned column.

Text itself is written once, by ingest. Column `edits`, list<struct<start: int64, end: int64,
replacement: string, reason: string>>: the characters [start, end) of the INGEST text are replaced
by `replacement`. Within a row edits ascend, do not overlap, and none is empty.

Several stages may edit the same document without knowing of each other. Their columns apply in a
fixed order, and what an earlier column removes, a later one cannot remove again (`merge`): a later
edit is cut to what is left of it, its replacement takes the place of the first piece left, and an
edit of which nothing is left is dropped. So every removed character has one reason, and the bytes
by reason add up.

Example: in the text "abcdef", an earlier column removes [1, 3) and a later one replaces [2, 5) by
"X". Merged: [1, 3) -> "" and [3, 5) -> "X"; the text becomes "aXf".
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

COLUMN = "edits"
_FIELDS = (
    ("start", pa.int64()),
    ("end", pa.int64()),
    ("replacement", pa.string()),
    ("reason", pa.string()),
)
EDITS = pa.list_(pa.struct(list(_FIELDS)))


class Edit(NamedTuple):
    """Characters [start, end) of the ingest text are replaced by `replacement`."""

    start: int
    end: int
    replacement: str = ""
    reason: str = ""


Edits = Sequence[Edit]
"""Edits of one document: ascending, disjoint (they may touch), none empty."""


def apply(text: str, edits: Edits) -> str:
    """The text after its edits.

    Raises ValueError where they overlap, descend, are empty or extend beyond the text.
    """
    if not edits:
        return text
    pieces: list[str] = []
    done = 0  # characters before this have been handled
    for edit in edits:
        if not done <= edit.start < edit.end <= len(text):
            raise ValueError(
                f"edit [{edit.start}, {edit.end}) of {edit.reason!r} does not fit a text of "
                f"{len(text)} characters whose edits so far end at {done}: it belongs to another "
                "text; rebuild the stage that wrote it"
            )
        pieces += (text[done : edit.start], edit.replacement)
        done = edit.end
    pieces.append(text[done:])
    return "".join(pieces)


def merge(*columns: Edits) -> list[Edit]:
    """Edits of several stages as one list; earlier columns win, see the module's docstring."""
    merged: list[Edit] = []
    for column in columns:
        merged = sorted([*merged, *_remaining(column, merged)]) if merged else list(column)
    return merged


def _remaining(edits: Edits, taken: Edits) -> Iterator[Edit]:
    """The parts of `edits` outside `taken`; the first part of an edit gets its replacement."""
    ends = [edit.end for edit in taken]
    for edit in edits:
        start, replacement = edit.start, edit.replacement
        for other in itertools.islice(taken, bisect.bisect_right(ends, edit.start), None):
            if other.start >= edit.end:
                break
            if start < other.start:
                yield Edit(start, other.start, replacement, edit.reason)
                replacement = ""
            start = other.end
        if start < edit.end:
            yield Edit(start, edit.end, replacement, edit.reason)


def bytes_taken(text: str, edits: Edits) -> Counter[str]:
    """Reason -> UTF-8 bytes by which its edits shorten `text`.

    Negative where replacements are longer than what they replace.
    """
    taken: Counter[str] = Counter()
    for edit in edits:
        taken[edit.reason] += len(text[edit.start : edit.end].encode()) - len(
            edit.replacement.encode()
        )
    return taken


class Alignment:
    """Maps characters of an edited text to those of the ingest text."""

    def __init__(self, edits: Edits) -> None:
        self._edits = edits
        # Where each stretch of text between two edits begins: in the ingest text, and in the edited
        # one, where the stretch follows the replacement.
        self._kept = [0]
        self._edited = [0]
        for edit in edits:
            self._edited.append(
                self._edited[-1] + edit.start - self._kept[-1] + len(edit.replacement)
            )
            self._kept.append(edit.end)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The span of the ingest text for [start, end) of the edited one, which is not empty.

        It covers the edits inside.
        """
        return self._place(start)[0], self._place(end - 1)[1]

    def _place(self, position: int) -> tuple[int, int]:
        piece = bisect.bisect_right(self._edited, position) - 1
        original = self._kept[piece] + position - self._edited[piece]
        # Beyond the next edit's start, this is a character of that edit's replacement.
        if piece < len(self._edits) and original >= self._edits[piece].start:
            return self._edits[piece].start, self._edits[piece].end
        return original, original + 1


def column_of(rows: Iterable[Edits]) -> pa.Array:
    """Lists of edits, one per document -> the column `edits`."""
    lists = list(rows)
    flat = list(itertools.chain.from_iterable(lists))
    offsets = pa.array([0, *itertools.accumulate(map(len, lists))], pa.int32())
    values = [
        pa.array([edit[index] for edit in flat], type_) for index, (_, type_) in enumerate(_FIELDS)
    ]
    return pa.ListArray.from_arrays(
        offsets, pa.StructArray.from_arrays(values, fields=list(EDITS.value_type))
    )


def rows_of(column: pa.ChunkedArray | pa.Array) -> list[list[Edit]]:
    """The column `edits` -> lists of edits, one per document; null counts as no edits."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_pylist()
    flat = array.flatten()
    edits = map(Edit, *(flat.field(index).to_pylist() for index in range(len(_FIELDS))))
    return [list(itertools.islice(edits, length)) for length in lengths]


@dataclass(frozen=True)
class Edited:
    """`texts` after all edits, and the bytes `taken`.

    The latter is a table (row: int64, reason: string, bytes: int64).
    """

    texts: pa.ChunkedArray
    taken: pa.Table


_TAKEN = pa.schema([("row", pa.int64()), ("reason", pa.string()), ("bytes", pa.int64())])


def apply_columns(texts: pa.ChunkedArray, columns: Sequence[pa.ChunkedArray]) -> Edited:
    """Apply `edits` columns, the earlier first, to a column of ingest texts with the same rows.

    If no row has an edit, `texts` itself is returned, at the cost of one sum per column.
    """
    counts = np.zeros(len(texts), np.int64)
    for column in columns:
        counts += pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
    rows = np.flatnonzero(counts)
    if not len(rows):
        return Edited(texts, _TAKEN.empty_table())
    strings: list[str] = texts.to_pylist()
    taken: list[tuple[int, str, int]] = []
    lists = [rows_of(column.take(pa.array(rows))) for column in columns]
    for row, *several in zip(rows.tolist(), *lists, strict=True):
        edits = merge(*several)
        taken += (
            (row, reason, size) for reason, size in sorted(bytes_taken(strings[row], edits).items())
        )
        strings[row] = apply(strings[row], edits)
    values = [
        pa.array([entry[index] for entry in taken], field.type)
        for index, field in enumerate(_TAKEN)
    ]
    return Edited(
        pa.chunked_array([pa.array(strings, pa.string())]), pa.table(values, schema=_TAKEN)
    )
