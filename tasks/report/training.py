"""The report's section on training: curves over tokens of the run, numbers by phase, samples."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from infra.store import Artifact
from tasks.report.plots import COLOURS, new_axes, svg

Lines = Sequence[Mapping[str, Any]]
"""Lines of a phase's file in records."""
Phases = Mapping[str, Lines]

WIDE, HALF = (7.5, 2.4), (4.6, 2.1)
"""Sizes of pictures."""


def lines(artifact: Artifact, name: str) -> list[dict[str, Any]]:
    """The JSON lines of a record; none where the phase has no such file."""
    if not artifact.records.exists(name):
        return []
    return [json.loads(line) for line in artifact.records.read(name).splitlines()]


def pictures(steps: Phases, evaluations: Phases) -> dict[str, str]:
    """Name -> SVG of all curves that there is something for.

    `steps`, `evaluations`: phase -> its metrics and its evaluations.
    """
    drawn = {
        "losses": curves(steps, lambda step: step["losses"], "loss, nats a token", WIDE),
        "mixture": curves(
            steps,
            lambda step: _shares(step, "drawn"),
            "share of the phase's rows",
            WIDE,
            planned=lambda step: _shares(step, "due"),
        ),
        "held_out": curves(evaluations, _bits_per_byte, "held-out bits per byte", WIDE, marker="o"),
        "lr": curves(steps, _only("lr"), "learning rate", HALF),
        "grad_norm": curves(steps, _only("grad_norm"), "gradient norm", HALF, log=True),
        "speed": curves(steps, _only("tokens_per_s"), "tokens a second", HALF, zero=True),
        "mfu": curves(steps, _only("mfu"), "MFU", HALF, zero=True, percent=True),
        "memory": curves(steps, _memory, "peak memory, GB", HALF, zero=True),
    }
    return {name: picture for name, picture in drawn.items() if picture}


def _only(field: str) -> Callable[[Mapping[str, Any]], dict[str, float]]:
    def pick(step: Mapping[str, Any]) -> dict[str, float]:
        value = step.get(field)
        return {} if value is None else {field: value}

    return pick


def _shares(step: Mapping[str, Any], field: str) -> dict[str, float]:
    rows = sum(step["drawn"].values()) or 1
    return {category: count / rows for category, count in step.get(field, {}).items()}


def _bits_per_byte(evaluation: Mapping[str, Any]) -> dict[str, float]:
    scores = evaluation["categories"].items()
    found = {category: values.get("bits_per_byte") for category, values in scores}
    return {category: value for category, value in found.items() if value is not None}


def _memory(step: Mapping[str, Any]) -> dict[str, float]:
    names = {"peak_rss": "process", "peak_cuda": "GPU"}
    return {names.get(name, name): size / 1e9 for name, size in step.get("memory", {}).items()}


SHORT = 0.1
"""Share of the run below which a phase has no room for its name."""


def curves(
    phases: Phases,
    pick: Callable[[Mapping[str, Any]], Mapping[str, float]],
    label: str,
    size: tuple[float, float],
    *,
    planned: Callable[[Mapping[str, Any]], Mapping[str, float]] | None = None,
    log: bool = False,
    zero: bool = False,
    percent: bool = False,
    marker: str | None = None,
) -> str:
    """One line per name that `pick` gives, over tokens of the run; "" where it gives none.

    Where a phase ends there is a thin line. `planned`: drawn dashed, in the same colours.
    """
    colours: dict[str, str] = {}
    figure, axes = new_axes(*size)
    end = max((steps[-1]["tokens"] for steps in phases.values() if steps), default=0)
    for name, steps in phases.items():
        for style, values in ((":", planned), ("-", pick)):
            points = _points(steps, values) if values else {}
            for category, found in points.items():
                colour = colours.setdefault(category, COLOURS[len(colours) % len(COLOURS)])
                xs, ys = zip(*_smooth(found), strict=True)
                wide = 1.3 if style == "-" else 1.8
                shown = marker or ("o" if len(xs) == 1 else None)
                axes.plot(xs, ys, style, color=colour, linewidth=wide, marker=shown, markersize=2.5)
        if steps:
            _mark(axes, name, steps, end)
    if not colours:
        return ""
    for category, colour in colours.items():
        axes.plot([], [], color=colour, label=category)
    if planned:
        axes.plot([], [], ":", color="#50555e", label="planned")
    if len(colours) > 1:
        axes.legend(frameon=False, fontsize=8, ncols=6, loc="lower right", bbox_to_anchor=(1, 1.06))
    if log:
        axes.set_yscale("log")
    if zero:
        axes.set_ylim(bottom=0)
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("million tokens")
    axes.set_ylabel(label)
    return svg(figure)


