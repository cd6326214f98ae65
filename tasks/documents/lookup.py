"""Finds documents by id or URL, and reads their rows of the files that are aligned with them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.store import Artifact

MOST_FOUND = 20


@dataclass(frozen=True)
class Place:
    """Where a document is: its source, the part and the row of the part, and what ingest says."""

    source: str
    part: str
    row: int
    id: str
    url: str
    file: str
    offset: int
    characters: int


def places(documents: Iterable[Artifact], wanted: str) -> list[Place]:
    """The documents whose id begins with `wanted`, or that are from this URL; `MOST_FOUND` at most.

    Reads ids and URLs, and the text of the documents found.
    """
    found: list[Place] = []
    for artifact in documents:
        for part in artifact.files("part-"):
            reader = pq.ParquetFile(artifact.path(part))
            start = 0
            for group in range(reader.num_row_groups):
                table = reader.read_row_group(group, columns=["id", "url"])
                hits = pc.or_(pc.starts_with(table["id"], wanted), pc.equal(table["url"], wanted))
                rows = pc.indices_nonzero(pc.fill_null(hits, False))
                if len(rows):
                    columns = ["id", "url", "file", "offset", "text"]
                    read = reader.read_row_group(group, columns=columns).take(rows).to_pylist()
                    for row, values in zip(rows.to_pylist(), read, strict=True):
                        size = len(values.pop("text") or "")
                        found.append(
                            Place(artifact.name, part, start + row, **values, characters=size)
                        )
                        if len(found) == MOST_FOUND:
                            return found
                start += table.num_rows
    return found


def row_of(file: Path, row: int) -> dict[str, Any]:
    """All columns of one row of a Parquet file; of its row groups only that one is read."""
    reader = pq.ParquetFile(file)
    for group in range(reader.num_row_groups):
        rows = reader.metadata.row_group(group).num_rows
        if row < rows:
            (values,) = reader.read_row_group(group).slice(row, 1).to_pylist()
            return dict(values)
        row -= rows
    raise IndexError(f"{file} has no row {row}")


def rows_with(file: Path, column: str, value: str) -> list[dict[str, Any]]:
    """The rows of a Parquet file that have a value in a column."""
    found: list[dict[str, Any]] = pq.read_table(file, filters=[(column, "=", value)]).to_pylist()
    return found


def line_of(select: Artifact, part: str, id_: str) -> tuple[str, dict[str, Any]] | None:
    """(folder, line) of a document in a select artifact; None where it is not there. Reads the
    lines that were made of the document's own part.
    """
    quoted = json.dumps(id_).encode()
    for name in select.files():
        if not name.endswith(f"/{Path(part).stem}.jsonl"):
            continue
        with select.path(name).open("rb") as lines:
            for line in lines:
                if quoted in line and (record := json.loads(line))["id"] == id_:
                    return name.rpartition("/")[0], record
    return None
