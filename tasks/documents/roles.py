"""Input roles that many stages declare: documents, and edits to apply to their text."""

from __future__ import annotations

from infra.stage import Role

EDITS_TYPE = "list<element: struct<start: int64, end: int64, replacement: string, reason: string>>"
"""Arrow type of columns of edits (`tasks.documents.edits`)."""

DOCUMENTS = Role("documents", ("ingest",))
EDITS = Role("line_dedup", ("line_dedup",), optional=True)
"""Edits to apply before text is read; without them, it is read as ingest wrote it."""

ALL_DOCUMENTS = Role("documents", ("ingest",), many=True)
ALL_EDITS = Role("line_dedup", ("line_dedup",), many=True, optional=True)


def columns_of(stage: str, *, many: bool = False, optional: bool = True) -> Role:
    """The role of an annotator's columns, which is named like the annotator."""
    return Role(stage, (stage,), many=many, optional=optional)