def _mark(axes: Axes, name: str, steps: Lines, end: int) -> None:
    """Name a phase above its beginning, and draw where it ends; `end`: tokens of the run.

    The name of a short phase stands higher, above that of the next one.
    """
    first, last = steps[0]["tokens"], steps[-1]["tokens"]
    if last < end:
        axes.axvline(last / 1e6, color="#c9ccd3", linewidth=0.8)
    axes.annotate(
        name,
        (first / 1e6, 1.09 if last - first < SHORT * end else 1.02),
        xycoords=("data", "axes fraction"),
        color="#50555e",
        fontsize=8,
    )


def _points(
    steps: Lines, pick: Callable[[Mapping[str, Any]], Mapping[str, float]]
) -> dict[str, list[tuple[float, float]]]:
    """Name -> (million tokens, value), names sorted."""
    points: dict[str, list[tuple[float, float]]] = {}
    for step in steps:
        for name, value in pick(step).items():
            points.setdefault(name, []).append((step["tokens"] / 1e6, value))
    return dict(sorted(points.items()))


def _smooth(points: Sequence[tuple[float, float]], at_most: int = 300) -> list[tuple[float, float]]:
    """Means of neighbouring points, so that a long run draws as fast as a short one."""
    width = -(-len(points) // at_most)
    groups = [points[start : start + width] for start in range(0, len(points), width)]
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]


def phase_rows(
    statistics_of: Mapping[str, Mapping[str, Any]], steps: Phases
) -> list[dict[str, Any]]:
    """A row of numbers for each phase; None for what its records do not have.

    `statistics_of`: phase -> the statistics in its manifest.
    """
    rows = []
    for name, found in statistics_of.items():
        taken = steps.get(name, ())
        rows.append(
            {
                "phase": name,
                "tokens": found.get("tokens"),
                "steps": found.get("steps"),
                "skipped": found.get("skipped_steps", 0) + found.get("empty_steps", 0),
                "overflowed": found.get("overflowed_steps", 0),
                "loss_first": found.get("loss_first"),
                "loss_last": found.get("loss_last"),
                "tokens_per_s": _median(taken, "tokens_per_s"),
                "mfu": _median(taken, "mfu"),
                "memory": _memory(taken[-1]) if taken else {},
                "effective": found.get("time", {}).get("effective"),
                "restarts": found.get("time", {}).get("restarts"),
                "seconds": found.get("time", {}).get("held_s"),
            }
        )
    return rows


def _median(steps: Lines, field: str) -> float | None:
    values = [step[field] for step in steps if step.get(field) is not None]
    return statistics.median(values) if values else None


def category_rows(
    statistics_of: Mapping[str, Mapping[str, Any]], evaluations: Phases
) -> list[dict[str, Any]]:
    """Rows of a table by phase and category: rows and epochs drawn, loss-bearing tokens, and
    held-out bits per byte at the first and the last evaluation.
    """
    rows = []
    for phase, found in statistics_of.items():
        measured = [_bits_per_byte(row) for row in evaluations.get(phase, ())]
        held_out = {category for scores in measured for category in scores}
        for category in sorted({*found.get("rows", {}), *held_out}):
            scores = [values[category] for values in measured if category in values]
            rows.append(
                {
                    "phase": phase,
                    "category": category,
                    "rows": found.get("rows", {}).get(category),
                    "epochs": found.get("epochs", {}).get(category),
                    "loss_tokens": found.get("loss_tokens", {}).get(category),
                    "bits_first": scores[0] if scores else None,
                    "bits_last": scores[-1] if scores else None,
                }
            )
    return rows


def sample_rows(samples: Phases) -> list[dict[str, Any]]:
    """Prompt -> what followed it at each evaluation, over all phases.

    `shown`: the first and the last; `between`: the others.
    """
    by_prompt: dict[str, list[dict[str, Any]]] = {}
    for phase, found in samples.items():
        for sample in found:
            prompt = sample["prompt"]
            after = {
                kind: sample[kind].removeprefix(prompt) if prompt else sample[kind]
                for kind in ("greedy", "sampled")
            }
            by_prompt.setdefault(prompt, []).append(
                {"phase": phase, "tokens": sample["tokens"], **after}
            )
    return [
        {
            "prompt": prompt,
            "shown": found if len(found) < 3 else [found[0], found[-1]],
            "between": found[1:-1] if len(found) > 2 else [],
        }
        for prompt, found in by_prompt.items()
    ]
