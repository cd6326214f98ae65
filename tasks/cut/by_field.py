"""Categories that records carry themselves: a column of values -> categories, and counts of values
that the recipe does not state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.documents.categories import FieldCategory

VALUES_HELD = 1_000
"""Most values of a part that are counted by name: a field of free text has one for each record."""

_VALUES_SHOWN = 10


def looked_up(names: Mapping[str, str], values: pa.Array) -> pa.Array:
    """N values -> N strings by `names`; null for a value that is not in it."""
    found = pa.array(list(names.values()), pa.string())
    return found.take(pc.index_in(values, value_set=pa.array(list(names), pa.string())))


def by_field(category: FieldCategory, values: pa.Array) -> tuple[pa.Array, pa.Array]:
    """(category of each of N documents, the reason why it has none); `values`: what the records
    have in the field, null where they have nothing.
    """
    nothing = pa.scalar(None, pa.string())
    found = pc.fill_null(looked_up(category.of, values), pa.scalar(category.rest, pa.string()))
    why = pc.if_else(pc.is_null(values), "category.missing", "category.unstated")
    return found, pc.if_else(pc.is_null(found), why, nothing)


@dataclass
class Others:
    """Documents whose record has none of the values that the recipe states.

    `values`: value -> documents, of `VALUES_HELD` values at most; `unstated`: all such documents;
    `missing`: those without a value.
    """

    values: Counter[str] = field(default_factory=Counter)
    unstated: int = 0
    missing: int = 0

    def count(self, values: pa.Array, category: FieldCategory) -> None:
        """Count the values of a field."""
        for entry in pc.value_counts(values).to_pylist():
            value, documents = entry["values"], entry["counts"]
            if value is None:
                self.missing += documents
            elif value not in category.of:
                self.unstated += documents
                if value in self.values or len(self.values) < VALUES_HELD:
                    self.values[value] += documents

    def merge(self, other: Mapping[str, Any]) -> None:
        """Add the counts of another one's `to_json`."""
        self.values.update(other["values"])
        self.unstated += other["unstated"]
        self.missing += other["missing"]

    def to_json(self) -> dict[str, Any]:
        """All counts, for `merge`."""
        values = dict(sorted(self.values.items()))
        return {"values": values, "unstated": self.unstated, "missing": self.missing}

    def most_frequent(self) -> list[tuple[str, int]]:
        """The values with the most documents, these first."""
        return sorted(self.values.items(), key=lambda entry: (-entry[1], entry[0]))[:_VALUES_SHOWN]


def others_of(results: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Others]:
    """Source -> its counts over all parts, of the sources that have any; `results`: (source, what
    `Others.to_json` made of a part).
    """
    found: dict[str, Others] = {}
    for source, counts in results:
        found.setdefault(source, Others()).merge(counts)
    return {source: found[source] for source in sorted(found) if found[source] != Others()}


def statistics_of(others: Mapping[str, Others]) -> dict[str, Any]:
    """The counts as statistics; of the values, the most frequent ones, these first."""
    return {
        source: {
            "unstated": counts.unstated,
            "missing": counts.missing,
            "most_frequent": [list(entry) for entry in counts.most_frequent()],
        }
        for source, counts in others.items()
    }


def notes_on(others: Mapping[str, Others], categories: Mapping[str, FieldCategory]) -> list[str]:
    """A sentence for each source with values that its category does not state."""
    notes = []
    for source, counts in others.items():
        category, parts = categories[source], []
        if counts.unstated:
            shown = ", ".join(f"{value!r} {count:,}" for value, count in counts.most_frequent())
            parts.append(f"{counts.unstated:,} documents have values that `of` does not: {shown}")
        if counts.missing:
            parts.append(f"{counts.missing:,} have no text in {category.field!r}")
        became = (
            f"they are of category {category.rest}"
            if category.rest
            else "they are dropped; add the values to `of`, or name a category for them: `rest`"
        )
        notes.append(f"sources.{source}.category: {'; '.join(parts)}; {became}")
    return notes
