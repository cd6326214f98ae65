"""What became of every score: paired differences to the promoted model, and which fell too far."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from infra.store import Artifact
from tasks.benchmarks.samples import BITS, paired_change, read_items
from tasks.benchmarks.scores import counting, items_of_all, lower_is_better
from tasks.scorecard.stage import Fall, ScorecardParameters

BASE = "base"
"""Name of the evaluation of the model that a run continues."""

_TEXTS = ("heldout/", "earlier/")
_NOT_JUDGED = ("long-text/",)


@dataclass(frozen=True)
class Change:
    """One score now and before. `difference` is now less before, `error` its standard error (None
    for fewer than two items), `paired` whether both models answered the same items. `fall`: how far
    it got worse, 0 where it did not; `limit`: how far it might, None where it does not count.
    """

    row: str
    metric: str
    before: float
    now: float
    difference: float
    error: float | None
    paired: bool
    fall: float
    limit: float | None
    allowed: str = ""
    n: str = ""
    """What it was scored on: "1,000", and per model where they differ."""

    @property
    def refused(self) -> bool:
        """Whether it fell too far."""
        return self.limit is not None and self.fall > self.limit

    def reason(self) -> str:
        """Why the run is not promoted, as a sentence."""
        worse = "rose" if self.difference > 0 else "fell"
        error = f" ± {self.error:.4f}" if self.error is not None else ""
        return (
            f"{self.row} ({self.metric.replace('_', ' ')}) {worse} by {abs(self.difference):.4f}"
            f"{error}, from {self.before:.4f} to {self.now:.4f}; loop.may_fall allows "
            f"{self.allowed}"
        )

    def to_json(self) -> dict[str, Any]:
        """The change as the scorecard has it."""
        return asdict(self) | {"refused": self.refused}


def changes(before: Artifact, now: Artifact, parameters: ScorecardParameters) -> list[Change]:
    """The change of every score of a task or of held-out text that both evaluations have."""
    old, new = before.statistics["scores"], now.statistics["scores"]
    items = read_items(before), read_items(now)
    found = []
    judged = dict.fromkeys(_judged(old))
    for row, metric in _judged(new):
        if (row, metric) in judged:
            pair = paired_change(items[0].get((row, metric)), items[1].get((row, metric)))
            found.append(_change(row, metric, old[row], new[row], pair, parameters.fall_of(row)))
    return found


def unmatched(before: Artifact, now: Artifact) -> dict[str, list[str]]:
    """Scores that only one evaluation has, as "row (metric)": those of `promoted` and of `now`."""
    sides = {"promoted": before, "now": now}
    judged = {
        side: dict.fromkeys(_judged(evaluation.statistics["scores"]))
        for side, evaluation in sides.items()
    }
    others = {"promoted": judged["now"], "now": judged["promoted"]}
    return {
        side: [f"{row} ({metric})" for row, metric in found if (row, metric) not in others[side]]
        for side, found in judged.items()
    }


def _judged(scores: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(row, metric) of the values of tasks, without their groups, and of held-out text."""
    for row, values in scores.items():
        group = any(row.startswith(f"{other}/") for other in scores)
        if group or row.startswith(_NOT_JUDGED):
            continue
        for metric in [BITS] if row.startswith(_TEXTS) else counting(values):
            if values.get(metric) is not None:
                yield row, metric


def _change(
    row: str,
    metric: str,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    pair: tuple[float, float] | None,
    allowed: Fall | None,
) -> Change:
    before, now = float(old[metric]), float(new[metric])
    difference: float
    error: float | None
    if pair is not None:
        difference, error = pair
    else:
        difference = now - before
        errors = [e for scores in (old, new) if (e := scores.get(f"{metric}_stderr")) is not None]
        error = math.hypot(*errors) if len(errors) == 2 else None
    worse = difference if lower_is_better(metric) else -difference
    limit = None
    if allowed is not None and not (allowed.in_errors and error is None):
        limit = allowed.limit(error or 0.0)
    words = "" if allowed is None else str(allowed)
    if allowed is not None and allowed.in_errors and limit is not None:
        words += f", {limit:.4f}"
    return Change(
        row,
        metric,
        before,
        now,
        difference,
        error,
        pair is not None,
        max(worse, 0.0),
        limit,
        words,
        items_of_all([old, new], metric),
    )
