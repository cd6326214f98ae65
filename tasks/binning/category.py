"""The documents that a category has, and what to say where it has none.

A run asks as soon as they are selected (`Role.check`), and not after a tokenizer was built for
them. Imports nothing heavy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.stage import StageError
from infra.store import Artifact
from tasks.documents.bins import category_of


def files_of(selected: Sequence[Artifact], category: str) -> Iterator[tuple[Path, int, str]]:
    """(path, bytes, source) of the category's JSONL files, in plan order."""
    for artifact in selected:
        for output in sorted(artifact.manifest.outputs, key=lambda output: output.path):
            if output.path.startswith(f"{category}/"):
                yield artifact.path(output.path), output.bytes, artifact.name


def refuse_nothing(name: str, selected: Sequence[Artifact]) -> None:
    """Raise `StageError` if these artifacts of select hold no document of a node's category."""
    category = category_of(name)
    outputs = (output for artifact in selected for output in artifact.manifest.outputs)
    if not any(one.bytes for one in outputs if one.path.startswith(f"{category}/")):
        raise StageError(nothing_left(category, selected))


def nothing_left(category: str, selected: Sequence[Artifact]) -> str:
    """Why a category has no documents: what the sources that feed it dropped."""
    sources = []
    for artifact in selected:
        went = Counter[str]()
        for entry in artifact.ledger.entries("dropped"):
            went[entry.reason] += entry.documents
        shown = ", ".join(f"{reason} {count:,}" for reason, count in went.most_common(5) if count)
        sources.append(f"source {artifact.name} dropped {shown or 'nothing, it has no document'}")
    return (
        f"category {category!r} has no documents to train on: "
        f"{'; '.join(sources) or 'no source feeds it'}. Widen the `keep` that dropped them, add "
        "text, or remove the category from every mixture"
    )
