"""Whether the Parquet files that a source names are such files, before any of them is read.

A file's first bytes and its footer tell; of a remote one no more is asked for. One damaged file
among others is left to the reader, which counts it. Where none is whole, there is nothing to read,
and the plan says so.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from infra.io.files import replace_bytes
from infra.remote import cache
from infra.remote.access import Access
from infra.remote.errors import Changed, Denied, Foreign, NoSuchObject, RemoteError
from infra.remote.locations import is_remote, shown
from infra.remote.ranges import read_range
from infra.stage import Pin, StageError
from tasks.ingest.file_kinds import HEAD_BYTES, mismatch
from tasks.ingest.parquet import open_parquet
from tasks.ingest.parquet_columns import WrongColumns, columns_of
from tasks.ingest.range_file import RangeFile
from tasks.ingest.raw_documents import Unreadable
from tasks.ingest.stage import JsonlFields

MOST_ASKED = 4
"""Remote files of a source that are looked at: two requests each, remembered."""

NOT_WHOLE = "is no whole Parquet file (its footer cannot be read); download it again, or remove it from paths"  # noqa: E501

EMPTY = "holds 0 bytes, which is no Parquet file; download it again, or remove it from paths"


def parquet_problem(pins: Sequence[Pin], fields: JsonlFields | None, access: Access) -> str | None:
    """Why a source of these files would yield nothing: what one of them is instead, or that it has
    other columns than the recipe names, or that none is whole. None where all seems well, and
    where no server answers.

    Of many remote files the first ones stand for the others. Raises `Denied`, `NoSuchObject` and
    `Changed`.
    """
    filled = [pin for pin in pins if pin.bytes]
    asked = [pin for pin in filled if is_remote(pin.path)][:MOST_ASKED]
    cut = []
    for pin in [pin for pin in filled if not is_remote(pin.path) or pin in asked]:
        try:
            schema = _schema(pin, access)
        except Unreadable:
            cut.append(pin)
            continue
        except (Denied, NoSuchObject, Changed):
            raise
        except Foreign as error:
            return str(error)
        except RemoteError:
            return None  # no answer, or no ranges: the run says so
        except _NotParquet as other:
            return f"{shown(pin.path)} {other}"
        try:
            columns_of(schema, fields)
        except WrongColumns as error:
            return f"{shown(pin.path)}: {error}"
        return None
    if not filled and pins:
        return f"{shown(pins[0].path)} {EMPTY}{_so_are_all(pins)}"
    if not cut:
        return None
    return f"{shown(cut[0].path)} {NOT_WHOLE}{_so_are_all(cut)}"


def _so_are_all(pins: Sequence[Pin]) -> str:
    more = len(pins) > 1
    return f", and so it is with all {len(pins):,} files that were looked at" if more else ""


class _NotParquet(StageError):
    """A file of another kind; says which, and what to do."""


def _schema(pin: Pin, access: Access) -> pa.Schema:
    """The columns in a file's footer, those of a remote file remembered."""
    if not is_remote(pin.path):
        return open_parquet(Path(pin.path)).schema_arrow
    key = hashlib.sha256(f"{pin.path}\0{pin.identity}".encode()).hexdigest()[:32]
    memory = access.cache / "lookups" / f"{key}.schema"
    with contextlib.suppress(OSError, pa.ArrowInvalid):
        return pa.ipc.read_schema(pa.py_buffer(memory.read_bytes()))
    found = _asked_schema(pin, access)
    replace_bytes(memory, found.serialize().to_pybytes())
    return found


def _asked_schema(pin: Pin, access: Access) -> pa.Schema:
    if cache.holds(pin, access):
        with cache.local_copy(pin, access) as path:
            _require_kind(path)
            return open_parquet(path).schema_arrow.remove_metadata()
    with tempfile.TemporaryDirectory() as folder:
        head = Path(folder, Path(pin.name).name)
        head.write_bytes(read_range(pin, 0, min(HEAD_BYTES, pin.bytes), access))
        _require_kind(head)
    fetch = functools.partial(read_range, pin, access=access)
    with RangeFile(pin.bytes, lambda start, stop: fetch(start=start, stop=stop)) as file:
        return open_parquet(file).schema_arrow.remove_metadata()


def _require_kind(path: Path) -> None:
    if other := mismatch(path, "parquet"):
        raise _NotParquet(f"is {other.description}, but format is parquet; {other.advice}")
