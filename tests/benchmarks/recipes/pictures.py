"""The training that the small twin of a recipe had, over the recipe's own plan and the published
table: a picture, and the rows of a table. `pages.py` puts both on the pages.

Lines are the true-size recipe: learning rate, batch and mixture as shares of their largest values;
diamonds are the published table, at the end of the phase that it states them for; dots are what
each step of the small twin took, from the store (of the mixture, means over 30 rows), and dotted
lines the twin's own mixture, whose ramps take longer shares of a phase. All phases are drawn
equally wide, from the first token to the last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from flows.planning.prepare import Prepared
from infra.quantities import count, parse_count
from tasks.training.phases.facts import PhaseFacts
from tasks.training.predict.picture import COLOURS, Drawn, drawn

POINTS = 400
ROWS = 30
LAST = 0.25
"""Share of a phase, at its end, in which drawn shares are counted."""


def drawn_phases(prepared: Prepared) -> list[Drawn]:
    """The phases of a recipe that can be drawn."""
    return drawn(prepared.phases)


def logs(prepared: Prepared) -> dict[str, list[dict[str, Any]]]:
    """Phase -> its steps, from the store."""
    found = {}
    for phase in prepared.phases:
        artifact = prepared.plan.steps[f"training/{phase.name}"].artifact
        if artifact is None:
            raise SystemExit(f"training/{phase.name} is not in the store; run the small twin first")
        text = artifact.records.read("metrics.jsonl").decode()
        found[phase.name] = [json.loads(line) for line in text.splitlines()]
    return found


def curve(phase: Drawn) -> list[tuple[float, Any]]:
    """(share of the phase, plan there)."""
    plan = phase.plan
    return [
        (i / POINTS, plan.at(plan.start + plan.tokens * i // POINTS)) for i in range(POINTS + 1)
    ]


def mixture_at(phase: Drawn, point: Any) -> dict[str, float]:
    """Shares at a point; of buckets, which follow from bins, none."""
    return phase.shares if point.mixture == "buckets" else point.mixture


def draw(
    name: str,
    large: list[Drawn],
    small: list[Drawn],
    log: dict[str, Any],
    file: Path,
    published: Mapping[str, Mapping[str, Any]],
) -> None:
    """Three panels: learning rate, batch, mixture. `published`: phase -> `shares` in percent,
    `batch` in tokens.
    """
    figure, axes = plt.subplots(3, 1, figsize=(9, 7.5), sharex=True)
    rate, batch, mixture = axes
    peak = max(point.lr for phase in large for _, point in curve(phase))
    most = max(point.batch_tokens for phase in large for _, point in curve(phase))
    own_peak = max(step["lr"] for steps in log.values() for step in steps)
    categories = sorted({c for steps in log.values() for step in steps for c in step["drawn"]})
    sizes = {
        phase.name: [sum(s["rows"].values()) * phase.plan.sequence_length for s in log[phase.name]]
        for phase in small
    }
    own_most = max(max(found[:-1] or found) for found in sizes.values())
    for number, (phase, twin) in enumerate(zip(large, small, strict=True)):
        points = curve(phase)
        x = [number + share for share, _ in points]
        steps = log[phase.name]
        at = [number + step["phase_tokens"] / twin.plan.tokens for step in steps]
        rate.plot(x, [p.lr / peak for _, p in points], color="black", lw=1)
        rate.plot(at, [step["lr"] / own_peak for step in steps], ".", ms=2, color="#c44e52")
        batch.plot(x, [p.batch_tokens / most for _, p in points], color="black", lw=1)
        batch.plot(at, [size / own_most for size in sizes[phase.name]], ".", ms=2, color="#c44e52")
        stated = published.get(phase.name, {})
        end = number + 0.985
        if (tokens := batch_of(stated)) is not None:
            batch.plot([end], [tokens / most], "D", ms=6, mfc="none", color="black")
        for colour, category in zip(COLOURS * 2, categories, strict=False):
            shares = [mixture_at(phase, p).get(category) for _, p in points]
            if any(share is not None for share in shares):
                mixture.plot(x, [share or 0.0 for share in shares], color=colour, lw=1)
                own = [mixture_at(twin, p).get(category, 0.0) for _, p in curve(twin)]
                mixture.plot(x, own, color=colour, lw=0.8, ls=":")
            mixture.plot(at, smoothed(steps, category), ".", ms=2, color=colour, label=category)
            if category in stated.get("shares", {}):
                share = stated["shares"][category] / 100
                mixture.plot([end], [share], "D", ms=6, mfc="none", color=colour)
        for axis in axes:
            axis.axvline(number + 1, color="#cccccc", lw=0.8, zorder=0)
        rate.text(number + 0.02, 1.08, phase.name, fontsize=9, color="#555555")
    rate.set_ylim(0, 1.2)
    batch.set_ylim(0, 1.1)
    mixture.set_ylim(-0.05, 1.05)
    labels = (f"learning rate / {peak:.2g}", f"batch / {most:,.0f} tokens", "share of the mixture")
    for axis, label in zip(axes, labels, strict=True):
        axis.set_ylabel(label, fontsize=9)
    mixture.set_xticks([])
    mixture.set_xlabel("phases, each from its first token to its last")
    handles = dict(zip(*reversed(mixture.get_legend_handles_labels()), strict=True))
    mixture.legend(
        handles.values(),
        handles.keys(),
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        fontsize=8,
        markerscale=4,
        frameon=False,
    )
    rate.set_title(f"{name}: lines: recipe, diamonds: published, dots: steps of the small twin")
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=80)
    plt.close(figure)


def smoothed(steps: list[dict[str, Any]], category: str) -> list[float]:
    """Share of a category in some `ROWS` rows around each step: a step of one row has one."""
    half = round(ROWS * len(steps) / sum(sum(step["rows"].values()) for step in steps)) // 2
    found = []
    for index in range(len(steps)):
        near = steps[max(0, index - half) : index + half + 1]
        rows = sum(sum(step["rows"].values()) for step in near)
        found.append(sum(step["rows"].get(category, 0) for step in near) / max(rows, 1))
    return found


def batch_of(stated: Mapping[str, Any]) -> int | None:
    """A published batch as one number of tokens; of a growing one ("4M to 16M") the first."""
    words = str(stated.get("batch", "")).split()
    return parse_count(words[0]) if words else None


def drawn_rows(
    published: Mapping[str, Mapping[str, Any]],
    large: Sequence[PhaseFacts],
    small: Sequence[PhaseFacts],
    log: Mapping[str, list[dict[str, Any]]],
) -> list[list[str]]:
    """Rows of phase, what, published, recipe, the twin's plan, the twin's steps. Shares are those
    at the end of a phase: of the twin's steps, of the rows of its last quarter.
    """
    rows: list[list[str]] = []
    for of_recipe, of_twin in zip(drawn(large), drawn(small), strict=True):
        name, steps = of_recipe.name, log[of_recipe.name]
        stated = published.get(name, {})
        sizes = [sum(step["rows"].values()) * of_twin.plan.sequence_length for step in steps]
        first, last = _batches(of_recipe, of_twin)
        rows.append(
            [
                name,
                "tokens",
                str(stated.get("tokens", "-")),
                count(of_recipe.plan.tokens),
                count(of_twin.plan.tokens),
                count(sum(sizes)),
            ]
        )
        full = sizes[:-1] or sizes  # the last step takes what is left
        rows.append(
            [
                "",
                "batch",
                str(stated.get("batch", "-")),
                _from_to(first[0], last[0]),
                _from_to(first[1], last[1]),
                _from_to(full[0], full[-1]),
            ]
        )
        rows.append(
            ["", "learning rate at the end, of its peak", "-", *_rates(of_recipe, of_twin, steps)]
        )
        rows += _shares(stated, of_recipe, of_twin, steps)
    return rows


def _batches(*phases: Drawn) -> tuple[list[int], list[int]]:
    """Tokens a step at the begin and at the end of phases."""
    plans = [phase.plan for phase in phases]
    return (
        [round(plan.at(plan.start).batch_tokens) for plan in plans],
        [round(plan.at(plan.start + plan.tokens - 1).batch_tokens) for plan in plans],
    )


def _rates(large: Drawn, small: Drawn, steps: list[dict[str, Any]]) -> list[str]:
    """Learning rate at the end of a phase as a share of the largest of the phase or before."""
    found = []
    for phase in (large, small):
        end = phase.plan.at(phase.plan.start + phase.plan.tokens - 1).lr
        found.append(f"{end / phase.plan.schedule.peak:.3f}")
    return [*found, f"{steps[-1]['lr'] / small.plan.schedule.peak:.3f}"]


def _shares(
    stated: Mapping[str, Any], large: Drawn, small: Drawn, steps: list[dict[str, Any]]
) -> list[list[str]]:
    last = steps[-max(1, round(LAST * len(steps))) :]
    total = sum(sum(step["rows"].values()) for step in last)
    ends = [phase.plan.at(phase.plan.start + phase.plan.tokens - 1) for phase in (large, small)]
    mixtures = [mixture_at(phase, end) for phase, end in zip((large, small), ends, strict=True)]
    categories = sorted({c for step in last for c in step["rows"]} | set(mixtures[0]))
    rows = []
    for category in categories:
        share = sum(step["rows"].get(category, 0) for step in last) / total
        published = stated.get("shares", {}).get(category)
        rows.append(
            [
                "",
                f"{category}, %",
                "-" if published is None else f"{published:g}",
                *(f"{100 * m[category]:.1f}" if category in m else "by bins" for m in mixtures),
                f"{100 * share:.1f} of {total:,} rows",
            ]
        )
    return rows


def _from_to(first: int, last: int) -> str:
    return f"{first:,}" if first == last else f"{first:,} to {last:,}"
