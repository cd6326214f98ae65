"""Predicted time of published runs beside what was published (not a test; run it by hand).

    python tests/benchmarks/predictions.py

For each recipe in `predictions/`: time with the assumed MFU, the MFU that reproduces the published
time, and memory a rank. docs/benchmarks/predictions.md explains the differences.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from flows.recipe.read import read_recipe
from infra.quantities import duration
from tasks.checkpoints.shapes import shape_of
from tasks.training.phases.facts import facts
from tasks.training.predict.cost import cost_of, total
from tasks.training.predict.prediction import predict
from tasks.training.recipe.hardware import MFU

RECIPES = Path(__file__).resolve().parent / "predictions"

PUBLISHED_HOURS: dict[str, float | None] = {
    "llama-2-7b-zh": 15,
    "llama-2-7b-zh-8": 5 * 24,
    "tinyllama": 90 * 24,
    "llama-1-65b": 1_022_362 / 2048,
    "llama-3-6b": None,
}


def main() -> None:
    """Print a row for each recipe."""
    print(f"{'recipe':18}{'published':>11}{f'at {MFU:.0%}':>11}{'its MFU':>9}{'GB a rank':>11}")
    for name, published in PUBLISHED_HOURS.items():
        recipe = read_recipe(RECIPES / f"{name}.yaml")
        training, binning, model = recipe.training, recipe.binning, recipe.model
        if training is None or binning is None or model is None or model.shape is None:
            raise SystemExit(f"{name}.yaml: needs model.shape, binning and training")
        shape = shape_of(model.shape)
        found = facts(training, binning.sequence_length, [], {})
        phases = predict(training, found, shape).phases
        assumed = training.hardware.model_copy(update={"mfu": MFU})
        costs, largest = [], 0
        for phase in phases:
            costs.append(cost_of(phase.flops, training.precision, assumed))
            largest = max(largest, phase.memory.total)
        seconds = total(costs).seconds
        stated = duration(published * 3600) if published else "none"
        own = f"{MFU * seconds / 3600 / published:.1%}" if published else ""
        print(
            f"{name:18}{stated:>11}{duration(seconds):>11}{own:>9}{largest / 1e9:11.1f}", flush=True
        )


if __name__ == "__main__":
    main()
