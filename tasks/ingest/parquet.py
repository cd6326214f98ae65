"""Reads Parquet by row group: which columns `fields` needs, and batches of rows of bounded size.

A row's place is its number in the file, so that a row has the same id wherever the file lies, and
whatever part of it is read at once. A file that is cut short is one failure; a damaged row group
costs its own rows.
"""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.stage import StageError
from tasks.documents.schema import ROW_GROUP_DOCUMENTS
from tasks.ingest.fields import known_fields
from tasks.ingest.lines import ByteRange
from tasks.ingest.raw_documents import Unreadable
from tasks.ingest.stage import JsonlFields

BATCH_BYTES = 16 << 20
"""A batch ends at about so many bytes of the wanted columns, or at `ROW_GROUP_DOCUMENTS` rows."""

STREAM_BYTES = 1 << 20
"""Read at once of a column chunk. Arrow would otherwise hold a whole chunk, which in a file of one
row group is the whole column.
"""

_NAMES_SHOWN = 24
_DAMAGE = (pa.ArrowException, OSError, EOFError)
"""What Arrow raises for bytes that are no Parquet; readers of remote files raise `StageError`."""


class Columns(NamedTuple):
    """The columns (dotted paths) that hold a document's parts; "" for none."""

    text: tuple[str, ...]
    prompt: str = ""
    url: str = ""
    date: str = ""
    license: str = ""
    title: str = ""
    author: str = ""
    language: str = ""
    dump: str = ""

    def names(self) -> list[str]:
        """All of them."""
        return [name for name in (*self.text, *self[1:]) if name]


class Batch(NamedTuple):
    """Consecutive rows, `first` being the number of the first one in its file."""

    first: int
    rows: pa.RecordBatch


class Lost(NamedTuple):
    """Rows that cannot be read."""

    rows: int
    bytes: int


def open_parquet(
    source: Path | io.RawIOBase | io.BytesIO, metadata: pq.FileMetaData | None = None
) -> pq.ParquetFile:
    """A file opened for `read_batches`. Raises Unreadable("parquet") where it has no whole footer.

    Column chunks are streamed: with 10^7 rows in one row group, memory stays at some MB. Pages are
    held against their checksums where a file has them, as Spark's have; without, zeros in a page
    that is not compressed are text like any other.
    """
    given = str(source) if isinstance(source, Path) else source
    try:
        return pq.ParquetFile(
            given,
            metadata=metadata,
            pre_buffer=False,
            buffer_size=STREAM_BYTES,
            page_checksum_verification=True,
        )
    except _DAMAGE as error:
        if isinstance(source, Path) and not source.is_file():
            raise
        raise Unreadable("parquet") from error


def row_groups(metadata: pq.FileMetaData, byte_range: ByteRange | None) -> list[int]:
    """The row groups whose data begins in a byte range of the file, or all.

    So byte ranges of bytes, which need no footer to plan, read each row group once.
    """
    numbers = range(metadata.num_row_groups)
    if byte_range is None:
        return list(numbers)
    return [at for at in numbers if byte_range.start <= _begin(metadata, at) < byte_range.stop]


def _begin(metadata: pq.FileMetaData, number: int) -> int:
    """Where the data of a row group begins in the file."""
    group = metadata.row_group(number)
    if not group.num_columns:
        return 0
    column = group.column(0)
    return int(
        min(
            offset
            for offset in (column.dictionary_page_offset, column.data_page_offset)
            if offset is not None
        )
    )


def column_paths(metadata: pq.FileMetaData) -> list[str]:
    """Paths of the columns, as the schema has them. Every row group states its own again, which in
    a damaged file may not even be text.
    """
    return [metadata.schema.column(at).path for at in range(metadata.num_columns)]


def column_ranges(
    metadata: pq.FileMetaData, groups: Sequence[int], names: Sequence[str]
) -> list[tuple[int, int]]:
    """The bytes [start, stop) that hold the named columns of row groups, in the file's order."""
    found = []
    paths = column_paths(metadata)
    for number in groups:
        group = metadata.row_group(number)
        for path, column in zip(paths, map(group.column, range(group.num_columns)), strict=False):
            if any(path == name or path.startswith(f"{name}.") for name in names):
                offsets = (column.dictionary_page_offset, column.data_page_offset)
                start = min(offset for offset in offsets if offset is not None)
                found.append((start, start + column.total_compressed_size))
    return sorted(found)


