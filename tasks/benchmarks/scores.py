"""How to read the rows of an evaluation, for tables and the report. Imports nothing heavy.

Fields of a row:
- metrics, with `<metric>_stderr` if it could be estimated; None if nothing could be scored, and
  then `reason` says why;
- `n`: items or documents scored; `not_asked`: items skipped; `cut`: items whose prompts lost their
  beginning;
- `characters` of held-out text; `few`: true if that is below the recipe's floor.

The first-token protocol has its own counts under its prefix, because another protocol may have
scored other items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FIRST_TOKEN = "first_token_"

_LOWER_IS_BETTER = ("bits_per", "tokens_per", "padding_share", "brier_score")

_COUNTS = ("n", "not_asked", "cut")
_NO_METRICS = {"characters", "few", "reason"} | {
    f"{prefix}{name}" for prefix in ("", FIRST_TOKEN) for name in _COUNTS
}


def metrics(row: Mapping[str, Any]) -> list[str]:
    """The metrics of a row, in order."""
    return [name for name in row if name not in _NO_METRICS and not name.endswith("_stderr")]


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value of a metric is the better one."""
    return metric.startswith(_LOWER_IS_BETTER) or "perplexity" in metric


def items(row: Mapping[str, Any], metric: str) -> str:
    """What a metric was scored on: "1,000", "38, 3 cut, 2 not asked", "4, too few", or ""."""
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
    """`items` of several models' rows: once if they agree, else per model, "-" for none."""
    counts = [items(row, metric) or "-" for row in rows]
    distinct = set(counts) - {"-"}
    return next(iter(distinct), "") if len(distinct) < 2 else " / ".join(counts)


def score_words(row: Mapping[str, Any], metric: str) -> str:
    """`0.812 ± 0.011`; the reason where there is no value, and `-` where there is no reason."""
    value, error = row.get(metric), row.get(f"{metric}_stderr")
    if value is None:
        return str(row.get("reason", "-")) if metric in row else "-"
    return f"{value:.3f}" + (f" ± {error:.3f}" if error is not None else "")
