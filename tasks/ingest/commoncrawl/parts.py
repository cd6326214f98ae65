"""The parts of a source of crawls: an archive each, or groups of records that the index gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.context import Context
from infra.stage import Pin, StageError
from tasks.ingest.commoncrawl.index import IndexPart, look_up
from tasks.ingest.commoncrawl.listing import archive
from tasks.ingest.commoncrawl.pinning import CRAWL, SELECT, crawl_of, listed_files
from tasks.ingest.commoncrawl.records import ArchiveRecords
from tasks.ingest.parts import PART_BYTES, PARTS, FileSlice, PartInput
from tasks.ingest.stage import IngestParameters

_PLACE = ["warc_filename", "warc_record_offset", "warc_record_length"]


def parts_of_crawls(
    context: Context,
) -> tuple[dict[str, PartInput], list[Pin], dict[str, Any]]:
    """(parts by key, archives that are read whole, statistics).

    With `select`, looks the records up first.
    """
    parameters: IngestParameters = context.parameters
    archives = listed_files(context.pins[CRAWL])
    options = {"in_flight": max(context.access.connections // context.engine.workers, 1)}
    part = PartInput(context.name, (), parameters, parameters.kind, options, context.access)
    if parameters.select is None:
        parts = [replace(part, slices=(FileSlice(pin),)) for pin in archives]
        statistics: dict[str, Any] = {"files": len(archives)}
    else:
        places, statistics = _looked_up(context)
        if archives:
            names = pa.array([pin.name for pin in archives])
            places = places.filter(pc.is_in(places["warc_filename"], value_set=names))
            statistics["wanted_records"] = len(places)
        groups = list(grouped(places, parameters.host))
        parts = [replace(part, reader="records", places=group) for group in groups]
        statistics["files"] = len({one.pin.name for group in groups for one in group})
    items = {f"part-{number:05d}": one for number, one in enumerate(parts)}
    return items, [] if parameters.select else list(archives), statistics


def _looked_up(context: Context) -> tuple[pa.Table, dict[str, Any]]:
    """(places of wanted records, statistics of the index)."""
    parameters: IngestParameters = context.parameters
    assert parameters.select is not None
    index = listed_files(context.pins[SELECT])
    items = {
        f"index-{number:05d}": IndexPart(crawl_of(pin), pin, parameters.select, context.access)
        for number, pin in enumerate(index)
    }
    results = context.map(look_up, items)
    found = [_places(context.attempt.data.local(f"{key}.parquet")) for key in results]
    places = pa.concat_tables(found).unify_dictionaries()
    statistics: dict[str, Any] = {
        "index_records": sum(result["records"] for result in results.values()),
        "wanted_records": len(places),
    }
    if not len(places):
        languages: dict[str, int] = {}
        for result in results.values():
            for code, count in result["languages"].items():
                languages[code] = languages.get(code, 0) + count
        frequent = ", ".join(sorted(languages, key=languages.__getitem__, reverse=True)[:10])
        has = f". Most of its pages are {frequent}" if frequent else ""
        raise StageError(
            f"source {context.name}: no record of {statistics['index_records']:,} in the index is "
            f"one that select wants{has}. Check select"
        )
    return places, statistics


def _places(path: Path) -> pa.Table:
    return pq.read_table(path, columns=_PLACE, read_dictionary=["warc_filename"])


def grouped(places: pa.Table, host: str) -> Iterator[tuple[ArchiveRecords, ...]]:
    """Records by archive and offset, as parts of about equal bytes.

    A record that the index has twice is fetched once. The parts depend on the places alone.
    """
    names = places["warc_filename"].combine_chunks()
    if isinstance(names, pa.ChunkedArray):
        names = names.chunk(0)
    known = pc.rank(names.dictionary, sort_keys="ascending").to_numpy()
    file = known[names.indices.to_numpy()]
    offsets = places["warc_record_offset"].to_numpy()
    lengths = places["warc_record_length"].to_numpy()
    order = np.lexsort((offsets, file))
    file, offsets, lengths = file[order], offsets[order], lengths[order]
    once = np.ones(len(file), bool)
    once[1:] = (file[1:] != file[:-1]) | (offsets[1:] != offsets[:-1])
    file, offsets, lengths = file[once], offsets[once], lengths[once]
    ends = np.cumsum(lengths)
    size = min(max(int(ends[-1]) // PARTS, PART_BYTES[0]), PART_BYTES[1])
    part = (ends - lengths) // size
    starts = np.flatnonzero(np.r_[True, (part[1:] != part[:-1]) | (file[1:] != file[:-1])])
    name_of = dict(zip(known.tolist(), names.dictionary.to_pylist(), strict=True))
    group: list[ArchiveRecords] = []
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(file)], strict=True):
        if group and part[start] != part[start - 1]:
            yield tuple(group)
            group = []
        pin = archive(host, name_of[int(file[start])])
        group.append(ArchiveRecords(pin, offsets[start:stop], lengths[start:stop]))
    yield tuple(group)
