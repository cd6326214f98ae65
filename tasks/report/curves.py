"""The curves of training, over tokens of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tasks.report.chart import Chart, Line, Mark, chart

Lines = Sequence[Mapping[str, Any]]
"""Lines of a phase's file in records."""
Phases = Mapping[str, Lines]
Statistics = Mapping[str, Mapping[str, Any]]
Pick = Callable[[Mapping[str, Any]], Mapping[str, float]]
"""Name -> value at a step or an evaluation."""


def curves(steps: Phases, evaluations: Phases) -> list[Chart]:
    """All curves that there is something for.

    `steps`, `evaluations`: phase -> its metrics and its evaluations.
    """
    drawn = {name for lines in steps.values() for step in lines for name in step["drawn"]}
    mixture = curve(
        steps,
        lambda step: _shares(step, "drawn"),
        "Mixture, drawn and planned",
        "share of the phase's rows",
        planned=lambda step: _shares(step, "due"),
        percent=True,
    )
    found = [
        curve(steps, lambda step: step["losses"], "Loss by category", "nats a token"),
        mixture if len(drawn) > 1 else None,  # a single category is no mixture
        curve(evaluations, bits_per_byte, "Held-out bits per byte", "bits per byte"),
        curve(steps, _only("lr"), "Learning rate", "learning rate", wide=False),
        curve(
            steps,
            _only("grad_norm"),
            "Gradient norm before clipping",
            "gradient norm",
            log=True,
            wide=False,
        ),
        curve(steps, _only("tokens_per_s"), "Speed", "tokens a second", zero=True, wide=False),
        curve(
            steps,
            _only("mfu"),
            "Model FLOPs utilisation",
            "MFU",
            zero=True,
            percent=True,
            wide=False,
        ),
        curve(steps, memory, "Memory of the main rank", "peak memory, GB", zero=True, wide=False),
    ]
    return [chart for chart in found if chart is not None]


def _only(field: str) -> Pick:
    def pick(step: Mapping[str, Any]) -> dict[str, float]:
        value = step.get(field)
        return {} if value is None else {"": value}

    return pick


def _shares(step: Mapping[str, Any], field: str) -> dict[str, float]:
    rows = sum(step["drawn"].values()) or 1
    return {category: count / rows for category, count in step.get(field, {}).items()}


def bits_per_byte(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Category -> bits per byte of its held-out text, where there is some."""
    scores = evaluation["categories"].items()
    found = {category: values.get("bits_per_byte") for category, values in scores}
    return {category: value for category, value in found.items() if value is not None}


def memory(step: Mapping[str, Any]) -> dict[str, float]:
    """Process or GPU -> peak memory in GB."""
    names = {"peak_rss": "process", "peak_cuda": "GPU"}
    return {names.get(name, name): size / 1e9 for name, size in step.get("memory", {}).items()}


def curve(
    phases: Phases,
    pick: Pick,
    title: str,
    label: str,
    *,
    planned: Pick | None = None,
    log: bool = False,
    zero: bool = False,
    percent: bool = False,
    wide: bool = True,
) -> Chart | None:
    """One line per name that `pick` gives and phase, over tokens of the run; None where it gives
    none. `planned`: drawn dashed, in the same colours.
    """
    colours: dict[str, int] = {}
    lines: list[Line] = []
    end = max((steps[-1]["tokens"] for steps in phases.values() if steps), default=0)
    for steps in phases.values():
        for dashed, values in ((True, planned), (False, pick)):
            for name, points in (_points(steps, values) if values else {}).items():
                colour = colours.setdefault(name, len(colours))
                lines.append(Line(name, colour, points, dashed))
    marks = [
        Mark(name, steps[0]["tokens"] / 1e6, drawn=number > 0)
        for number, (name, steps) in enumerate(
            (name, steps) for name, steps in phases.items() if steps
        )
    ]
    unit = "million tokens" if end else "tokens"
    return chart(
        title,
        lines,
        x=unit,
        y=label,
        marks=marks,
        log_y=log,
        zero=zero,
        percent=percent,
        wide=wide,
    )


def _points(steps: Lines, pick: Pick) -> dict[str, list[tuple[float, float]]]:
    """Name -> (million tokens, value), names sorted."""
    points: dict[str, list[tuple[float, float]]] = {}
    for step in steps:
        for name, value in pick(step).items():
            points.setdefault(name, []).append((step["tokens"] / 1e6, value))
    return dict(sorted(points.items()))
