"""The columnar index: which records of a crawl a `select` wants, and where they lie.

https://commoncrawl.org/columnar-index: one row a record, sorted by `url_surtkey` (the host
backwards, `org,example)/path`), so that the statistics of row groups leave out most of them where
domains or top-level domains are wanted. Of the others, the columns that decide are read first, and
the places of records only where one is wanted.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.remote import objects
from infra.remote.access import Access
from infra.remote.ranges import read_range
from infra.stage import Pin, StageError
from infra.store import Shard
from tasks.ingest.commoncrawl.pinning import WITH_LANGUAGES, no_languages
from tasks.ingest.parquet import column_paths, column_ranges, open_parquet
from tasks.ingest.parquet_columns import is_string
from tasks.ingest.range_file import TAIL_BYTES, RangeFile
from tasks.ingest.raw_documents import Unreadable
from tasks.ingest.stage import IndexSelect

LOCATIONS = pa.schema(
    [
        ("warc_filename", pa.string()),
        ("warc_record_offset", pa.int64()),
        ("warc_record_length", pa.int64()),
        ("content_languages", pa.string()),
        ("content_truncated", pa.string()),
    ]
)
"""What a lookup writes: a row for each wanted record, in the index's order."""

_PLACE = ("warc_filename", "warc_record_offset", "warc_record_length", "content_truncated")
_NUMBERS = ("fetch_status", "warc_record_offset", "warc_record_length")
_ALTERNATIVES = 500
"""Domains in one pattern; RE2 refuses patterns of many thousands."""

_BATCH_ROWS = 1 << 16
"""Decoded at once: a row group has millions of rows, each with the name of an archive."""

_NAMED = 10


@dataclass(frozen=True)
class IndexPart:
    """A part of a crawl's index, and what is wanted of it."""

    crawl: str
    pin: Pin
    select: IndexSelect
    access: Access


def deciding(select: IndexSelect) -> list[str]:
    """Columns that say whether a record is wanted."""
    names = ["fetch_status"]
    names += ["content_languages"] if select.languages else []
    names += ["url_host_name"] if select.domains else []
    names += ["url_host_tld"] if select.tlds else []
    return names + (["content_mime_detected", "content_mime_type"] if select.mime else [])


def placing(schema: pa.Schema) -> list[str]:
    """Columns that are read of wanted records."""
    return [*_PLACE, *(["content_languages"] if "content_languages" in schema.names else [])]


def check_schema(schema: pa.Schema, part: IndexPart) -> None:
    """Raise `StageError` where the index has not the columns that are read, naming the first."""
    for name in [*deciding(part.select), *_PLACE, "url_surtkey"]:
        kind = schema.field(name).type if name in schema.names else None
        right = pa.types.is_integer if name in _NUMBERS else is_string
        if kind is not None and right(_values(kind)):
            continue
        if kind is None and name == "content_languages" and part.crawl < WITH_LANGUAGES:
            raise StageError(no_languages(part.crawl))
        near = difflib.get_close_matches(name, schema.names, n=1)
        guess = f" (there is {near[0]!r})" if near else ""
        wrong = f"no column {name!r}{guess}" if kind is None else f"column {name!r} of type {kind}"
        raise StageError(
            f"the index of {part.crawl} has {wrong}, in {part.pin.name}; it is not the published "
            "one of Common Crawl (subset=warc), or a later version of it. Check host, or remove "
            f"select. Its columns: {', '.join(schema.names)}"
        )


