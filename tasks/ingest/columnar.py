"""Turns batches of columns into documents without making a Python object of each.

What becomes of a row is what `run` would do with it as a record: `cleaned` text, the same reasons,
the same counts. Rows that cleaning may change (`examined`) go the long way, one by one.
"""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.ingest.clean import clean, cleaned
from tasks.ingest.fields import FieldTally
from tasks.ingest.id_kernel import as_ids, hashes_of, leading
from tasks.ingest.parquet import Batch
from tasks.ingest.parquet_columns import Columns, column_at, is_string, type_at
from tasks.ingest.rejected import PER_PART
from tasks.ingest.stated import MAX_CHARACTERS, Stated, cleaned_stated
from tasks.ingest.string_columns import examined, examined_text, strings

_PAGE, _SAMPLE, _FIELD, _CHARSET, _SHORT, _TEXT = range(1, 7)
REASONS: dict[int, tuple[Literal["dropped", "failed"], str]] = {
    _PAGE: ("dropped", "page_too_large"),
    _SAMPLE: ("dropped", "sample"),
    _FIELD: ("failed", "field"),
    _CHARSET: ("failed", "charset"),
    _SHORT: ("dropped", "too_short"),
    _TEXT: ("dropped", "text_too_large"),
}
"""(side, reason) by the number that stands for it in a column; 0 is a document that is kept."""

_DATE = r"^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?$"
"""`raw_documents.iso_date`'s pattern in RE2's syntax."""

_DATE_SHAPES = {
    len(shape): np.frombuffer(shape, np.uint8)
    for shape in (b"0000-00-00", b"0000-00-00T00:00:00", b"0000-00-00T00:00:00Z")
}
"""What dates mostly look like, each 0 a digit: ten times as fast as the pattern."""


@dataclass(frozen=True)
class Limits:
    """The parameters of `IngestParameters` that decide which rows stay."""

    sample: float
    min_characters: int
    max_page_bytes: int
    max_text_bytes: int


@dataclass
class Judged:
    """The documents kept of a batch, and counts of all its rows up to the last one wanted.

    `documents`: columns id, text, url, date, offset, and what rows state (`stated.Stated`).
    `rejected`: by number of `REASONS`; `examples`: places in the batch of a few of each, by a hash.
    """

    documents: pa.Table
    statistics: Counter[str] = field(default_factory=Counter)
    rejected: Counter[int] = field(default_factory=Counter)
    examples: dict[int, list[int]] = field(default_factory=dict)


def direct(rows: pa.Schema, columns: Columns) -> bool:
    """Whether a file's documents can be made from columns: one column of text, no prompt, no
    lists.
    """
    kinds: dict[str, Any] = {name: type_at(rows, name) for name in columns.names()}
    plain = all(
        is_string(kind.value_type if pa.types.is_dictionary(kind) else kind)
        or (name == columns.date and pa.types.is_temporal(kind))
        for name, kind in kinds.items()
    )
    return len(columns.text) == 1 and not columns.prompt and plain


