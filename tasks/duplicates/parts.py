"""The inputs of an election: the parts of earlier crawls' indexes and of this run's sources.

Every row of every part has a number, the rows of earlier crawls first. A number says where a
document is stored, and nothing about its rank.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.remote.held import place_of
from infra.stage import StageError
from infra.store import Artifact
from tasks.documents.footers import metadata, rows_of
from tasks.documents.selected import INDEX_FOLDER
from tasks.duplicates.agreement import agree, check_index
from tasks.duplicates.preferences import PREFERENCES

INDEX_PREFIX = f"{INDEX_FOLDER}/part-"
MOST_DOCUMENTS = 2**32 - 2


@dataclass(frozen=True)
class Preference:
    """One entry of `prefer`: the column of a file row-aligned with a part."""

    file: Path | None  # None: the source lacks this annotation
    column: str
    descending: bool


@dataclass(frozen=True)
class SignedPart:
    """One part and the files row-aligned with it; `start` is the number of its first row.

    `crawl` is "" for this run's documents, and the artifact's name for those of an earlier crawl;
    `order` ranks crawls, the earliest first.
    """

    number: int
    start: int
    rows: int
    source: str
    name: str
    crawl: str
    order: int
    documents: Path  # has the column id; text only in this run's parts
    signatures: Path
    cut: Path | None
    edits: Path | None  # of line_dedup, which applied when the signatures were computed
    prefer: tuple[Preference, ...]
    dropped: Path | None = None  # fates of an election before, whose removed rows take no part

    @property
    def label(self) -> str:
        """The part's name in errors."""
        return f"{self.crawl or self.source}/{self.name}"


def find_parts(
    inputs: Mapping[str, Sequence[Artifact]],
    prefer: Sequence[str] = (),
    crawls: Sequence[Sequence[str]] = (),
    signing: Mapping[str, Any] | None = None,
) -> tuple[SignedPart, ...]:
    """All parts: earlier crawls in order, then this run's by source and name.

    With an input `dedup`, the documents that it removed are not eligible. `signing`: parameters
    that signatures must have been made with; others must agree. `StageError` where inputs do not
    belong together, or there are too many documents.
    """
    history = inputs.get("history", ())
    _check_signing(inputs["signatures"], history, dict(signing or {}))
    by_role = {
        role: {artifact.name: artifact for artifact in artifacts}
        for role, artifacts in inputs.items()
    }
    documents, signatures = by_role["documents"], by_role["signatures"]
    if documents.keys() != signatures.keys():
        raise StageError(
            f"there are documents of {sorted(documents)} but signatures of {sorted(signatures)}: "
            "dedup needs both for every source"
        )
    order_of = _crawls(crawls, sorted(documents))
    unnumbered = list(_history_parts(history, prefer))
    for source in sorted(documents):
        order = len(history) + order_of[source]
        unnumbered += _source_parts(source, by_role, order, prefer)
    parts: list[SignedPart] = []
    start = 0
    for number, part in enumerate(unnumbered):
        parts.append(dataclasses.replace(part, number=number, start=start))
        start += part.rows
    if start > MOST_DOCUMENTS:
        raise StageError(
            f"there are {start:,} documents, more than the {MOST_DOCUMENTS:,} that one run of "
            "dedup can number: split the sources into several recipes, and name the earlier ones "
            "in dedup.history"
        )
    return tuple(parts)


def _history_parts(history: Sequence[Artifact], prefer: Sequence[str]) -> Iterator[SignedPart]:
    """The parts of earlier crawls' indexes, in order, not numbered yet."""
    for order, artifact in enumerate(history):
        files = artifact.files(INDEX_PREFIX)
        paths = [artifact.path(name) for name in files]
        for name, path, rows in zip(files, paths, rows_of(paths), strict=True):
            yield SignedPart(
                number=0,
                start=0,
                rows=rows,
                source=artifact.name,
                name=Path(name).name,
                crawl=artifact.identity,
                order=order,
                documents=path,
                signatures=path,
                cut=None,
                edits=None,
                prefer=tuple(Preference(None, entry, descending=False) for entry in prefer),
            )


def _source_parts(
    source: str,
    by_role: Mapping[str, Mapping[str, Artifact]],
    order: int,
    prefer: Sequence[str],
) -> Iterator[SignedPart]:
    """The parts of one of this run's sources, by name, not numbered yet.

    `StageError` where a file does not have the rows of the documents.
    """
    (cut,) = by_role["cut"].values()
    before = next(iter(by_role.get("dedup", {}).values()), None)
    documents = by_role["documents"][source]
    edited_by = by_role.get("line_dedup", {}).get(source)
    parts = [
        SignedPart(
            number=0,
            start=0,
            rows=0,
            source=source,
            name=name,
            crawl="",
            order=order,
            documents=documents.path(name),
            signatures=by_role["signatures"][source].path(name),
            cut=cut.path(f"{source}/{name}"),
            edits=edited_by.path(name) if edited_by is not None else None,
            prefer=tuple(_preference(entry, by_role, source, name) for entry in prefer),
            dropped=before.path(f"{source}/{name}") if before is not None else None,
        )
        for name in documents.files("part-")
    ]
    files = [_aligned_files(part) for part in parts]
    known = list({path for listed in files for path in listed})
    rows = dict(zip(known, rows_of(known), strict=True))
    for part, (first, *aligned) in zip(parts, files, strict=True):
        for file in aligned:
            if rows[file] != rows[first]:
                raise StageError(
                    f"{source}/{part.name} has {rows[first]} documents but {place_of(file)} has "
                    f"{rows[file]} rows: rebuild that artifact"
                )
        yield dataclasses.replace(part, rows=rows[first])


def _aligned_files(part: SignedPart) -> list[Path]:
    """The documents' file and those row-aligned with it."""
    preferred = (entry.file for entry in part.prefer)
    listed = (part.signatures, part.cut, part.edits, part.dropped, *preferred)
    return [part.documents, *filter(None, listed)]


def _check_signing(
    signatures: Sequence[Artifact], history: Sequence[Artifact], wanted: dict[str, Any]
) -> None:
    """Check that all signatures were made with the same parameters, which are those of dedup."""
    for artifact in signatures:
        made_with = {**artifact.manifest.parameters, "version": artifact.manifest.stage_version}
        advice = "rebuild the signatures of all sources from the recipe's section dedup"
        agree(artifact.identity, made_with, wanted, advice)
    for artifact in history:
        check_index(artifact, wanted)


def _crawls(crawls: Sequence[Sequence[str]], sources: Sequence[str]) -> dict[str, int]:
    """Source -> its crawl's rank in this run; sources that are not named come last, together."""
    named = {source: number for number, crawl in enumerate(crawls) for source in crawl}
    if unknown := sorted(set(named) - set(sources)):
        raise StageError(
            f"dedup.crawls names {', '.join(unknown)}, which dedup does not read; its sources are "
            f"{', '.join(sources)}"
        )
    return {source: named.get(source, len(crawls)) for source in sources}


def _preference(
    entry: str, by_role: Mapping[str, Mapping[str, Artifact]], source: str, name: str
) -> Preference:
    column = entry.removeprefix("-")
    artifact = by_role.get(PREFERENCES[column], {}).get(source)
    path = artifact.path(name) if artifact is not None else None
    if path is not None and column not in (names := metadata(path).schema.to_arrow_schema().names):
        raise StageError(
            f"dedup.prefer: {place_of(path)} has no column {column!r}; it has {', '.join(names)}"
        )
    return Preference(path, column, descending=not entry.startswith("-"))
