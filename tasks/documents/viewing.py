"""Reads what `puna inspect` shows: verdicts of all documents, and everything about a few of them.

A `SourceView` is a source's documents with the row-aligned artifacts that are there. Verdicts are
read by row group, columns only; texts only of the rows that were chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.store import Artifact
from tasks.documents import edits
from tasks.documents.annotate import EDITED_BY, through_edits
from tasks.documents.choosing import Group, Row, hashes_of
from tasks.documents.keeps import Keeps
from tasks.documents.records import record, records
from tasks.documents.verdicts import COLUMNS, verdicts

MOST_MEASURED = 20_000
"""Documents of which a quality rule is measured again, to find those near its limit."""

SHOWN = (
    *("id", "text", "prompt", "url", "date", "file", "offset"),
    *("license", "title", "author", "published", "declared_language", "dump", "category"),
)
"""Columns of documents that are read of a chosen one; older artifacts lack the last."""

DETAILS: Mapping[str, tuple[str, ...]] = {
    "langid": ("language", "language_score"),
    "quality": ("failed",),
    "perplexity": ("perplexity",),
    "decontaminate": ("contaminated", "passage_share"),
    "cut": ("reason", "category", "bucket"),
}
SCORES = "scores."
"""Before the classifier in the role of its scores: `scores.edu`."""


"""Role -> its columns that are read of a chosen document; edits apart."""

Measure = Callable[[str, str], "tuple[float, float] | None"]
"""(text, language) -> (value of a quality rule, distance from its nearer limit); None if it is
off.
"""


@dataclass(frozen=True, eq=False)
class SourceView:
    """A source's documents, and role -> artifact row-aligned with them.

    `edited`: whether the stage in question read the text after line deduplication.
    """

    name: str
    documents: Artifact
    roles: Mapping[str, Artifact]
    keeps: Keeps
    edited: bool = True

    def file(self, role: str, part: str) -> pq.ParquetFile | None:
        """A role's file for a part of the documents; None without such an artifact."""
        artifact = self.roles.get(role)
        if artifact is None:
            return None
        return pq.ParquetFile(artifact.path(f"{self.name}/{part}" if role == "cut" else part))

    def documents_total(self) -> int:
        """Number of documents."""
        return int(self.documents.statistics["documents"])


class Place(NamedTuple):
    """A row group of a source's part."""

    view: SourceView
    part: str
    group: int


def verdict_groups(views: Sequence[SourceView], stage: str, rule: str = "") -> Iterator[Group]:
    """The verdicts of every row group, with column `id`."""
    for view in views:
        for part in view.documents.files("part-"):
            documents = pq.ParquetFile(view.documents.path(part))
            files = {
                role: (file, columns)
                for role, columns in COLUMNS[stage].items()
                if (file := view.file(role, part)) is not None
            }
            for group in range(documents.num_row_groups):
                ids = documents.read_row_group(group, columns=["id"])
                table = ids
                for file, columns in files.values():
                    read = _rows_of_group(file, documents, group, columns)
                    for name in columns:
                        table = _with(table, name, read[name])
                decided = verdicts(stage, table, view.keeps, rule)
                yield Place(view, part, group), decided.append_column("id", ids["id"])


def measured_groups(
    views: Sequence[SourceView], rule: str, measures: Mapping[str, Measure]
) -> Iterator[Group]:
    """The same for stage quality with one rule: its value and distance from the limit are measured
    again, for kept documents too; of many documents only `MOST_MEASURED`, chosen by hash.

    `measures`: source -> measure.
    """
    total = sum(view.documents_total() for view in views)
    share = min(1.0, MOST_MEASURED / max(total, 1))
    for place, table in verdict_groups(views, "quality", rule):
        wanted = hashes_of(table["id"].to_pylist(), 1).astype(np.float64) <= share * 2.0**64
        rows = np.flatnonzero(wanted)
        measure = measures[place.view.name]
        texts = _texts(place, rows.tolist())
        values: list[float | None] = [None] * table.num_rows
        distances: list[float | None] = [None] * table.num_rows
        for row, text, language in zip(
            rows.tolist(), texts, table["language"].take(pa.array(rows)).to_pylist(), strict=True
        ):
            if (measured := measure(text, language)) is not None:
                values[row], distances[row] = measured
        for name, column in (("score", values), ("distance", distances)):
            table = _with(table, name, pa.chunked_array([pa.array(column, pa.float64())]))
        yield place, table


