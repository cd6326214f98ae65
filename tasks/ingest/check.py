"""Whether the files that a source names are in its format, and their first records have its fields.

One damaged file or record among others is left to the reader, which counts it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from infra.io.files import replace_bytes
from infra.remote.access import Access
from infra.remote.errors import RemoteError
from infra.remote.locations import is_remote, shown
from infra.remote.ranges import read_range
from infra.stage import Fault, Pin
from tasks.ingest.file_kinds import HEAD_BYTES, refusal
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
        if here:
            yield from first_records(here, parameters.fields, parameters.max_page_bytes)
        elif head := _head(files, access):
            yield from first_records(
                [head], parameters.fields, parameters.max_page_bytes, name=shown(files[0].path)
            )


def _head(files: Sequence[Pin], access: Access) -> Path | None:
    """The first bytes of the first file, which is elsewhere, in a file here; None without answer.

    Remembered, so that it is asked for once.
    """
    if not files or files[0].bytes <= 0:
        return None
    first = files[0]
    key = hashlib.sha256(f"{first.path}\0{first.identity}".encode()).hexdigest()[:32]
    head = access.cache / "lookups" / f"{key}.head"
    if not head.is_file():
        try:
            data = read_range(first, 0, min(HEAD_BYTES, first.bytes), access.impatient())
        except RemoteError:
            return None  # the run says so
        replace_bytes(head, data)
    return head


def _parquet(parameters: IngestParameters, files: Sequence[Pin], access: Access) -> str | None:
    try:
        return parquet_problem(files, parameters.fields, access.impatient())
    except RemoteError as error:
        return str(error)
