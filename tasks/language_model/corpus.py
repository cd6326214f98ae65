"""Normalised documents of one language, out of reference sources: whole records, as perplexity
scores them.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from infra.stage import StageError
from infra.store import Artifact
from tasks.documents.annotate import Part, parts, through_edits
from tasks.documents.edits import COLUMN
from tasks.documents.records import PROMPT, records
from tasks.documents.selected import held_out_hash, held_out_limit
from tasks.text.normalise import normalise


def reference_parts(
    documents: Sequence[Artifact],
    langid: Sequence[Artifact],
    line_dedup: Sequence[Artifact] = (),
    held_out: Collection[str] = (),
) -> list[Part]:
    """Parts of all sources in the order given, with the columns `language` and `edits` of those
    that have them.

    Sources of which some text is `held_out` come with the column `id`, which tells what.
    """
    beside = {"language": langid, COLUMN: line_dedup}
    by_source = {
        column: {artifact.name: artifact for artifact in found} for column, found in beside.items()
    }
    found: list[Part] = []
    for artifact in documents:
        given = {
            column: named.pop(artifact.name)
            for column, named in by_source.items()
            if artifact.name in named
        }
        columns = ("text", PROMPT, "id") if artifact.name in held_out else ("text", PROMPT)
        found.extend(
            parts(
                artifact, columns, {column: (other, (column,)) for column, other in given.items()}
            )
        )
    for column, strangers in by_source.items():
        if strangers:
            raise StageError(
                f"column {column!r} of {sorted(strangers)} but no documents of theirs; give both "
                "or neither"
            )
    return found


@dataclass(frozen=True)
class Reference:
    """Where a language's text comes from. Picklable.

    `held_out`: source -> share of its documents, by hash of id, that select may hold out for
    evaluation: not read.
    """

    parts: tuple[Part, ...]
    language: str
    held_out: Mapping[str, float] = field(default_factory=dict)

    def batches(self) -> Iterator[list[str]]:
        """Normalised documents that are not empty, a row group at a time."""
        for part in self.parts:
            for plain in part.tables():
                table, _ = through_edits(plain)
                if "language" in table.column_names:
                    table = table.filter(pc.equal(table["language"], self.language))
                if part.source in self.held_out:
                    limit = held_out_limit(self.held_out[part.source])
                    read = [held_out_hash(id_) >= limit for id_ in table["id"].to_pylist()]
                    table = table.filter(
                        pa.array(read, pa.bool_())
                    )  # a row group may have nothing of the language
                texts = [normalise(text) for text in records(table, " ").to_pylist()]
                yield [text for text in texts if text]

    def documents(self, limit: int) -> Iterator[str]:
        """The first `limit` of them, one by one."""
        return itertools.islice(itertools.chain.from_iterable(self.batches()), limit)

    def first_batches(self, limit: int) -> Iterator[list[str]]:
        """The first `limit` of them, in batches."""
        for batch in self.batches():
            yield batch[:limit]
            limit -= len(batch)
            if limit <= 0:
                return


def up_to_characters(documents: Iterator[str], limit: int) -> Iterator[str]:
    """Documents until `limit` characters are reached; the one that passes it is cut."""
    for document in documents:
        yield document[:limit]
        limit -= len(document)
        if limit <= 0:
            return
