"""How to read the rows of an evaluation, for tables and the report. Imports nothing heavy.

Fields of a row:
- metrics, with `<metric>_stderr` if it could be estimated; None if nothing could be scored, and
  then `reason` says why;
- `n`: items or documents scored; `not_asked`: items skipped; `cut`: items whose prompts lost their
  beginning;
- `chance`: the expected score of guessing, where items have choices; `about`, of a task: how it was
  asked (`shots`, `bos`: whether prompts begin with it, `metric` that counts, `suite`);
- `characters` of held-out text; `few`: true if that is below the recipe's floor.

Protocols other than the harness's have their own counts under their prefix (`first_token_n`),
because another protocol may have scored other items.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.benchmarks import suites

FIRST_TOKEN = "first_token_"
EXACT_MATCH = "exact_match"
ANY = "any"

PREFIXES = (FIRST_TOKEN, f"{EXACT_MATCH}_", f"{ANY}_")
"""What the names of counts begin with, of protocols that may have scored other items."""

_LOWER_IS_BETTER = ("bits_per", "tokens_per", "padding_share", "brier_score")

_SECOND = ("acc_norm", "exact_match_last")
"""Metrics that are another reading of the answers that a metric before them is of."""

_COUNTS = ("n", "not_asked", "cut", "chance")
_NO_METRICS = {"characters", "few", "reason", "about"} | {
    f"{prefix}{name}" for prefix in ("", *PREFIXES) for name in _COUNTS
}


SAMPLE_FIELDS: dict[str, dict[str, str]] = {
    ".first-token": {"first_token_acc": "correct"},
    ".exact-match": {"exact_match": "correct", "exact_match_last": "correct_last"},
    ".any": {"any": "correct"},
    "": {"acc": "correct", "acc_norm": "correct_norm", "mc2": "mass"},
}
"""Ending of a file of samples -> metric -> the field of a sample that says how right it is."""


def prefix_of(metric: str) -> str:
    """What the names of the counts of a metric begin with; "" for the plain ones."""
    return next((p for p in PREFIXES if metric == p.rstrip("_") or metric.startswith(p)), "")


def protocol_of(metric: str) -> str:
    """The protocol that a metric of questions is of."""
    prefix = prefix_of(metric)
    return {FIRST_TOKEN: "first-token", f"{EXACT_MATCH}_": "exact-match", f"{ANY}_": ANY}.get(
        prefix, "harness"
    )


def metrics(row: Mapping[str, Any]) -> list[str]:
    """The metrics of a row, in order."""
    return [name for name in row if name not in _NO_METRICS and not name.endswith("_stderr")]


def counting(row: Mapping[str, Any]) -> list[str]:
    """The metrics that a row is judged by: the one that its benchmark names, else all but second
    readings of the same answers.
    """
    named = (row.get("about") or {}).get("metric")
    if named and named in row:
        return [named]
    names = metrics(row)
    return [name for name in names if not name.endswith(_SECOND)] or names


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value of a metric is the better one."""
    return metric.startswith(_LOWER_IS_BETTER) or "perplexity" in metric


def asked_words(row: Mapping[str, Any], metric: str) -> str:
    """How a task was asked: "5 shots, no BOS, first-token"; "" for rows of groups and of text."""
    about = row.get("about")
    if about is None or metric not in row:
        return ""
    shots = f"{about['shots']} shot{'' if about['shots'] == 1 else 's'}"
    return f"{shots}, {'' if about['bos'] else 'no '}BOS, {protocol_of(metric)}"


def chance_of(row: Mapping[str, Any], metric: str) -> float | None:
    """The expected score of guessing; None where it is not known."""
    prefix = prefix_of(metric)
    found = row.get(f"{prefix}chance") if prefix else row.get("chance")
    return None if metric not in row or found is None else float(found)


def is_guessing(score: float, chance: float, items: int) -> bool:
    """Whether a score is no better than guessing: at most two standard errors (of guessing) above
    its expected score.
    """
    return score <= chance + 2 * math.sqrt(chance * (1 - chance) / items)


def published(rows: Sequence[Mapping[str, Any]], task: str, metric: str) -> dict[str, float]:
    """System -> the published score of a suite's task, beside the metric that it is of."""
    for row in rows:
        about = row.get("about") or {}
        if about.get("suite") in suites.names() and about.get("metric") == metric:
            return suites.suite(about["suite"]).figures(task)
    return {}


def sources_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence for each suite among the rows: where its figures were published, and how what was
    asked differs.
    """
    found = dict.fromkeys(row["about"]["suite"] for row in rows if row.get("about"))
    words = []
    for name in found:
        if name in suites.names():
            suite = suites.suite(name)
            words.append(
                ". ".join([f"Published figures of suite {name}: {suite.source}", *suite.remarks])
                + "."
            )
    return words


def items(row: Mapping[str, Any], metric: str) -> str:
    """What a metric was scored on: "1,000", "38, 3 cut, 2 not asked", "4, too few", or ""."""
    prefix = prefix_of(metric)
    prefix = prefix if f"{prefix}n" in row else ""
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
    """`0.812 ± 0.011`, with `(chance)` where it is no better than guessing; the reason where there
    is no value, and `-` where there is no reason.
    """
    value, error = row.get(metric), row.get(f"{metric}_stderr")
    if value is None:
        return str(row.get("reason", "-")) if metric in row else "-"
    words = f"{value:.3f}" + (f" ± {error:.3f}" if error is not None else "")
    chance, scored = chance_of(row, metric), row.get(f"{prefix_of(metric)}n") or row.get("n")
    guessed = chance is not None and scored and is_guessing(value, chance, scored)
    return f"{words} (chance)" if guessed else words
