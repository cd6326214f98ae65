"""Read the text that `select` wrote: training text evenly sampled, and a sample per category to measure on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.documents.selected import HELD_OUT_FOLDER

HELDOUT = f"{HELD_OUT_FOLDER}/"


@dataclass(frozen=True)
class TextFile:
    """One JSONL file of a select artifact."""

    path: str
    category: str
    heldout: bool

    @classmethod
    def of(cls, name: str, path: Path) -> TextFile | None:
        """From its name in the artifact (`<category>/part-*.jsonl`, `heldout/<category>/part-*.jsonl`); else None."""
        heldout = name.startswith(HELDOUT)
        category, _, rest = name.removeprefix(HELDOUT).partition("/")
        return cls(str(path), category, heldout) if rest.endswith(".jsonl") else None


@dataclass(frozen=True)
class Document:
    """The text to learn from or to measure on, and what it is counted under."""

    text: str
    category: str
    language: str


def documents(files: Sequence[TextFile]) -> Iterator[Document]:
    """All documents in file order."""
    for file in files:
        with open(file.path, encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                yield Document(row["target"], file.category, row.get("language") or "und")


def training_files(files: Sequence[TextFile], categories: Sequence[str]) -> list[TextFile]:
    """Files to learn from: never held-out ones, and of `categories` where any are named."""
    return [file for file in files if not file.heldout and (not categories or file.category in categories)]


def training_texts(chosen: Sequence[TextFile], limit_bytes: int) -> Iterator[str]:
    """Texts of files; of more than `limit_bytes`, an even share of the documents."""
    total = max(1, sum(Path(file.path).stat().st_size for file in chosen))
    for index, document in enumerate(documents(chosen)):
        if limit_bytes >= total or (index + 1) * limit_bytes // total > index * limit_bytes // total:
            yield document.text


def measured_texts(files: Sequence[TextFile], limit_characters: int) -> dict[str, list[Document]]:
    """Category -> its first documents, held-out ones where there are any, up to `limit_characters` of text."""
    chosen: dict[str, list[Document]] = {}
    for category in sorted({file.category for file in files}):
        heldout = [file for file in files if file.category == category and file.heldout]
        own = heldout or [file for file in files if file.category == category]
        taken, characters = [], 0
        for document in documents(own):
            if characters >= limit_characters:
                break
            taken.append(document)
            characters += len(document.text)
        chosen[category] = taken
    return chosen
