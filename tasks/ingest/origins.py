"""Where documents came from: the way back from an id to the record of the file it was read from."""

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
    """Name of the file, as the documents have it."""
    path: str | None
    """Where that file lay when it was read; None where several files of the source have the name.
    """
    offset: int
    """Byte of the file at which the record begins (its gzip member, in archives compressed by
    record).
    """


def origins(documents: Iterable[Artifact], ids: Iterable[str]) -> dict[str, Origin]:
    """Id -> origin of the documents found in these ingest artifacts. Reads ids, and more only where
    one is met.
    """
    wanted = pa.array(sorted(set(ids)), pa.string())
    found: dict[str, Origin] = {}
    for artifact in documents:
        pins = artifact.manifest.pins["paths"]
        names = Counter(pin.name for pin in pins)
        paths = {pin.name: pin.path for pin in pins if names[pin.name] == 1}
        for name in artifact.files("part-"):
            reader = pq.ParquetFile(artifact.path(name))
            for group in range(reader.num_row_groups):
                if len(found) == len(wanted):
                    return found
                at = pc.indices_nonzero(
                    pc.is_in(reader.read_row_group(group, columns=["id"])["id"], value_set=wanted)
                )
                if not len(at):
                    continue
                rows = reader.read_row_group(group, columns=["id", "url", "file", "offset"]).take(
                    at
                )
                for row in rows.to_pylist():
                    file = row["file"]
                    found[row["id"]] = Origin(
                        artifact.name, row["url"], file, paths.get(file), row["offset"]
                    )
    return found
