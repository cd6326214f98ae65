"""Whether the fields that a recipe names are in a data set, before any of it is downloaded.

Parquet says so in its footer. Lines of JSON may each have other fields: where not one of the first
ones has text, none is expected to.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pyarrow as pa

from infra.io.files import replace_bytes
from infra.remote.access import Access
from infra.remote.errors import Unreachable
from infra.remote.ranges import read_range
from infra.stage import Pin, StageError
from tasks.ingest.fields import FieldTally, text_fields
from tasks.ingest.hub.layout import Layout, memory
from tasks.ingest.lines import jsonl_documents
from tasks.ingest.parquet_columns import WrongColumns, columns_of
from tasks.ingest.parquet_source import opened
from tasks.ingest.raw_documents import Unreadable
from tasks.ingest.stage import JsonlFields
from tasks.ingest.whole_files import MOST_ASKED

HEAD_BYTES = 256 << 10
ENOUGH_RECORDS = 20
"""Fewer records than these without text prove nothing."""


def check_fields(layout: Layout, fields: JsonlFields | None, access: Access) -> None:
    """Raise `StageError` with the names that there are, where a named one is not in the first file,
    and where none of the first Parquet files is whole.

    What cannot be reached is not checked: the run says so.
    """
    with contextlib.suppress(Unreachable):
        if layout.module == "parquet":
            _check_parquet(layout, fields, access)
        elif layout.module == "json" and "field" not in layout.options:
            with contextlib.suppress(Unreadable):
                _check_lines(layout, layout.files[0], fields, access)


def _check_parquet(layout: Layout, fields: JsonlFields | None, access: Access) -> None:
    first = layout.files[:MOST_ASKED]
    for pin in first:
        try:
            columns_of(schema_of(pin, access), fields)
        except Unreadable:
            continue  # one damaged file among others is counted when it is read
        except WrongColumns as error:
            raise StageError(f"{layout.dataset}, {pin.name}: {error}") from None
        return
    raise StageError(
        f"{layout.dataset}, {first[0].name}: is no whole Parquet file (its footer cannot be read)"
        f"{', and so it is with the files after it' * (len(first) > 1)}; name another revision, or "
        "other data_files"
    )


def schema_of(pin: Pin, access: Access) -> pa.Schema:
    """The columns of a pinned Parquet file, remembered by its content."""
    file = memory() / f"{pin.sha256}.schema"
    if pin.sha256:
        with contextlib.suppress(OSError, pa.ArrowInvalid):
            return pa.ipc.read_schema(pa.py_buffer(file.read_bytes()))
    with opened(pin, access) as source:
        schema = source.file.schema_arrow.remove_metadata()
    if pin.sha256:
        replace_bytes(file, schema.serialize().to_pybytes())
    return schema


def _check_lines(layout: Layout, pin: Pin, fields: JsonlFields | None, access: Access) -> None:
    tally = FieldTally()
    size = min(HEAD_BYTES, pin.bytes)
    with tempfile.TemporaryDirectory() as folder:
        head = Path(folder) / "head"
        head.write_bytes(read_range(pin, 0, size, access) if size else b"")
        for _ in jsonl_documents(
            head, lambda *_: True, fields=fields, max_page_bytes=HEAD_BYTES, tally=tally
        ):
            pass
    if tally.textless == tally.records >= ENOUGH_RECORDS:
        named = " or ".join(map(repr, text_fields(fields)))
        raise StageError(
            f"{layout.dataset}, {pin.name}: none of the first {tally.records} records has text in "
            f"{named}; they have {tally.most_frequent_names()}. Name the field that holds the text "
            "in fields.text"
        )
