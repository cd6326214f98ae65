"""Reference text for a language model: whole normalised records, as perplexity scores them."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from infra.stage import StageError
from infra.store import Artifact
from tasks.documents.annotate import AlignedPart, parts, through_edits
from tasks.documents.edits import COLUMN
from tasks.documents.records import PROMPT, records
from tasks.documents.selected import held_out_hash, held_out_limit
from tasks.text.normalise import CC_NET, Steps, normalise


def reference_parts(
    documents: Sequence[Artifact],
    langid: Sequence[Artifact],
    line_dedup: Sequence[Artifact] = (),
    held_out: Collection[str] = (),
) -> list[AlignedPart]:
    """The parts of all sources, in the order of `documents`.

    Parts have the columns `language` and `edits` if `langid` and `line_dedup` contain the source.
    A source with `held_out` text also gets the column `id`, by which documents are held out.
    """
    annotators = {"language": langid, COLUMN: line_dedup}
    unused = {
        column: {artifact.name: artifact for artifact in artifacts}
        for column, artifacts in annotators.items()
    }
    reference: list[AlignedPart] = []
    for artifact in documents:
        annotations = {
            column: by_source.pop(artifact.name)
            for column, by_source in unused.items()
            if artifact.name in by_source
        }
        columns = ("text", PROMPT, "id") if artifact.name in held_out else ("text", PROMPT)
        reference.extend(
            parts(
                artifact,
                columns,
                {column: (annotation, (column,)) for column, annotation in annotations.items()},
            )
        )
    for column, by_source in unused.items():
        if by_source:
            raise StageError(
                f"column {column!r} is given for sources {sorted(by_source)}, but their documents "
                "are not; give both or neither"
            )
    return reference


@dataclass(frozen=True)
class Reference:
    """The reference text of one language. Picklable.

    `held_out`: source -> share of its documents that select may hold out for evaluation. They are
    chosen by the hash of their id, and not read here.
    """

    parts: tuple[AlignedPart, ...]
    language: str
    held_out: Mapping[str, float] = field(default_factory=dict)
    steps: Steps = CC_NET

    def batches(self) -> Iterator[list[str]]:
        """The normalised documents that are not empty, a row group at a time."""
        for part in self.parts:
            for plain in part.tables():
                table, _ = through_edits(plain)
                if "language" in table.column_names:
                    table = table.filter(pc.equal(table["language"], self.language))
                if part.source in self.held_out:
                    limit = held_out_limit(self.held_out[part.source])
                    read = [held_out_hash(id_) >= limit for id_ in table["id"].to_pylist()]
                    # The type is stated because no row of this language may be left here.
                    table = table.filter(pa.array(read, pa.bool_()))
                texts = [normalise(text, self.steps) for text in records(table, " ").to_pylist()]
                yield [text for text in texts if text]

    def documents(self, limit: int) -> Iterator[str]:
        """The first `limit` normalised documents, one by one."""
        return itertools.islice(itertools.chain.from_iterable(self.batches()), limit)

    def first_batches(self, limit: int) -> Iterator[list[str]]:
        """The first `limit` normalised documents, in batches."""
        for batch in self.batches():
            yield batch[:limit]
            limit -= len(batch)
            if limit <= 0:
                return


def up_to_characters(documents: Iterator[str], limit: int) -> Iterator[str]:
    """Documents up to `limit` characters in all; the last one is cut there."""
    for document in documents:
        yield document[:limit]
        limit -= len(document)
        if limit <= 0:
            return
