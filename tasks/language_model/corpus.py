"""Normalised documents of one language, out of reference sources."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from infra.stage import StageError
from infra.store import Artifact
from tasks.documents.annotate import Part, parts
from tasks.text.normalise import normalise


def reference_parts(documents: Sequence[Artifact], langid: Sequence[Artifact]) -> list[Part]:
    """Parts of all sources in the order given, with the language column beside those that have one."""
    languages = {artifact.name: artifact for artifact in langid}
    if strangers := sorted(languages.keys() - {artifact.name for artifact in documents}):
        raise StageError(f"language labels of {strangers} but no documents of theirs; give both or neither")
    found: list[Part] = []
    for artifact in documents:
        labels = languages.get(artifact.name)
        found.extend(parts(artifact, ("text",), {"langid": (labels, ("language",))} if labels else {}))
    return found


@dataclass(frozen=True)
class Reference:
    """Where a language's text comes from. Picklable."""

    parts: tuple[Part, ...]
    language: str

    def batches(self) -> Iterator[list[str]]:
        """Normalised documents that are not empty, a row group at a time."""
        for part in self.parts:
            for table in part.tables():
                if "language" in table.column_names:
                    table = table.filter(pc.equal(table["language"], self.language))
                texts = [normalise(text) for text in table["text"].to_pylist()]
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
