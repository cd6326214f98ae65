"""What each held-out document or question of an evaluation came to, from its samples."""

from __future__ import annotations

import json
from pathlib import Path

Items = dict[str, tuple[list[float], list[float]]]
"""Score -> (what each item came to, what the sum is divided by): bits and bytes of a document, 1 or
0 and 1 of a question."""


def items_of(samples: Path, score: str) -> tuple[list[float], list[float]]:
    """The items of `ROW METRIC`: `heldout/CATEGORY bits_per_byte`, `TASK acc` or `TASK/GROUP acc`.

    Raises:
        ValueError: another metric, or no such items.
    """
    row, metric = score.split(" ")
    if metric == "bits_per_byte":
        rows = _read(samples / f"{row.replace('/', '__')}.jsonl")
        found = [(item["bits"], item["bytes"]) for item in rows]
    elif metric == "acc":
        task, _, group = row.partition("/")
        rows = _read(samples / f"{task}.jsonl")
        found = [(float(item["correct"]), 1.0) for item in rows if group in ("", item.get("group"))]
    else:
        raise ValueError(f"{score}: no metric {metric!r}; name bits_per_byte or acc")
    if not found:
        raise ValueError(f"{score}: {samples} has no such items")
    return [float(value) for value, _ in found], [float(size) for _, size in found]


def _read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