def judge(
    batch: Batch,
    columns: Columns,
    key: bytes,
    limits: Limits,
    tally: FieldTally,
    limit: int | None = None,
) -> Judged:
    """Judge the rows of a batch, or of its beginning that holds the first `limit` documents.

    `key` is the sha256 of the file's content; `tally` is told which fields the rows have.
    """
    count = batch.rows.num_rows
    text, undecodable, (flags, characters, undecoded) = examined_text(
        column_at(batch.rows, columns.text[0])
    )
    sizes = pc.fill_null(pc.binary_length(text), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    missing = pc.is_null(text).to_numpy(zero_copy_only=False) & ~undecodable
    verdict = np.zeros(count, dtype=np.uint8)
    verdict[undecodable] = _CHARSET
    verdict[missing] = _FIELD
    hashes = hashes_of(key, np.arange(batch.first, batch.first + count))
    if limits.sample < 1:
        verdict[leading(hashes) >= np.uint64(int(limits.sample * 2**64))] = _SAMPLE
    verdict[sizes > limits.max_page_bytes] = _PAGE

    flags &= verdict == 0
    plain = (verdict == 0) & ~flags
    verdict[plain & (sizes > limits.max_text_bytes)] = _TEXT
    verdict[plain & (characters < max(limits.min_characters, 1))] = _SHORT
    final = sizes.copy()
    removed = np.zeros(count, dtype=np.int64)
    changed: dict[int, str] = {}
    for row in np.flatnonzero(flags).tolist():
        given = text[row].as_py()
        whole, removed[row] = cleaned(given)
        line = whole.strip("\n")
        stripped = len(line.strip())
        final[row] = len(line.encode())
        if not stripped or stripped < limits.min_characters:
            verdict[row] = _SHORT
        elif final[row] > limits.max_text_bytes:
            verdict[row] = _TEXT
        else:
            if line != given:
                changed[row] = line
            characters[row] = len(line)
            undecoded[row] = line.count("\ufffd")

    kept = np.flatnonzero(verdict == 0)
    if limit is not None and len(kept) > limit:
        count = int(kept[limit - 1]) + 1
        kept = kept[:limit]
    verdict = verdict[:count]
    row_text = _chosen(_replaced(text, changed), kept)
    urls = _chosen(_texts(batch, columns.url), kept)
    dates = _chosen(_dates(batch, columns.date), kept)
    stated, shortened = _stated(batch, columns, kept)
    documents = pa.table(
        {
            "id": as_ids(hashes[kept]),
            "text": row_text.cast(pa.string()),
            "url": _clean_urls(urls).cast(pa.string()),
            "date": dates.cast(pa.string()),
            "offset": pa.array(kept + batch.first, pa.int64()),
            **stated,
        }
    )
    found = Judged(documents)
    for code in np.unique(verdict[verdict > 0]).tolist():
        rows = np.flatnonzero(verdict == code)
        found.rejected[code] = len(rows)
        if code != _SAMPLE:
            order = np.argsort(leading(hashes[rows]), kind="stable")[:PER_PART]
            found.examples[code] = rows[order].tolist()
    found.statistics.update(
        documents=len(kept),
        characters=int(characters[kept].sum()),
        text_bytes=int(final[kept].sum()),
        payload_bytes=int(sizes[:count][verdict != _SAMPLE].sum()),
        undecoded_characters=int(undecoded[kept].sum()),
        removed_characters=int(removed[kept].sum()),
    )
    if shortened:
        found.statistics["shortened_metadata_documents"] = shortened
    _count_fields(batch.rows.slice(0, count), columns, verdict, tally)
    return found


def _count_fields(
    rows: pa.RecordBatch, columns: Columns, verdict: npt.NDArray[np.uint8], tally: FieldTally
) -> None:
    """Tell the tally what `fields.FieldReader` would have told it."""
    seen = (verdict != _SAMPLE) & (verdict != _PAGE)
    records = int(seen.sum())
    tally.records += records
    for name in columns.names():
        found = int((seen & _valid(column_at(rows, name))).sum())
        tally.usable[name] += found
        tally.unusable[name] += records - found
    without = verdict == _FIELD
    if textless := int(without.sum()):
        tally.textless += textless
        for name in rows.schema.names:
            tally.textless_names[name] += textless


def _valid(column: pa.Array) -> npt.NDArray[np.bool_]:
    return column.is_valid().to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _chosen(column: pa.Array, rows: npt.NDArray[np.int64]) -> pa.Array:
    """The values of some rows; not copied where these are the first ones."""
    count = len(rows)
    if count == 0 or rows[-1] == count - 1:
        return column.slice(0, count)
    return column.take(pa.array(rows))


def _replaced(text: pa.Array, changed: dict[int, str]) -> pa.Array:
    if not changed:
        return text
    pieces, begin = [], 0
    for row in sorted(changed):  # joined, which copies the others some at a time
        pieces += [text.slice(begin, row - begin), pa.array([changed[row]], text.type)]
        begin = row + 1
    return pa.concat_arrays([*pieces, text.slice(begin)])


def _texts(batch: Batch, name: str) -> pa.Array:
    """A column's strings, "" where there are none; bytes that are no UTF-8 become U+FFFD."""
    if not name:
        return pa.array([""] * batch.rows.num_rows)
    column = column_at(batch.rows, name)
    found, undecodable = strings(column)
    if undecodable.any():
        values = column.cast(pa.large_binary()).to_pylist()
        found = pa.array([(value or b"").decode("utf-8", "replace") for value in values])
    return pc.fill_null(found, "") if found.null_count else found


def _clean_urls(urls: pa.Array) -> pa.Array:
    flags, _, _ = examined(urls)
    return _replaced(
        urls, {row: clean(urls[row].as_py()) for row in np.flatnonzero(flags).tolist()}
    )


_STATED = (
    ("license", "license"),
    ("title", "title"),
    ("author", "author"),
    ("language", "declared_language"),
    ("dump", "dump"),
    ("category", "category"),
)
"""Columns of a file and of documents."""

_FEW = 32
"""So many different values of a batch are remembered for the next one."""

_MANY_BLANKS = ("  ", "\n", "\t")
"""What `cleaned_stated` joins, beside what `examined` flags. To compile a pattern of them takes
longer than to look for each.
"""


def _stated(
    batch: Batch, columns: Columns, kept: npt.NDArray[np.int64]
) -> tuple[dict[str, pa.Array], int]:
    """(what rows state, as `cleaned_stated` leaves it; rows in which something was shortened).

    Most of it repeats (licences, languages, crawls), so each value is looked at once.
    """
    found: dict[str, pa.Array] = {}
    is_shortened = np.zeros(len(kept), dtype=bool)
    for name, column in _STATED:
        path = getattr(columns, name)
        if not path:
            continue
        rows = _chosen(_texts(batch, path), kept).dictionary_encode()
        if len(rows.dictionary) <= _FEW:
            values, is_short = _clean_few(tuple(rows.dictionary.to_pylist()))
        else:
            values, is_short = _clean_values(rows.dictionary)
        found[column] = values.take(rows.indices)
        if is_short.any():
            is_shortened |= is_short[rows.indices.to_numpy(zero_copy_only=False)]
    return found, int(is_shortened.sum())


def _clean_values(values: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """(values as `cleaned_stated` leaves each, null for an empty one; which were shortened)."""
    flags, characters, _ = examined(values)
    flags |= characters > MAX_CHARACTERS
    for blanks in _MANY_BLANKS:
        flags |= pc.match_substring(values, blanks).to_numpy(zero_copy_only=False)
    changed = {}
    is_short = np.zeros(len(values), dtype=bool)
    for at in np.flatnonzero(flags).tolist():
        cleaned_value, is_short[at] = cleaned_stated(Stated(license=values[at].as_py()))
        changed[at] = cleaned_value.license or ""
    values = _replaced(values, changed)
    return pc.if_else(pc.equal(values, ""), None, values).cast(pa.string()), is_short


@functools.lru_cache(maxsize=64)
def _clean_few(values: tuple[str, ...]) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """The same of few values, such as languages and crawls, which are those of the last batch."""
    return _clean_values(pa.array(values, pa.string()))


def _dates(batch: Batch, name: str) -> pa.Array:
    """ISO dates of a column, "" where a value is none."""
    if not name:
        return pa.array([""] * batch.rows.num_rows)
    column = column_at(batch.rows, name)
    if pa.types.is_temporal(column.type):
        return pc.fill_null(iso_dates(column), "")
    values = _texts(batch, name)
    if _are_dates(values):
        return values
    return pc.if_else(pc.match_substring_regex(values, _DATE), values, "")


def _are_dates(values: pa.Array) -> bool:
    """Whether all are surely dates, in the same one of the usual shapes."""
    if not len(values) or not pa.types.is_string(values.type):
        return False
    _, offsets, data = values.buffers()
    starts = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    width = int(starts[1] - starts[0])
    shape = _DATE_SHAPES.get(width)
    if shape is None or (np.diff(starts) != width).any():
        return False
    letters = np.frombuffer(data, np.uint8)[starts[0] : starts[-1]].reshape(-1, width)
    digits = shape == ord("0")
    is_digit = letters[:, digits] - np.uint8(ord("0")) < 10
    return bool(is_digit.all() and (letters[:, ~digits] == shape[~digits]).all())


def iso_dates(column: pa.Array) -> pa.Array:
    """Dates and times as ISO 8601, in UTC to the second where the column has a zone."""
    kind: Any = column.type
    if pa.types.is_date(kind):
        return pc.strftime(column.cast(pa.timestamp("s")), "%Y-%m-%d")
    if not pa.types.is_timestamp(kind):
        return pa.nulls(len(column), pa.string())
    zone = "Z" if kind.tz else ""
    if zone:
        column = column.cast(pa.timestamp(kind.unit, "UTC"))
    whole = pc.floor_temporal(column, unit="second").cast(pa.timestamp("s"), safe=False)
    return pc.strftime(whole, f"%Y-%m-%dT%H:%M:%S{zone}")