def _values(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def look_up(part: IndexPart, shard: Shard) -> dict[str, Any]:
    """Write where the wanted records of a part of the index lie (runs in a worker).

    Returns how many records there are, are wanted and are truncated, and the most frequent
    languages.
    """
    seen = Counter[str](records=0, wanted=0, truncated=0)
    languages = Counter[str]()
    with (
        shard.create(f"{shard.key}.parquet") as path,
        pq.ParquetWriter(path, LOCATIONS, compression="zstd") as writer,
    ):
        for table in wanted_of(part, seen, languages):
            writer.write_table(table)
            seen["wanted"] += table.num_rows
            seen["truncated"] += len(table) - table["content_truncated"].null_count
    return {**seen, "languages": dict(languages.most_common(_NAMED))}


def wanted_of(part: IndexPart, seen: Counter[str], languages: Counter[str]) -> Iterator[pa.Table]:
    """The places of wanted records, a table for each row group that has some."""
    try:
        with opened(part.pin, part.access) as (file, ranges):
            check_schema(file.schema_arrow, part)
            seen["records"] += file.metadata.num_rows
            groups = possible(file.metadata, part.select)
            columns = deciding(part.select)
            _want(ranges, file, groups, columns)
            chosen: dict[int, pa.Array] = {}
            for group in groups:
                masks = []
                for rows in _batches(file, group, columns):
                    languages.update(_languages(rows))
                    masks.append(wanted(rows, part.select))
                mask = pa.concat_arrays(masks)
                if pc.any(mask).as_py():
                    chosen[group] = mask
            columns = placing(file.schema_arrow)
            _want(ranges, file, list(chosen), columns)
            for group, mask in chosen.items():
                yield _placed(_batches(file, group, columns), mask)
    except (Unreadable, pa.ArrowException, EOFError) as error:
        raise StageError(
            f"{part.pin.path}: this part of the index cannot be read ({error}); without it, "
            "records would be missing. Try again, or remove select"
        ) from None


@contextlib.contextmanager
def opened(pin: Pin, access: Access) -> Iterator[tuple[pq.ParquetFile, RangeFile | None]]:
    """A part of the index, read in ranges where it lies. Raises as `objects.stat` and
    `open_parquet` do.
    """
    found = objects.stat(pin.path, access)
    if found.bytes <= TAIL_BYTES:
        whole = read_range(found, 0, found.bytes, access) if found.bytes else b""
        yield open_parquet(io.BytesIO(whole)), None
        return
    fetch = functools.partial(read_range, found, access=access)
    with RangeFile(found.bytes, lambda start, stop: fetch(start=start, stop=stop)) as ranges:
        yield open_parquet(ranges), ranges


def _want(
    ranges: RangeFile | None, file: pq.ParquetFile, groups: Sequence[int], names: Sequence[str]
) -> None:
    if ranges is not None:
        ranges.want(column_ranges(file.metadata, groups, names))


def _languages(rows: pa.RecordBatch) -> Counter[str]:
    found = Counter[str]()
    if "content_languages" in rows.schema.names:
        for entry in rows["content_languages"].value_counts().to_pylist():
            for code in _text(entry["values"] or "").split(","):
                found[code] += entry["counts"]
    return found


def _batches(file: pq.ParquetFile, group: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    yield from file.iter_batches(
        _BATCH_ROWS, row_groups=[group], columns=list(columns), use_threads=False
    )


def _placed(batches: Iterable[pa.RecordBatch], mask: pa.Array) -> pa.Table:
    """The rows of a row group that a mask has, as places."""
    first, found = 0, []
    for rows in batches:
        some = rows.filter(mask.slice(first, len(rows)))
        first += len(rows)
        columns = [
            some[field.name].cast(field.type)
            if field.name in rows.schema.names
            else pa.nulls(len(some), field.type)
            for field in LOCATIONS
        ]
        found.append(pa.record_batch(columns, schema=LOCATIONS))
    return pa.Table.from_batches(found)


def wanted(rows: pa.Table | pa.RecordBatch, select: IndexSelect) -> pa.Array:
    """Which records were fetched whole and are wanted: true or false for each row.

    Of a page's languages any will do; a domain stands for all hosts below it; the detected media
    type counts where there is one.
    """
    mask = pc.equal(rows["fetch_status"], 200)
    if select.languages:
        pattern = rf"(^|,)(?:{'|'.join(select.languages)})(,|$)"
        mask = _both(mask, pc.match_substring_regex(rows["content_languages"], pattern))
    if select.domains:
        mask = _both(mask, _below(rows["url_host_name"], select.domains))
    if select.tlds:
        tlds = pa.array(select.tlds, rows["url_host_tld"].type)
        mask = _both(mask, pc.is_in(rows["url_host_tld"], value_set=tlds))
    if select.mime:
        types = pc.coalesce(rows["content_mime_detected"], rows["content_mime_type"])
        mask = _both(mask, pc.is_in(types, value_set=pa.array(select.mime, types.type)))
    return pc.fill_null(mask, False)


def _both(one: pa.Array, other: pa.Array) -> pa.Array:
    return pc.and_kleene(one, other)


def _below(hosts: pa.Array, domains: Sequence[str]) -> pa.Array:
    found: pa.Array | None = None
    for first in range(0, len(domains), _ALTERNATIVES):
        some = "|".join(re.escape(domain) for domain in domains[first : first + _ALTERNATIVES])
        match = pc.match_substring_regex(hosts, rf"(^|\.)(?:{some})$")
        found = match if found is None else pc.or_(found, match)
    return found


def possible(metadata: pq.FileMetaData, select: IndexSelect) -> list[int]:
    """The row groups that may have wanted records, by what their statistics say of
    `url_surtkey`.
    """
    prefixes = [_backwards(name) for name in select.domains] or list(select.tlds)
    numbers = range(metadata.num_row_groups)
    if not prefixes:
        return list(numbers)
    return [
        at for at in numbers if _overlaps(metadata.row_group(at), column_paths(metadata), prefixes)
    ]


def _backwards(domain: str) -> str:
    return ",".join(reversed(domain.removeprefix("www.").split(".")))


def _overlaps(group: Any, names: Sequence[str], prefixes: Sequence[str]) -> bool:
    for number, name in enumerate(names):
        if name == "url_surtkey":
            statistics = group.column(number).statistics
            if statistics is None or not statistics.has_min_max:
                return True
            low, high = _text(statistics.min), _text(statistics.max)
            # a host ends with ")", goes on with "," or has a port after ":"
            return any(low < f"{prefix};" and high >= f"{prefix})" for prefix in prefixes)
    return True


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def bytes_of(metadata: pq.FileMetaData, groups: Sequence[int], names: Sequence[str]) -> int:
    """Bytes of columns in row groups."""
    return sum(stop - start for start, stop in column_ranges(metadata, groups, names))
