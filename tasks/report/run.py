"""Writes the report of a run: its numbers as JSON, and an HTML page that shows them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.context import Context
from infra.stage import Outcome
from infra.store import Artifact, Shard
from tasks.benchmarks.scores import items_of_all, metrics
from tasks.report.summary import summary

SUMMARY = "summary.json"
PAGE = "report.html"
METRICS, EVALUATIONS, SAMPLES = "metrics.jsonl", "evaluations.jsonl", "samples.jsonl"
"""Records of a training phase."""
EXTRACTION_SHOWN = 12
"""Languages in the picture of extraction."""

_BUCKET = re.compile(r"long-text/(?P<category>.+)/(?P<low>[0-9]+)-(?P<high>[0-9]+)")
"""How evaluation names a score of long text in one bucket of positions (bytes)."""


def run(context: Context) -> Outcome:
    """Write `data/summary.json`, then `records/report.html`, which adds metrics and timings."""
    numbers = summary(context.inputs)
    context.map(_write_summary, {"summary": numbers}, here=True)
    with context.record(PAGE) as path:
        path.write_text(page(context.parameters.recipe, context.inputs, numbers), encoding="utf-8")
    return Outcome({"artifacts": sum(len(artifacts) for artifacts in context.inputs.values())})


def _write_summary(numbers: dict[str, Any], shard: Shard) -> dict[str, Any]:
    with shard.create(SUMMARY) as path:
        path.write_text(json.dumps(numbers, ensure_ascii=False, indent=1), encoding="utf-8")
    return {}


def page(recipe: str, inputs: Mapping[str, Sequence[Artifact]], numbers: dict[str, Any]) -> str:
    """The HTML page. `numbers`: what `summary` returned."""
    import jinja2

    from tasks.report import plots, training

    watched = {
        name: {phase.name: training.lines(phase, name) for phase in inputs.get("training", ())}
        for name in (METRICS, EVALUATIONS, SAMPLES)
    }
    pictures: dict[str, Any] = {
        "funnel": plots.funnel(numbers["funnel"]) if numbers["funnel"] else "",
        "languages": plots.bars(_top(numbers["languages"], "language"), "documents")
        if numbers["languages"]
        else "",
        "extraction": plots.extraction(shown[:EXTRACTION_SHOWN])
        if (shown := [row for row in numbers["extraction"] if row["pages"]])
        else "",
        "reasons": plots.bars(_top(numbers["reasons"], "reason"), "documents")
        if numbers["reasons"]
        else "",
        "perplexity": [plots.perplexity(cut) for cut in numbers["cutoffs"]],
        "clusters": plots.cluster_sizes(sizes)
        if (sizes := numbers["duplicates"].get("cluster_sizes"))
        else "",
        "long_text": [
            plots.by_position(name, models)
            for name, models in by_position(numbers["scores"]).items()
        ],
        "compression": [
            plots.compression(groups)
            for kind in ("languages", "categories")
            if (groups := numbers["tokenizer"].get(kind))
        ],
        "curve": plots.size_curve(curve, numbers["tokenizer"]["size"])
        if (curve := numbers["tokenizer_report"].get("curve"))
        else "",
    }
    pictures["training"] = training.pictures(watched[METRICS], watched[EVALUATIONS])
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(
        (Path(__file__).with_name("page.html")).read_text(encoding="utf-8")
    )
    marked = {name: _marked(drawn) for name, drawn in pictures.items()}
    scores = score_rows(numbers["scores"])
    artifacts = [artifact for group in inputs.values() for artifact in group]
    statistics_of = {one.name: one.statistics for one in inputs.get("training", ())}
    return template.render(
        recipe=recipe,
        numbers=numbers,
        phases=training.phase_rows(statistics_of, watched[METRICS]),
        categories=training.category_rows(statistics_of, watched[EVALUATIONS]),
        samples=training.sample_rows(watched[SAMPLES]),
        pictures=marked,
        artifacts=artifacts,
        files=_files(artifacts),
        scores=[row for row in scores if not row["in_bucket"]],
        positions=[row for row in scores if row["in_bucket"]],
        models=list(numbers["scores"]),
    )


def _marked(drawn: Any) -> Any:
    """Pictures as markup, alone or in lists and maps."""
    from markupsafe import Markup

    if isinstance(drawn, dict):
        return {name: _marked(picture) for name, picture in drawn.items()}
    return [Markup(svg) for svg in drawn] if isinstance(drawn, list) else Markup(drawn)


def _top(rows: Sequence[Mapping[str, Any]], name: str, limit: int = 12) -> dict[str, float]:
    counts: dict[str, float] = {}
    for row in rows:
        counts[row[name]] = counts.get(row[name], 0) + row["documents"]
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    top = dict(ordered[:limit])
    if len(ordered) > limit:
        top["others"] = sum(count for _, count in ordered[limit:])
    return top


def _files(artifacts: Sequence[Artifact]) -> list[dict[str, Any]]:
    """Each input file of the run, listed once, with the artifacts that read it."""
    files: dict[tuple[str, str], dict[str, Any]] = {}
    for artifact in artifacts:
        for pins in artifact.manifest.pins.values():
            for pin in pins:
                entry = files.setdefault((pin.name, pin.identity), {**pin.to_json(), "readers": []})
                entry["readers"].append(f"{artifact.stage}/{artifact.name}")
    return list(files.values())


Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Model -> task -> metric -> value."""


def by_position(scores: Scores) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Long text: category -> model -> (middle of a bucket of positions, bits per byte there)."""
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for model, tasks in scores.items():
        for task, row in tasks.items():
            if bucket := _BUCKET.fullmatch(task):
                middle = (int(bucket["low"]) + int(bucket["high"]) + 1) / 2
                points = curves.setdefault(bucket["category"], {}).setdefault(model, [])
                points.append((middle, row["bits_per_byte"]))
    return curves


def score_rows(scores: Scores) -> list[dict[str, Any]]:
    """One row per task and metric, with a cell per model.

    A cell has value, standard error and change against the first model, or the `reason` why there
    is no value. `items`: how many were scored, per model if they differ. `in_bucket`: whether the
    row is about one bucket of positions in long text.
    """
    keys = dict.fromkeys(
        (task, metric)
        for tasks in scores.values()
        for task, score in tasks.items()
        for metric in metrics(score)
    )
    rows: list[dict[str, Any]] = []
    for task, metric in keys:
        cells: list[dict[str, Any]] = []
        for tasks in scores.values():
            score = tasks.get(task, {})
            value = score.get(metric)
            first = cells[0]["value"] if cells else None
            change = value - first if value is not None and first is not None else None
            error = score.get(f"{metric}_stderr")
            judged = _judged(change, error, metric)
            cells.append(
                {
                    "value": value,
                    "stderr": error,
                    "change": change,
                    "judged": judged,
                    "reason": score.get("reason", "-"),
                }
            )
        items = items_of_all([tasks.get(task, {}) for tasks in scores.values()], metric)
        row = {"task": task, "metric": metric, "items": items, "cells": cells}
        rows.append(row | {"in_bucket": _BUCKET.fullmatch(task) is not None})
    return rows


def _judged(change: float | None, error: float | None, metric: str) -> str:
    """CSS class of a change: coloured only beyond twice the standard error (if there is one)."""
    if change is None or abs(change) <= max(2 * (error or 0.0), 5e-4):
        return "soft"
    lower_is_better = metric.startswith(("bits_per", "tokens_per", "padding_share"))
    return "up" if (change < 0) == lower_is_better else "down"
