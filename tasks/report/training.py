"""The report's section on training: curves over tokens of the run, numbers by phase, samples."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.quantities import counted, duration
from infra.store import Artifact
from tasks.report.blocks import (
    Block,
    Cell,
    Figure,
    Fold,
    Heading,
    Section,
    Side,
    Table,
    Text,
    section,
    table,
)
from tasks.report.chart import Chart
from tasks.report.curves import Lines, Phases, Statistics, bits_per_byte, curves, memory

METRICS, EVALUATIONS, SAMPLES = "metrics.jsonl", "evaluations.jsonl", "samples.jsonl"


@dataclass(frozen=True)
class Records:
    """What the phases of a run recorded: phase -> lines."""

    metrics: Phases
    evaluations: Phases
    samples: Phases

    @classmethod
    def of(cls, phases: Sequence[Artifact]) -> Records:
        """The records of these phases, empty where there are none."""
        return cls(
            *(
                {phase.name: lines(phase, name) for phase in phases}
                for name in (METRICS, EVALUATIONS, SAMPLES)
            )
        )


def lines(artifact: Artifact, name: str) -> list[dict[str, Any]]:
    """The JSON lines of a record; none where the phase has no such file."""
    if not artifact.records.exists(name):
        return []
    return [json.loads(line) for line in artifact.records.read(name).splitlines()]


def training(records: Records, statistics_of: Statistics) -> Section | None:
    """The section: numbers by phase and category, curves over tokens of the run, samples.

    `statistics_of`: phase -> the statistics in its manifest, with its times.
    """
    if not statistics_of:
        return None
    return section(
        "Training",
        phase_table(phase_rows(statistics_of, records.metrics)),
        Text(
            "Steps that were not taken had a loss or gradient that was not finite, a spike, or "
            "nothing to learn from. “In steps” is the effective training time: the share of the "
            "time held that went to steps whose result was kept."
        ),
        *drawn(curves(records.metrics, records.evaluations)),
        category_table(category_rows(statistics_of, records.evaluations)),
        *sample_blocks(sample_rows(records.samples)),
    )


def drawn(charts: Sequence[Chart]) -> list[Block]:
    """Wide charts, each by itself, then the others beside each other."""
    wide = [Figure(chart) for chart in charts if chart.wide]
    narrow = tuple((Figure(chart),) for chart in charts if not chart.wide)
    return [*wide, *([Side(narrow)] if narrow else [])]


def phase_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Phases with their losses, speed and time."""
    known = [name for name in ("mfu",) if any(row[name] is not None for row in rows)]
    lines = []
    for row in rows:
        seconds = row["seconds"]
        peak = ", ".join(
            f"{size:.2f} {name}" if len(row["memory"]) > 1 else f"{size:.2f}"
            for name, size in row["memory"].items()
        )
        overflowed = f"{row['overflowed']:,} overflowed" if row["overflowed"] else ""
        restarts = counted(row["restarts"], "restart") if row["restarts"] else ""
        lines.append(
            (
                row["phase"],
                row["tokens"],
                row["steps"],
                Cell(f"{row['skipped']:,}", small=overflowed, tone="down"),
                _number(row["loss_first"], "{:.3f}"),
                _number(row["loss_last"], "{:.3f}"),
                _number(row["tokens_per_s"], "{:,.0f}"),
                *(_number(row[name], "{:.1%}") for name in known),
                peak or None,
                None if seconds is None else duration(seconds),
                Cell(_number(row["effective"], "{:.1%}") or "–", small=restarts, tone="down"),
            )
        )
    columns = ["phase", "#tokens", "#steps", "#not taken", "#loss, first", "#loss, last"]
    columns += ["#tokens/s", *(["#MFU"] if known else []), "#peak memory, GB", "#time", "#in steps"]
    return table("Phases", columns, lines)


def category_table(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """What each phase drew of each category, and the held-out text of it."""
    if not rows:
        return None
    lines = [
        (
            row["phase"],
            row["category"],
            row["rows"],
            _number(row["epochs"], "{:.2f}"),
            _number(row["readings"], "{:.2f}") or None,
            row["loss_tokens"],
            _number(row["bits_first"], "{:.3f}"),
            _number(row["bits_last"], "{:.3f}"),
        )
        for row in rows
    ]
    columns = ["phase", "category", "#rows", "#epochs since data: restart"]
    columns += ["#readings of the most repeated documents", "#loss-bearing tokens"]
    columns += ["#held-out bits per byte, first", "#held-out bits per byte, last"]
    return table("By phase and category", columns, lines)


def sample_blocks(rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    """How the model continued each prompt, first and last; what is between is folded."""
    if not rows:
        return []
    blocks: list[Block] = [
        Heading("Samples"),
        Text(
            "How the model continued fixed prompts: by the most likely token, and drawn with the "
            "same random numbers each time."
        ),
    ]
    for row in rows:
        blocks.append(_sample_table(row["prompt"] or "(no prompt)", row["shown"]))
        if row["between"]:
            between = _sample_table(row["prompt"] or "(no prompt)", row["between"])
            blocks.append(Fold(f"{len(row['between'])} evaluations between", (between,)))
    return blocks


def _sample_table(prompt: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    lines = [(row["phase"], row["tokens"], row["greedy"], row["sampled"]) for row in rows]
    return table(prompt, ["phase", "#tokens", "most likely", "drawn"], lines)


def _number(value: float | None, form: str) -> str | None:
    return None if value is None else form.format(value)


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
                "memory": memory(taken[-1]) if taken else {},
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
        measured = [bits_per_byte(row) for row in evaluations.get(phase, ())]
        held_out = {category for scores in measured for category in scores}
        for category in sorted({*found.get("rows", {}), *held_out}):
            scores = [values[category] for values in measured if category in values]
            rows.append(
                {
                    "phase": phase,
                    "category": category,
                    "rows": found.get("rows", {}).get(category),
                    "epochs": found.get("epochs", {}).get(category),
                    "readings": found.get("readings", {}).get(category),
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
