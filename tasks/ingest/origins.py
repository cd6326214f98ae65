"""Traces documents back from their ids to the records that they were read from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.store import Artifact


@dataclass(frozen=True)
class Origin:
    """The record that a document was read from."""

    source: str
    url: str
    file: str
    """Name of the file, as in the documents' column `file`."""
    path: str | None
    """Path of the file when it was read; None if several files of the source share the name."""
    offset: int
    """Byte of the file at which the record begins, or its gzip member in a compressed archive."""


def origins(documents: Iterable[Artifact], ids: Iterable[str]) -> dict[str, Origin]:
    """Id -> origin, for the ids that occur in these ingest artifacts.

    Reads only the id column, and the other columns of row groups that have one of the ids.
    """
    wanted = pa.array(sorted(set(ids)), pa.string())
    origin_of: dict[str, Origin] = {}
    for artifact in documents:
        pins = artifact.manifest.pins["paths"]
        names = Counter(pin.name for pin in pins)
        paths = {pin.name: pin.path for pin in pins if names[pin.name] == 1}
        for name in artifact.files("part-"):
            reader = pq.ParquetFile(artifact.path(name))
            for group in range(reader.num_row_groups):
                if len(origin_of) == len(wanted):
                    return origin_of
                matches = pc.indices_nonzero(
                    pc.is_in(reader.read_row_group(group, columns=["id"])["id"], value_set=wanted)
                )
                if not len(matches):
                    continue
                columns = ["id", "url", "file", "offset"]
                rows = reader.read_row_group(group, columns=columns).take(matches)
                for row in rows.to_pylist():
                    file = row["file"]
                    origin_of[row["id"]] = Origin(
                        artifact.name, row["url"], file, paths.get(file), row["offset"]
                    )
    return origin_of