def read_batches(
    file: pq.ParquetFile, groups: Sequence[int], columns: Columns
) -> Iterator[Batch | Lost]:
    """The rows of some row groups, with the named columns only, in batches of bounded size."""
    names = projection(file.schema_arrow, columns)
    firsts, paths = _first_rows(file.metadata), column_paths(file.metadata)
    for number in groups:
        group = file.metadata.row_group(number)
        first, stop = firsts[number], firsts[number] + group.num_rows
        batches = file.iter_batches(
            _batch_rows(group, paths, names), row_groups=[number], columns=names, use_threads=False
        )
        while first < stop:
            try:
                rows = next(batches)
            except StopIteration:
                break
            except _DAMAGE:
                break
            yield Batch(first, rows)
            first += rows.num_rows
        if first < stop:
            size = sum(
                stop - start for start, stop in column_ranges(file.metadata, [number], names)
            )
            yield Lost(stop - first, size * (stop - first) // group.num_rows)


def _first_rows(metadata: pq.FileMetaData) -> list[int]:
    firsts = [0]
    for number in range(metadata.num_row_groups):
        firsts.append(firsts[-1] + metadata.row_group(number).num_rows)
    return firsts


def _batch_rows(group: Any, paths: Sequence[str], names: Sequence[str]) -> int:
    """Rows of a batch, from the mean size of a row."""
    columns = zip(paths, map(group.column, range(group.num_columns)), strict=False)
    size = sum(
        column.total_uncompressed_size
        for path, column in columns
        if any(path.split(".")[0] == name.split(".")[0] for name in names)
    )
    mean = max(size // max(group.num_rows, 1), 1)
    return int(min(max(BATCH_BYTES // mean, 1), ROW_GROUP_DOCUMENTS))


@dataclass(frozen=True)
class WrongColumns(StageError):
    """A column that `fields` names cannot be a document's part; says what there is."""

    parameter: str
    why: str

    def __str__(self) -> str:
        return f"fields.{self.parameter}: {self.why}"


def columns_of(schema: pa.Schema, fields: JsonlFields | None, *, strict: bool = True) -> Columns:
    """The columns that `fields` (or what is known of such columns) names in a file.

    Raises `WrongColumns` for a name that is not there, and for a column that is no text. Of url
    and date, names that the recipe does not state may be missing; without `strict`, all may.
    """
    given = fields or known_fields(schema.names)
    stated = given.model_fields_set if fields and strict else set()
    texts = tuple(_column(schema, "text", name) for name in given.text)
    prompt = _column(schema, "prompt", given.prompt) if given.prompt else ""
    others = {}
    for parameter in _OPTIONAL:
        name = getattr(given, parameter)
        if not name or (parameter not in stated and not _fits(schema, parameter, name)):
            continue
        others[parameter] = _column(schema, parameter, name)
    return Columns(texts, prompt, **others)


_OPTIONAL = ("url", "date", "license", "title", "author", "language", "dump")


def _fits(schema: pa.Schema, parameter: str, name: str) -> bool:
    """Whether a column that the recipe does not name is there, and is text (or a time)."""
    kind = type_at(schema, name)
    is_time = parameter == "date" and kind is not None and pa.types.is_temporal(kind)
    return kind is not None and (is_text(kind) or is_time)


def _column(schema: pa.Schema, parameter: str, name: str) -> str:
    kind = type_at(schema, name)
    there = leaf_names(schema)
    if kind is None:
        close = difflib.get_close_matches(name, there, n=1, cutoff=0.6)
        near = f" (did you mean {close[0]!r}?)" if close else ""
        raise WrongColumns(parameter, f"there is no column {name!r}{near}; {_shown(there)}")
    if is_text(kind) or (parameter == "date" and pa.types.is_temporal(kind)):
        return name
    inside = [path for path in there if path.startswith(f"{name}.")]
    what = f"column {name!r} is {str(kind)[:120]}, which is no text"
    raise WrongColumns(parameter, f"{what}; {_shown(inside or there)}")


def _shown(names: Sequence[str]) -> str:
    rest = len(names) - _NAMES_SHOWN
    return "there are " + ", ".join([*names[:_NAMES_SHOWN], *[f"{rest} more"] * (rest > 0)])


def leaf_names(schema: pa.Schema) -> list[str]:
    """The names of all columns; of structs, of what is in them."""

    def names(field: pa.Field, prefix: str) -> Iterator[str]:
        name = prefix + field.name
        inner = field.type
        if pa.types.is_struct(inner) and inner.num_fields:
            for at in range(inner.num_fields):
                yield from names(inner.field(at), f"{name}.")
        else:
            yield name

    return [name for field in schema for name in names(field, "")]


def type_at(schema: pa.Schema, name: str) -> pa.DataType | None:
    """The type of a column, or of one in a struct; None where there is none."""
    if schema.names.count(name) == 1:
        return schema.field(name).type
    head, rest = _split(schema.names, name)
    kind = schema.field(head).type if head else None
    while kind is not None and rest:
        if not pa.types.is_struct(kind):
            return None
        names = [kind.field(at).name for at in range(kind.num_fields)]
        head, rest = (rest, "") if rest in names else _split(names, rest)
        kind = kind.field(head).type if head else None
    return kind


def _split(names: Sequence[str], name: str) -> tuple[str, str]:
    """(a name that is there, the path below it)."""
    dot = len(name)
    while (dot := name.rfind(".", 0, dot)) > 0:
        if name[:dot] in names:
            return name[:dot], name[dot + 1 :]
    return "", ""


def is_text(kind: pa.DataType) -> bool:
    """Strings and bytes, also dictionary-encoded, and lists of them."""
    if pa.types.is_dictionary(kind):
        return is_string(kind.value_type)
    while _is_list(kind):
        kind = kind.value_type
    return is_string(kind)


def is_string(kind: pa.DataType) -> bool:
    """Strings and bytes."""
    return any(
        test(kind)
        for test in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
            pa.types.is_fixed_size_binary,
        )
    )


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def projection(schema: pa.Schema, columns: Columns) -> list[str]:
    """The names by which Arrow reads these columns and no others (columns without a name have
    none to read).
    """
    return list(dict.fromkeys(columns.names()))


def column_at(rows: pa.RecordBatch, name: str) -> pa.Array:
    """A column, or one in a struct: null where the struct is null."""
    names = rows.schema.names
    if name in names:
        return rows.column(name)
    head, rest = _split(names, name)
    found = rows.column(head)
    while rest:
        inner = [found.type.field(at).name for at in range(found.type.num_fields)]
        head, rest = (rest, "") if rest in inner else _split(inner, rest)
        found = pc.struct_field(found, [inner.index(head)])
    return found
