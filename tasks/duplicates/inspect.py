"""For `puna inspect`: find a cluster, read its texts, and show where two texts differ."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.stage import StageError
from infra.store import Artifact
from tasks.documents import edits
from tasks.documents.annotate import through_edits
from tasks.documents.records import PROMPT, records
from tasks.text.scripts import UNSPACED_CLASS

MOST_PIECES = 20_000
"""Pieces (words, blanks) of each text that are compared; the rest is counted, not compared."""

_FEW_PIECES = 2_000
_RANK = re.compile(r"#?([0-9]{1,6})")
_PIECE = re.compile(rf"[{UNSPACED_CLASS}]|[^\s{UNSPACED_CLASS}]+|\s+")
_CONTEXT_CHARACTERS = 60

Mark = Literal["same", "removed", "added"]


class DiffRun(NamedTuple):
    """A run of text in both texts (`same`), only in the kept one (`removed`) or only in the other
    (`added`).
    """

    mark: Mark
    text: str


def find_cluster(clusters: Path, wanted: str) -> dict[str, Any]:
    """The row of clusters.parquet that `wanted` names: a rank (1 or #1: the largest) or an id.

    The beginning of the id of the representative or of a listed member is enough. Reads one row
    group at a time. `StageError` where there is no such cluster, or several.
    """
    reader = pq.ParquetFile(clusters)
    if not reader.metadata.num_rows:
        raise StageError("there are no clusters: no document was removed as a duplicate")
    if rank := _RANK.fullmatch(wanted):
        number = int(rank[1])
        if rows_of_rank := list(_rows(reader, [number - 1])):
            return rows_of_rank[0]
        if wanted.startswith("#"):
            raise StageError(
                f"there is no cluster {wanted}: {clusters} has {reader.metadata.num_rows:,} "
                "clusters, from #1, the largest"
            )
    exact, begins = _matches(reader, wanted)
    rows = exact or begins
    if len(rows) > 1:
        ids = ", ".join(row["representative"] for row in _rows(reader, rows[:5]))
        raise StageError(
            f"documents of {len(rows):,} clusters ({ids} ...) have ids that begin with {wanted!r}: "
            "give more of the id"
        )
    if not rows:
        raise StageError(
            f"no cluster lists a document {wanted!r}: it has no duplicate, was not eligible, or is "
            f"not among the members listed; {clusters} has {reader.metadata.num_rows:,} clusters, "
            "#1 is the largest"
        )
    return next(_rows(reader, rows))


def _matches(reader: pq.ParquetFile, wanted: str) -> tuple[list[int], list[int]]:
    """Numbers of the rows with the id `wanted`, and of those with an id that begins with it."""
    exact: set[int] = set()
    begins: set[int] = set()
    start = 0
    for group in range(reader.num_row_groups):
        table = reader.read_row_group(group, columns=["representative", "members.list.element.id"])
        members = table["members"].combine_chunks()
        member_ids = pc.struct_field(members.flatten(), "id")
        for ids, rows in (
            (table["representative"].combine_chunks(), None),
            (member_ids, pc.list_parent_indices(members)),
        ):
            for mask, numbers in (
                (pc.equal(ids, wanted), exact),
                (pc.starts_with(ids, wanted), begins),
            ):
                indices = pc.indices_nonzero(mask)
                inside = indices if rows is None else rows.take(indices)
                numbers.update(start + row for row in inside.to_pylist())
        start += table.num_rows
    return sorted(exact), sorted(begins)


def _rows(reader: pq.ParquetFile, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Rows by number, ascending; numbers beyond the table are skipped."""
    start = 0
    for group in range(reader.num_row_groups):
        end = start + reader.metadata.row_group(group).num_rows
        inside = [number - start for number in numbers if start <= number < end]
        if inside:
            yield from reader.read_row_group(group).take(pa.array(inside)).to_pylist()
        start = end


def read_documents(
    documents: Iterable[tuple[Artifact, Artifact | None]], ids: Iterable[str]
) -> dict[str, str]:
    """Id -> record (prompt and text) of those documents that the artifacts hold.

    Each artifact comes with the line_dedup artifact whose edits applied when its signatures were
    computed, if any: the text is what was compared, without lines repeated all over the source.
    Text is read only from row groups that hold a wanted document.
    """
    wanted = pa.array(sorted(set(ids)), pa.string())
    records_by_id: dict[str, str] = {}
    for artifact, edited_by in documents:
        for name in artifact.files("part-"):
            reader = pq.ParquetFile(artifact.path(name))
            for group in range(reader.num_row_groups):
                if len(records_by_id) == len(wanted):
                    return records_by_id
                group_ids = reader.read_row_group(group, columns=["id"])["id"]
                rows = pc.indices_nonzero(pc.is_in(group_ids, value_set=wanted))
                if len(rows):
                    table = reader.read_row_group(group, columns=["text", PROMPT]).take(rows)
                    if edited_by is not None:
                        edit_column = pq.ParquetFile(edited_by.path(name)).read_row_group(
                            group, columns=[edits.COLUMN]
                        )[edits.COLUMN]
                        table = table.append_column(edits.COLUMN, edit_column.take(rows))
                        table, _ = through_edits(table)
                    names = group_ids.take(rows).to_pylist()
                    records_by_id |= dict(zip(names, records(table).to_pylist(), strict=True))
    return records_by_id


def diff_pieces(kept: str, removed: str, most: int = MOST_PIECES) -> list[DiffRun]:
    """Where two texts differ, by words and blanks, or by characters in unspaced scripts.

    The runs marked `same` and `removed` make up the kept text, `same` and `added` the removed
    document's, up to the first `most` pieces of each.
    """
    kept_pieces, removed_pieces = (
        [match[0] for match in itertools.islice(_PIECE.finditer(text), most)]
        for text in (kept, removed)
    )
    runs: list[DiffRun] = []
    # In long texts difflib must not match frequent pieces (blanks) on their own, because they have
    # too many pairs. That is its `autojunk`.
    autojunk = max(len(kept_pieces), len(removed_pieces)) > _FEW_PIECES
    matcher = difflib.SequenceMatcher(None, kept_pieces, removed_pieces, autojunk=autojunk)
    for kind, kept_start, kept_end, start, end in matcher.get_opcodes():
        if kind == "equal":
            runs.append(DiffRun("same", "".join(kept_pieces[kept_start:kept_end])))
            continue
        if kept_end > kept_start:
            runs.append(DiffRun("removed", "".join(kept_pieces[kept_start:kept_end])))
        if end > start:
            runs.append(DiffRun("added", "".join(removed_pieces[start:end])))
    return runs


def diff_lines(kept: str, removed: str, most: int = MOST_PIECES) -> list[str]:
    """`diff_pieces` for a terminal: [-only in the kept text-] and {+only in the other one+}.

    Long equal runs are shortened.
    """
    pieces = diff_pieces(kept, removed, most)
    shown = []
    for number, (mark, text) in enumerate(pieces):
        if mark == "removed":
            shown.append(f"[-{text}-]")
        elif mark == "added":
            shown.append(f"{{+{text}+}}")
        else:
            shown.append(_shortened(text, first=number == 0, last=number == len(pieces) - 1))
    lines = "".join(shown).splitlines()
    for name, text in (("kept", kept), ("removed", removed)):
        read = sum(
            len(piece.text)
            for piece in pieces
            if piece.mark in ("same", "removed" if name == "kept" else "added")
        )
        if read < len(text):
            lines.append(
                f"(the last {len(text) - read:,} characters of the {name} text were not compared)"
            )
    return lines


def _shortened(text: str, first: bool, last: bool) -> str:
    """An equal run without its middle: only the ends, next to what differs, help a reader."""
    if len(text) <= 3 * _CONTEXT_CHARACTERS:
        return text
    head = "" if first else text[:_CONTEXT_CHARACTERS]
    tail = "" if last else text[-_CONTEXT_CHARACTERS:]
    return f"{head} ... ({len(text) - len(head) - len(tail):,} equal characters) ... {tail}"
