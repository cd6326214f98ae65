"""Read the text that `select` wrote: an even sample to learn from, one per category to measure.

Text is what binning will tokenize: `source` and `target` as one string.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.documents.selected import HELD_OUT_FOLDER, training_text

HELDOUT = f"{HELD_OUT_FOLDER}/"


@dataclass(frozen=True)
class TextFile:
    """One JSONL file of the select artifact of `source`."""

    path: Path
    source: str
    category: str
    heldout: bool

    @classmethod
    def of(cls, name: str, path: Path, source: str) -> TextFile | None:
        """From a name in the artifact; None unless it is `[heldout/]<category>/part-*.jsonl`."""
        heldout = name.startswith(HELDOUT)
        category, _, rest = name.removeprefix(HELDOUT).partition("/")
        return cls(path, source, category, heldout) if rest.endswith(".jsonl") else None


@dataclass(frozen=True)
class SampleText:
    """A text to learn from or measure on, and the groups it is counted in."""

    text: str
    category: str
    language: str


def documents(files: Sequence[TextFile]) -> Iterator[SampleText]:
    """All documents in file order."""
    for file in files:
        with open(file.path, encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                yield SampleText(training_text(row), file.category, row.get("language") or "und")


def training_files(
    files: Sequence[TextFile], categories: Sequence[str], weights: Mapping[str, Mapping[str, int]]
) -> dict[int, list[TextFile]]:
    """Weight -> files to learn from, never held-out ones.

    `weights`: source -> category -> weight. Without weights, files of `categories` (none: all)
    have weight 1.
    """
    by_weight: dict[int, list[TextFile]] = {}
    for file in files:
        unweighted = int(not categories or file.category in categories)
        weight = weights.get(file.source, {}).get(file.category, 0) if weights else unweighted
        if weight and not file.heldout:
            by_weight.setdefault(weight, []).append(file)
    return by_weight


def training_texts(
    chosen: Mapping[int, Sequence[TextFile]], limit_bytes: int
) -> dict[int, Iterator[str]]:
    """Weight -> texts of its files, evenly thinned to about `limit_bytes` in all."""
    total = max(1, sum(file.path.stat().st_size for files in chosen.values() for file in files))
    share = min(limit_bytes, total), total
    return {weight: _evenly(files, *share) for weight, files in chosen.items()}


def _evenly(files: Sequence[TextFile], wanted: int, total: int) -> Iterator[str]:
    """Texts of `wanted` out of every `total` documents, evenly spread."""
    for index, document in enumerate(documents(files)):
        if (index + 1) * wanted // total > index * wanted // total:
            yield document.text


def measured_texts(files: Sequence[TextFile], limit_characters: int) -> dict[str, list[SampleText]]:
    """Category -> its first documents (held-out ones if any), up to `limit_characters` of text."""
    chosen: dict[str, list[SampleText]] = {}
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
