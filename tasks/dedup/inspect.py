"""Reading aid: one cluster of the table, its texts, and what two texts differ in."""

from __future__ import annotations

import difflib
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
"""Pieces of each text that are compared; what lies beyond is counted, not compared."""

_FEW_PIECES = 2_000
_RANK = re.compile(r"#?([0-9]{1,6})")
_PIECE = re.compile(rf"[{UNSPACED_CLASS}]|[^\s{UNSPACED_CLASS}]+|\s+")
_CONTEXT_CHARACTERS = 60

Mark = Literal["same", "removed", "added"]


class Piece(NamedTuple):
    """A run of text that both have (`same`), only the kept (`removed`) or only the one that went
    (`added`) has.
    """

    mark: Mark
    text: str


def find_cluster(clusters: Path, wanted: str) -> dict[str, Any]:
    """The row of clusters.parquet that `wanted` names: a rank (1 or #1 is the largest), or the
    beginning of an id.

    The id may be the representative's or a listed member's. Reads a row group at a time.
    `StageError` where there is no such cluster, or several.
    """
    reader = pq.ParquetFile(clusters)
    if not reader.metadata.num_rows:
        raise StageError("there are no clusters: every document was kept for itself alone")
    if rank := _RANK.fullmatch(wanted):
        number = int(rank[1])
        if found := list(_rows(reader, [number - 1])):
            return found[0]
        if wanted.startswith("#"):
            raise StageError(
                f"there is no cluster {wanted}: {clusters} has {reader.metadata.num_rows:,}"
            )
    exact, begins = _matches(reader, wanted)
    rows = exact or begins
    if len(rows) > 1:
        ids = ", ".join(row["representative"] for row in _rows(reader, rows[:5]))
        raise StageError(
            f"{wanted!r} begins the ids of {len(rows):,} clusters ({ids} ...): give more of the id"
        )
    if not rows:
        raise StageError(
            f"no cluster has a document {wanted!r}: it was kept for itself alone, was not "
            f"eligible, or is not among the members listed; {clusters} has "
            f"{reader.metadata.num_rows:,} clusters, #1 is the largest"
        )
    return next(_rows(reader, rows))


def _matches(reader: pq.ParquetFile, wanted: str) -> tuple[list[int], list[int]]:
    """Numbers of the rows of which an id is `wanted`, and of those of which one begins so."""
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
            for mask, found in (
                (pc.equal(ids, wanted), exact),
                (pc.starts_with(ids, wanted), begins),
            ):
                at = pc.indices_nonzero(mask)
                found.update(
                    start + row for row in (at if rows is None else rows.take(at)).to_pylist()
                )
        start += table.num_rows
    return sorted(exact), sorted(begins)


def _rows(reader: pq.ParquetFile, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Rows by number, ascending; numbers that there are not are left out."""
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
    """Id -> record (prompt and text) of the documents that are there; reads the text of those row
    groups only.

    Each artifact comes with the line_dedup artifact whose edits signatures were computed through,
    if any: the text is what was compared, not the lines that stand all over a source.
    """
    wanted = pa.array(sorted(set(ids)), pa.string())
    found: dict[str, str] = {}
    for artifact, edited_by in documents:
        for name in artifact.files("part-"):
            reader = pq.ParquetFile(artifact.path(name))
            for group in range(reader.num_row_groups):
                if len(found) == len(wanted):
                    return found
                here = reader.read_row_group(group, columns=["id"])["id"]
                at = pc.indices_nonzero(pc.is_in(here, value_set=wanted))
                if len(at):
                    table = reader.read_row_group(group, columns=["text", PROMPT]).take(at)
                    if edited_by is not None:
                        beside = pq.ParquetFile(edited_by.path(name)).read_row_group(
                            group, columns=[edits.COLUMN]
                        )
                        table = through_edits(
                            table.append_column(edits.COLUMN, beside[edits.COLUMN].take(at))
                        )[0]
                    found |= dict(
                        zip(here.take(at).to_pylist(), records(table).to_pylist(), strict=True)
                    )
    return found


def diff_pieces(kept: str, removed: str, most: int = MOST_PIECES) -> list[Piece]:
    """What two texts differ in, by words and blanks, or by characters where a script has no blanks.

    The pieces marked `same` and `removed` make up the kept text, `same` and `added` the one that
    went, up to the first `most` pieces of each.
    """
    one, two = (
        [match[0] for _, match in zip(range(most), _PIECE.finditer(text), strict=False)]
        for text in (kept, removed)
    )
    pieces: list[Piece] = []
    # Beyond some thousand pieces frequent ones (blanks) find no matches of their own: their pairs
    # would be too many.
    matcher = difflib.SequenceMatcher(
        None, one, two, autojunk=max(len(one), len(two)) > _FEW_PIECES
    )
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            pieces.append(Piece("same", "".join(one[a:b])))
            continue
        if b > a:
            pieces.append(Piece("removed", "".join(one[a:b])))
        if d > c:
            pieces.append(Piece("added", "".join(two[c:d])))
    return pieces


def diff_lines(kept: str, removed: str, most: int = MOST_PIECES) -> list[str]:
    """`diff_pieces` for a terminal: [-only in the kept text-] and {+only in the other+}, long equal
    runs shortened.
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
    """An equal run: its ends, next to what differs."""
    if len(text) <= 3 * _CONTEXT_CHARACTERS:
        return text
    head = "" if first else text[:_CONTEXT_CHARACTERS]
    tail = "" if last else text[-_CONTEXT_CHARACTERS:]
    return f"{head} ... ({len(text) - len(head) - len(tail):,} equal characters) ... {tail}"
