"""Edits: what stages take out of documents, as a column beside them; text itself is written once,
by ingest.

Column `edits`, list<struct<start: int64, end: int64, replacement: string, reason: string>>: the
characters [start, end) of the INGEST text give way to `replacement`. Within a row edits ascend, do
not overlap, and none is empty.

Several stages may edit one document, each without knowing of the others. Their columns apply in a
stated order, and what an earlier column takes, a later one cannot take again: a later edit is cut
to what is left of it, its replacement stands where the first piece that is left stood, and an edit
of which nothing is left goes (`merge`). So every character that goes has one reason, and the bytes
by reason add up.
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
    """Characters [start, end) of the ingest text give way to `replacement`."""

    start: int
    end: int
    replacement: str = ""
    reason: str = ""


Edits = Sequence[Edit]
"""Of one document: ascending, disjoint (touching is allowed), none empty."""


def apply(text: str, edits: Edits) -> str:
    """The text after its edits. Raises ValueError where they overlap, descend, are empty or reach
    beyond the text.
    """
    if not edits:
        return text
    pieces: list[str] = []
    at = 0
    for edit in edits:
        if not at <= edit.start < edit.end <= len(text):
            raise ValueError(
                f"edit [{edit.start}, {edit.end}) of {edit.reason!r} in a text of {len(text)} "
                f"characters, of which {at} were passed already; the edits belong to another text: "
                "rebuild the stage that wrote them"
            )
        pieces += (text[at : edit.start], edit.replacement)
        at = edit.end
    pieces.append(text[at:])
    return "".join(pieces)


def merge(*columns: Edits) -> list[Edit]:
    """Edits of several stages as one list: earlier columns win, see the module's docstring."""
    merged: list[Edit] = []
    for column in columns:
        merged = sorted([*merged, *_remaining(column, merged)]) if merged else list(column)
    return merged


def _remaining(edits: Edits, taken: Edits) -> Iterator[Edit]:
    """What of `edits` lies outside `taken`."""
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
    """Reason -> UTF-8 bytes by which its edits shorten `text` (negative where replacements are
    longer).
    """
    taken: Counter[str] = Counter()
    for edit in edits:
        taken[edit.reason] += len(text[edit.start : edit.end].encode()) - len(
            edit.replacement.encode()
        )
    return taken


class Alignment:
    """Where characters of an edited text stood in the ingest text."""

    def __init__(self, edits: Edits) -> None:
        self._edits = edits
        self._kept = [0]  # where the text between two edits begins, in the ingest text
        self._edited = [0]  # and in the edited one
        for edit in edits:
            self._edited.append(
                self._edited[-1] + edit.start - self._kept[-1] + len(edit.replacement)
            )
            self._kept.append(edit.end)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Characters [start, end) of the edited text, at least one, as the ingest text's; edits
        inside are covered.
        """
        return self._place(start)[0], self._place(end - 1)[1]

    def _place(self, position: int) -> tuple[int, int]:
        piece = bisect.bisect_right(self._edited, position) - 1
        at = self._kept[piece] + position - self._edited[piece]
        if piece < len(self._edits) and at >= self._edits[piece].start:  # part of a replacement
            return self._edits[piece].start, self._edits[piece].end
        return at, at + 1


def column_of(rows: Iterable[Edits]) -> pa.Array:
    """One list of edits a document -> the column `edits`."""
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
    """The column `edits` -> one list of edits a document; null counts as none."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_pylist()
    flat = array.flatten()
    edits = map(Edit, *(flat.field(index).to_pylist() for index in range(len(_FIELDS))))
    return [list(itertools.islice(edits, length)) for length in lengths]


@dataclass(frozen=True)
class Edited:
    """`texts`: after all edits. `taken`: a table (row: int64, reason: string, bytes: int64) of what
    they took.
    """

    texts: pa.ChunkedArray
    taken: pa.Table


_TAKEN = pa.schema([("row", pa.int64()), ("reason", pa.string()), ("bytes", pa.int64())])


def apply_columns(texts: pa.ChunkedArray, columns: Sequence[pa.ChunkedArray]) -> Edited:
    """Apply `edits` columns, earlier first, to a column of ingest texts of as many rows.

    Where no row has an edit, `texts` is returned as it came, at the cost of one sum a column.
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
