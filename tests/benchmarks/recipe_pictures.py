"""The training that the small twin of a recipe had, over the recipe's own plan (not a test).

    python tests/benchmarks/recipe_pictures.py configs/tinyllama/chinese.yaml [...] --out FOLDER

Lines are the true-size recipe: learning rate, batch and mixture as shares of their largest values;
dots are what each step of its small twin took, from the store (of the mixture, means over 30 rows),
and dotted lines the twin's own mixture, whose ramps take longer shares of a phase. Every phase is
drawn equally wide, from its first token to its last. Prints, by phase, the shares planned at the
end and those drawn.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from flows.planning.prepare import Prepared, prepare
from flows.planning.request import RunRequest
from tasks.training.predict.picture import COLOURS, Drawn, drawn

POINTS = 400
ROWS = 30
LAST = 0.25
"""Share of a phase, at its end, in which drawn shares are counted."""


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
    name: str, large: list[Drawn], small: list[Drawn], log: dict[str, Any], file: Path
) -> None:
    """Three panels: learning rate, batch, mixture."""
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
        for colour, category in zip(COLOURS * 2, categories, strict=False):
            shares = [mixture_at(phase, p).get(category) for _, p in points]
            if any(share is not None for share in shares):
                mixture.plot(x, [share or 0.0 for share in shares], color=colour, lw=1)
                own = [mixture_at(twin, p).get(category, 0.0) for _, p in curve(twin)]
                mixture.plot(x, own, color=colour, lw=0.8, ls=":")
            mixture.plot(at, smoothed(steps, category), ".", ms=2, color=colour, label=category)
        for axis in axes:
            axis.axvline(number + 1, color="#cccccc", lw=0.8, zorder=0)
        rate.text(number + 0.02, 1.08, phase.name, fontsize=9, color="#555555")
    rate.set_ylim(0, 1.2)
    mixture.set_ylim(-0.05, 1.05)
    labels = (f"learning rate / {peak:.2g}", f"batch / {most:,.0f} tokens", "share of the mixture")
    for axis, label in zip(axes, labels, strict=True):
        axis.set_ylabel(label, fontsize=9)
    mixture.set_xticks([])
    mixture.set_xlabel("phases, each from its first token to its last")
    handles = dict(zip(*reversed(mixture.get_legend_handles_labels()), strict=True))
    mixture.legend(handles.values(), handles.keys(), loc="center left", fontsize=8, markerscale=4)
    rate.set_title(f"{name}: lines are the recipe at true size, dots the steps of its small twin")
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


def table(large: list[Drawn], log: dict[str, list[dict[str, Any]]]) -> None:
    """The shares at the end of each phase: the recipe's, and those that the twin drew."""
    for phase in large:
        steps = log[phase.name]
        last = steps[-max(1, round(LAST * len(steps))) :]
        planned = mixture_at(phase, phase.plan.at(phase.plan.start + phase.plan.tokens - 1))
        rows = sum(sum(step["rows"].values()) for step in last)
        for category in sorted({c for step in last for c in step["rows"]} | set(planned)):
            found = sum(step["rows"].get(category, 0) for step in last) / rows
            share = f"{100 * planned[category]:.1f}" if category in planned else "by bins"
            print(
                f"  {phase.name:10} {category:14} planned {share:>7} %, drawn {100 * found:.1f} %"
            )


def main() -> None:
    """Draw a picture for each recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images/recipes"))
    given = parser.parse_args()
    for recipe in given.recipes:
        twin = prepare(RunRequest.of(recipe.with_name(f"{recipe.stem}-small.yaml")))
        large = drawn(prepare(RunRequest.of(recipe)).phases)
        log = logs(twin)
        name = twin.recipe.name.removesuffix("-small")
        print(name)
        table(large, log)
        draw(name, large, drawn(twin.phases), log, given.out / f"{name}.png")


if __name__ == "__main__":
    main()
