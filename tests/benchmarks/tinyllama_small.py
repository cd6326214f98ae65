"""TinyLlama v1.1's three variants in small, trained by the real loop (not a test; run by hand).

    python tests/benchmarks/tinyllama_small.py [--picture FILE] [--tokens 4000000]

A common base, then three continuations whose new corpora come in by a linear ramp of their shares,
then a cooldown with four times the batch under the same cosine in tokens (Zhang et al. 2024,
arXiv:2401.02385v2, and TinyLlama_v1.1's model card). Batches are a thousandth of the published
1.8M and 7.2M tokens, phases in proportion to 1.5T + 350B + 150B; the ramp (6B of 350B) is drawn
out to 34 steps, so that its form can be seen. Prints the shares drawn beside the published ones,
and draws learning rate, batch and shares from the log over the plan's lines.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tasks.training.loop import Phase
from tasks.training.phases.facts import BinFacts, PhaseFacts, facts
from tasks.training.phases.section import TrainingSection
from tests.tasks.training.toys import LENGTH, save_bins, save_model, spec

RAMP = 34 * 1800
PUBLISHED: dict[str, dict[str, float]] = {
    "standard": {"slimpajama": 1.0},
    "math & code": {"slimpajama": 0.75, "starcoder": 0.15, "proof-pile": 0.10},
    "chinese": {"slimpajama": 0.5, "skypile": 0.5},
}
"""Shares after the ramp and in the cooldown, by variant."""
BINS = {"slimpajama": [9000] * 3, "starcoder": [1500], "proof-pile": [900], "skypile": [4500]}
COLOURS = {
    "slimpajama": "#4c72b0",
    "starcoder": "#dd8452",
    "proof-pile": "#55a868",
    "skypile": "#c44e52",
}


@dataclass(frozen=True)
class Trained:
    """One phase of one variant: what the plan says, and what the log has."""

    facts: PhaseFacts
    log: list[dict[str, Any]]


def section(shares: dict[str, float], total: int) -> TrainingSection:
    """The recipe's training section of a variant; `total`: tokens of its three phases."""
    rising: dict[str, Any] = {
        corpus: {"from": 0, "to": share, "over": RAMP}
        for corpus, share in shares.items()
        if corpus != "slimpajama"
    }
    settled = {corpus: share for corpus, share in shares.items() if corpus != "slimpajama"}
    phases = [
        {"name": "base", "tokens": total * 3 // 4, "mixture": {"slimpajama": 1.0}},
        {
            "name": "continual",
            "tokens": total * 7 // 40,
            "mixture": rising | {"slimpajama": "rest"},
        },
        {
            "name": "cooldown",
            "tokens": total * 3 // 40,
            "batch": "7.2K",
            "mixture": settled | {"slimpajama": "rest"},
        },
    ]
    return TrainingSection.model_validate(
        {
            "batch": "1.8K",
            "optimizer": {"lr": 4e-4},
            "schedule": {"kind": "cosine", "warmup": "40 steps", "total": total},
            "micro_batch": 64,
            "phases": phases,
        }
    )


def main() -> None:
    """Train the base and the three variants, print the shares, draw the picture."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--picture", type=Path, default=Path("tinyllama.png"))
    parser.add_argument("--tokens", type=int, default=4_000_000)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        variants = train_all(Path(temporary), given.tokens, given.threads)
    for variant, phases in variants.items():
        print_shares(variant, phases)
    draw(variants, given.picture)
    print(f"drawn: {given.picture}")


def train_all(root: Path, total: int, threads: int) -> dict[str, list[Trained]]:
    """Every variant's phases; the base is trained once, as its parameters are equal."""
    model = save_model(root / "model")
    bins = save_bins(root / "bins", BINS)
    known = {(corpus, LENGTH): BinFacts(tuple(rows)) for corpus, rows in BINS.items()}
    trained: dict[str, tuple[Path, list[dict[str, Any]]]] = {}
    variants: dict[str, list[Trained]] = {}
    for variant, shares in PUBLISHED.items():
        stated = section(shares, total)
        previous, state, phases = model, None, []
        for told in facts(stated, LENGTH, list(BINS), known):
            node = stated.node(told.name, LENGTH)
            key = json.dumps([node.identity(), str(previous)], sort_keys=True)
            if key not in trained:
                began, folder = time.perf_counter(), root / f"phase-{len(trained)}"
                own = {corpus: bins[corpus] for corpus in node.mixture}
                made = spec(folder, previous, own, node, state=state, cpu_threads=threads)
                log: list[dict[str, Any]] = []
                Phase(made).train(log.append)
                trained[key] = (Path(made.output), log)
                seconds = time.perf_counter() - began
                print(f"trained {variant}/{told.name}: {len(log)} steps in {seconds:.0f} s")
            output, log = trained[key]
            previous, state = output / "checkpoint", str(output / "state")
            phases.append(Trained(told, log))
        variants[variant] = phases
    return variants


def drawn_shares(log: list[dict[str, Any]]) -> dict[str, float]:
    """Share of each corpus among the rows of some steps."""
    rows: dict[str, int] = {}
    for step in log:
        for corpus, count in step["rows"].items():
            rows[corpus] = rows.get(corpus, 0) + count
    return {corpus: count / sum(rows.values()) for corpus, count in rows.items()}


def print_shares(variant: str, phases: list[Trained]) -> None:
    """Published and drawn shares of the phases after the base, and what differs from the plan."""
    published = PUBLISHED[variant]
    print(f"\n{variant}: share in %, published / drawn after the ramp / drawn in the cooldown")
    _, continual, cooldown = phases
    settled = [step for step in continual.log if step["phase_tokens"] > RAMP + 1800]
    drawn = [drawn_shares(settled), drawn_shares(cooldown.log)]
    for corpus, share in published.items():
        found = " / ".join(f"{100 * shares.get(corpus, 0):.2f}" for shares in drawn)
        print(f"  {corpus:12} {100 * share:.1f} / {found}")
    for phase in phases:
        plan = phase.facts.plan
        assert plan is not None
        assert phase.facts.steps == len(phase.log)
        assert phase.facts.drawn == phase.log[-1]["drawn"]
        worst = 0.0
        for step in phase.log:
            worst = max(worst, abs(step["lr"] - plan.at(step["tokens"]).lr))
        print(
            f"  {phase.facts.name}: {len(phase.log)} steps as planned, learning rate "
            f"{phase.log[0]['lr']:.3e} to {phase.log[-1]['lr']:.3e}, furthest from plan {worst:.0e}"
        )


def draw(variants: dict[str, list[Trained]], picture: Path) -> None:
    """Lines: the plan. Dots: the log."""
    figure, axes = plt.subplots(3, len(variants), figsize=(15, 8), sharex=True, squeeze=False)
    for column, (variant, phases) in enumerate(variants.items()):
        rate, batch, mixture = (axes[row][column] for row in range(3))
        rate.set_title(f"TinyLlama v1.1 {variant}, in small")
        for phase in phases:
            plan = phase.facts.plan
            assert plan is not None
            begin, end = plan.start, plan.start + plan.tokens
            grid = [begin + (end - begin) * i // 400 for i in range(400)] + [end]
            points = [plan.at(t) for t in grid]
            rate.plot(grid, [point.lr for point in points], color="black", lw=1)
            batch.plot(grid, [point.batch_tokens for point in points], color="black", lw=1)
            tokens = [step["tokens"] for step in phase.log]
            rate.plot(tokens, [step["lr"] for step in phase.log], ".", ms=2, color="#c44e52")
            rows = [sum(step["rows"].values()) * plan.sequence_length for step in phase.log]
            batch.plot(tokens, rows, ".", ms=2, color="#c44e52")
            for corpus in plan.mixture if isinstance(plan.mixture, dict) else ():
                colour = COLOURS[corpus]
                shares = [point.mixture[corpus] for point in points]  # type: ignore[index]
                mixture.plot(grid, shares, color=colour, lw=1, label=corpus)
                drawn = [
                    step["rows"].get(corpus, 0) / sum(step["rows"].values()) for step in phase.log
                ]
                mixture.plot(tokens, drawn, ".", ms=2, color=colour)
            for axis in (rate, batch, mixture):
                axis.axvline(end, color="#cccccc", lw=0.8, zorder=0)
        batch.set_ylim(0, 8000)
        mixture.set_ylim(-0.05, 1.05)
        mixture.locator_params(axis="x", nbins=4)
        mixture.set_xlabel("tokens of the run")
        handles = dict(zip(*reversed(mixture.get_legend_handles_labels()), strict=True))
        mixture.legend(handles.values(), handles.keys(), loc="center left", fontsize=8)
    for row, name in enumerate(("learning rate", "batch (tokens)", "share of the mixture")):
        axes[row][0].set_ylabel(f"{name}\nline: plan, dots: log")
    figure.tight_layout()
    figure.savefig(picture, dpi=90)


if __name__ == "__main__":
    main()
