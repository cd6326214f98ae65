"""Whether the files that a source names are in its format, and their first records have its fields.

One damaged file or record among others is left to the reader, which counts it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from infra.remote.access import Access
from infra.remote.errors import RemoteError
from infra.remote.locations import is_remote
from infra.stage import Fault, Pin
from tasks.ingest.file_kinds import refusal
from tasks.ingest.first_records import first_records
from tasks.ingest.stage import IngestParameters
from tasks.ingest.whole_files import parquet_problem

FILES_SHOWN = 5
"""Refused files of a source that are named one by one."""


def faults(
    parameters: IngestParameters, pins: Mapping[str, tuple[Pin, ...]], access: Access
) -> Iterator[Fault]:
    """What is wrong with the files of `paths`: data sets and crawls are looked at as they are
    pinned.
    """
    files = pins.get("paths", ())
    format = parameters.format
    if format == "hf" or format == "commoncrawl":
        return
    here = [Path(pin.path) for pin in files if not is_remote(pin.path)]
    refused = [why for path in here if (why := refusal(path, format))]
    yield from (Fault("paths", why) for why in refused[:FILES_SHOWN])
    if len(refused) > FILES_SHOWN:
        yield Fault("paths", f"{len(refused) - FILES_SHOWN:,} more such files")
    if refused:
        return
    if format == "parquet" and (why := _parquet(parameters, files, access)):
        yield Fault("paths", why)
    if format == "jsonl":
        yield from first_records(here, parameters.fields, parameters.max_page_bytes)


def _parquet(parameters: IngestParameters, files: Sequence[Pin], access: Access) -> str | None:
    try:
        return parquet_problem(files, parameters.fields, access.impatient())
    except RemoteError as error:
        return str(error)
