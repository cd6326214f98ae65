"""What is left of each source after every check, from the rows of cut's ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

CHECKS = (
    *("block", "line_dedup", "langid", "quality", "perplexity", "decontaminate", "category"),
    "classifier",
)


def funnel(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Summaries of ledger rows.

    Documents left after every check, by source; documents by language; dropped documents by reason.
    """
    left: dict[str, Counter[str]] = {}
    reasons: Counter[str] = Counter()
    for row in rows:
        steps = left.setdefault(row["source"], Counter())
        remaining = row["totals"]["documents"]["read"]
        steps["read"] += remaining
        for check in CHECKS:
            dropped = [
                entry for entry in row["reasons"] if entry["reason"].partition(".")[0] == check
            ]
            remaining -= sum(entry["documents"] for entry in dropped)
            steps[check] += remaining
            for entry in dropped:
                reasons[entry["reason"]] += entry["documents"]
    return {
        "funnel": [
            {"source": source, **{step: steps[step] for step in ("read", *CHECKS)}}
            for source, steps in left.items()
        ],
        "languages": [
            {
                "source": row["source"],
                "language": row["language"],
                "read": row["totals"]["documents"]["read"],
                "kept": row["totals"]["documents"].get("kept", 0),
            }
            for row in rows
        ],
        "dropped": dict(sorted(reasons.items())),
    }
