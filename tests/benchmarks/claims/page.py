"""docs/claims.md and its picture, from what the items of every arm came to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.claims.pairs import Gain, gain
from tests.benchmarks.claims.samples import Items

HOLDS, REVERSE, NOTHING = "#1a7f37", "#cf222e", "#6e7781"
NOT_HELD = ("does not show at this scale", "the reverse")
INTRODUCTION = """\
# Claims of the literature, tested small

Each claim is two or more recipes that differ in one thing, trained on the same number of tokens
with {seeds} seeds, or with fewer where the last column says so. `make claims` runs what has not run
yet and writes this page; recipes and arms are in `tests/benchmarks/claims/`.

- **Gain**: by how much the first arm is better, pair by pair (same seed, same document or
  question), in bits per byte of held-out text or in the share of questions answered. Its 95 %
  interval is over seeds and items: another seed and other items would differ.
- **Holds** or **the reverse**: the interval of the score that decides, the first of a claim, lies
  on one side of 0. Otherwise the claim **does not show at this scale**, which does not say that it
  is false; while seeds are missing it is **undecided**. Two seeds have an interval three times as
  wide as three (Student's t of 12.7 against 4.3), one has none. Of {rows} comparisons one may well
  come out on one side by chance.
- Models of 1.5M to 1.8M parameters that have read 300,000 tokens about a made-up country go on for
  48,000, with leaked questions for 96,000 (the model with longer context is another, of 260,000
  parameters, on real books). What they show says little about 7B parameters: it says whether Puna
  can show the effect, and which effects are too small to see here.
- The base is the same for all seeds. A seed changes the order of rows, and random rows of new
  tokens. Held-out text is fresh pages about the same country that no crawl holds: the same text
  whatever an arm does to the crawl.

![gain of the first arm of each comparison, with its interval](images/claims.svg)

| claim (source) | arms | score | first | other | gain | verdict |
|---|---|---|--:|--:|--:|---|"""


@dataclass(frozen=True)
class Comparison:
    """The first arm against another by one score."""

    arms: str
    score: str
    decides: bool
    seeds: int
    gain: Gain


Found = Sequence[tuple[Mapping[str, Any], Sequence[Comparison]]]
"""Claims with what came out; no comparisons where an arm has not run."""


def comparisons(claim: Mapping[str, Any], arms: Mapping[str, Sequence[Items]]) -> list[Comparison]:
    """All comparisons of a claim.

    Args:
        arms: arm -> what its items came to, by seed.

    Raises:
        ValueError: arms or seeds were asked different items.
    """
    first, *others = claim["arms"]
    if not arms[first]:
        return []
    found = []
    for other in others:
        for score in claim["scores"]:
            sizes = arms[first][0][score][1]
            for items in (*arms[first], *arms[other]):
                if list(items[score][1]) != list(sizes):
                    raise ValueError(
                        f"{claim['name']}: {score} of {first} and {other} is of different items; "
                        "hold out the same text in both"
                    )
            tables = [np.array([items[score][0] for items in arms[arm]]) for arm in (first, other)]
            better_less = "bits_per" in score
            found.append(
                Comparison(
                    arms=f"{first} against {other}",
                    score=score,
                    decides=score == claim["scores"][0],
                    seeds=len(tables[0]),
                    gain=gain(tables[0], tables[1], np.array(sizes, float), better_less),
                )
            )
    return found


def page(found: Found, seeds: int) -> str:
    """The page in Markdown."""
    rows = [one for _, of_claim in found for one in of_claim if one.decides]
    lines = [INTRODUCTION.format(seeds=seeds, rows=len(rows))]
    for claim, of_claim in found:
        said = f"{claim['claim']} ({claim['source']})"
        for one in of_claim:
            lines.append(
                f"| {said} | {one.arms} | {_named(one.score)} | {one.gain.first:.3f} | "
                f"{one.gain.other:.3f} | {_signed(one.gain)} | "
                f"{f'**{said_of(one, seeds)}**{_fewer(one.seeds, seeds)}' if one.decides else ''} |"
            )
            said = ""
    lines += ["", "## What each test can show", ""]
    for claim, of_claim in found:
        told = [claim["limits"].strip()]
        if not of_claim:
            told.append("Not run yet.")
        elif any(said_of(one, seeds) in NOT_HELD for one in of_claim if one.decides):
            told.append(f"Why it may not hold here: {claim['otherwise'].strip()}")
        lines.append(f"- **{claim['name']}**: {' '.join(told)}")
    return "\n".join(lines) + "\n"


def _named(score: str) -> str:
    """A score as readers know it."""
    row, metric = score.split(" ")
    return f"{row.removeprefix('heldout/')}, {metric.replace('_', ' ')}"


def said_of(one: Comparison, seeds: int) -> str:
    """The verdict; where seeds are missing, an interval around 0 leaves the claim undecided."""
    if one.seeds < seeds and one.gain.verdict == NOT_HELD[0]:
        return "undecided"
    return one.gain.verdict


def _fewer(run: int, wanted: int) -> str:
    """How many seeds have run, where some are missing."""
    return f" ({run} of {wanted} seeds)" if run < wanted else ""


def _signed(found: Gain) -> str:
    """A gain with half its interval, if it has one."""
    mean = f"{found.mean:+.4f}".replace("-", "−")
    return mean if math.isnan(found.half) else f"{mean} ± {found.half:.4f}"


def share(one: Comparison) -> tuple[float, float]:
    """Gain and half its interval, in per cent of the other arm's score; of one seed half is 0."""
    half = 0.0 if math.isnan(one.gain.half) else one.gain.half
    return 100 * one.gain.mean / one.gain.other, 100 * half / one.gain.other


def squeezed(per_cent: float) -> float:
    """Place on the picture's axis: linear around 0, logarithmic beyond tenths of a per cent."""
    return math.asinh(per_cent / 0.3)


def drawn(found: Found, file: Path) -> None:
    """One panel a claim, the intervals of the comparisons that decide, in per cent of the other
    arm's score.
    """
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    rows = [(claim["name"], one) for claim, of_claim in found for one in of_claim if one.decides]
    figure, axes = plt.subplots(figsize=(9.5, 1.2 + 0.42 * len(rows)))
    ticks = [-100, -30, -10, -3, -1, -0.3, 0, 0.3, 1, 3, 10, 30, 100]
    reach = max((sum(map(abs, share(one))) for _, one in rows), default=1.0) or 1.0
    for number, (_, one) in enumerate(rows):
        mean, half = share(one)
        colour = {"holds": HOLDS, "the reverse": REVERSE}.get(one.gain.verdict, NOTHING)
        if one.seeds > 1:
            ends = [squeezed(mean - half), squeezed(mean + half)]
            axes.plot(ends, [number] * 2, color=colour, linewidth=2)
        filled = colour if one.seeds > 1 else "white"  # a ring: one seed, and so no interval
        axes.plot(squeezed(mean), number, "o", color=colour, markerfacecolor=filled, markersize=6)
    axes.axvline(0, color="#8c959f", linewidth=1)
    axes.set_yticks(range(len(rows)), [f"{name}: {one.arms}" for name, one in rows])
    shown = [tick for tick in ticks if abs(tick) <= reach * 1.5]
    axes.set_xticks([squeezed(tick) for tick in shown], [f"{tick:g}" for tick in shown])
    limit = squeezed(reach * 1.2)
    axes.set(xlim=(-limit, limit), ylim=(len(rows) - 0.4, -0.6))
    axes.set_xlabel(
        "gain of the first arm with its 95 % interval, % of the other's score\n"
        "← the reverse   |   the claim holds →"
    )
    axes.grid(axis="x", alpha=0.3)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Neither a date nor random names, so that the same figures give the same file.
    with matplotlib.rc_context({"svg.hashsalt": "claims", "svg.fonttype": "none"}):
        figure.savefig(file, bbox_inches="tight", facecolor="white", metadata={"Date": None})
    plt.close(figure)