def _texts(place: Place, rows: list[int]) -> list[str]:
    """The records of some rows, as the stage read them; no other columns."""
    view, part, group = place
    documents = pq.ParquetFile(view.documents.path(part))
    numbers = pa.array(rows, pa.int64())
    table = documents.read_row_group(group, columns=["text", "prompt"]).take(numbers)
    if view.edited and (file := view.file(EDITED_BY, part)) is not None:
        column = _rows_of_group(file, documents, group, (edits.COLUMN,))[edits.COLUMN]
        table, _ = through_edits(table.append_column(edits.COLUMN, column.take(numbers)))
    return list(records(table).to_pylist())


def details_of(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Everything about each of the rows, in their order: `SHOWN`, `DETAILS`, `source`, `record`
    (prompt and text as the stage read them), and `edits`: role -> edits of the ingest text.
    `category` is cut's, `stated_category` the record's own.
    """
    rows = list(rows)
    by_place: dict[Place, list[int]] = {}
    for row in rows:
        by_place.setdefault(row.place, []).append(row.row)
    read = {
        (place, number): details
        for place, numbers in by_place.items()
        for number, details in zip(numbers, _details(place, numbers), strict=True)
    }
    return [read[row.place, row.row] for row in rows]


def _details(place: Place, rows: list[int]) -> list[dict[str, Any]]:
    view, part, group = place
    documents = pq.ParquetFile(view.documents.path(part))
    present = [name for name in SHOWN if name in documents.schema_arrow.names]
    numbers = pa.array(rows, pa.int64())
    table = documents.read_row_group(group, columns=present).take(numbers)
    result: list[dict[str, Any]] = table.to_pylist()
    for details in result:
        details["source"] = view.name
        details["stated_category"] = details.pop("category", None)
        details["edits"] = {}
    for role, columns in DETAILS.items():
        if (file := view.file(role, part)) is None:
            continue
        read = _rows_of_group(file, documents, group, columns).take(numbers)
        for details, values in zip(result, read.to_pylist(), strict=True):
            details |= values
    for role in view.roles:
        if role.startswith(SCORES) and (file := view.file(role, part)) is not None:
            read = _rows_of_group(file, documents, group, ("score",)).take(numbers)
            for details, score in zip(result, read["score"].to_pylist(), strict=True):
                details.setdefault("scores", {})[role.removeprefix(SCORES)] = score
    for role in (EDITED_BY, "decontaminate", "pii"):
        if (file := view.file(role, part)) is None:
            continue
        column = _rows_of_group(file, documents, group, (edits.COLUMN,))[edits.COLUMN]
        for details, found in zip(result, edits.rows_of(column.take(numbers)), strict=True):
            details["edits"][role] = found
    for details in result:
        applied = details["edits"].get(EDITED_BY, []) if view.edited else []
        text = edits.apply(details["text"], applied)
        details["record"] = record(details.get("prompt") or "", text)
    return result


def _rows_of_group(
    file: pq.ParquetFile, documents: pq.ParquetFile, group: int, columns: Sequence[str]
) -> pa.Table:
    """The rows of a row-aligned file that belong to a row group of the documents.

    Files written in one table per row group, as all annotators do, have the same groups.
    """
    if file.num_row_groups == documents.num_row_groups:
        return file.read_row_group(group, columns=list(columns))
    start = sum(documents.metadata.row_group(number).num_rows for number in range(group))
    rows = documents.metadata.row_group(group).num_rows
    return file.read(columns=list(columns)).slice(start, rows)


def _with(table: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def text_bytes_groups(views: Sequence[SourceView]) -> Iterator[Group]:
    """Verdicts of stage ingest with the UTF-8 bytes of the text as the score."""
    for place, table in verdict_groups(views, "ingest"):
        file = pq.ParquetFile(place.view.documents.path(place.part))
        text = file.read_row_group(place.group, columns=["text"])["text"]
        yield place, _with(table, "score", pc.binary_length(text).cast(pa.float64()))
