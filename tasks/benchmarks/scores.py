"""How the rows of an evaluation are read, for whoever shows them: light.

A row holds metrics, and `<metric>_stderr` where there is one; `n`, the items or documents scored;
`not_asked`, items left out; `cut`, items asked without the beginning of their prompts; `characters`
of held-out text; `few`, that it is less than the recipe's floor. The first-token protocol has
counts of its own, after its prefix, since another protocol may have scored other items. A metric of
which nothing could be scored is None, and `reason` says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FIRST_TOKEN = "first_token_"

_COUNTS = ("n", "not_asked", "cut")
_NO_METRICS = {"characters", "few", "reason"} | {
    f"{prefix}{name}" for prefix in ("", FIRST_TOKEN) for name in _COUNTS
}


def metrics(row: Mapping[str, Any]) -> list[str]:
    """The metrics of a row, in order."""
    return [name for name in row if name not in _NO_METRICS and not name.endswith("_stderr")]


def items(row: Mapping[str, Any], metric: str) -> str:
    """What a metric was scored on: "1,000", "38, 3 cut, 2 not asked", "4, too few"; "" where it is
    unknown.
    """
    prefix = FIRST_TOKEN if metric.startswith(FIRST_TOKEN) and f"{FIRST_TOKEN}n" in row else ""
    if metric not in row or f"{prefix}n" not in row:
        return ""
    cut, not_asked = row.get(f"{prefix}cut", 0), row.get(f"{prefix}not_asked", 0)
    return ", ".join(
        [
            f"{row[f'{prefix}n']:,}",
            *([f"{cut:,} cut"] if cut else []),
            *([f"{not_asked:,} not asked"] if not_asked else []),
            *(["too few"] if row.get("few") else []),
        ]
    )


def items_of_all(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
    """`items` of several models' rows: once where they agree, else each model's, in order, "-" for
    one without.
    """
    found = [items(row, metric) or "-" for row in rows]
    known = set(found) - {"-"}
    return next(iter(known), "") if len(known) < 2 else " / ".join(found)
