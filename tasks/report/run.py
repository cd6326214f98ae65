"""Writes the report of a run: its numbers as JSON, and an HTML page that shows them."""

from __future__ import annotations

import json
from typing import Any

from infra.context import Context
from infra.stage import Outcome
from infra.store import Shard
from tasks.report.page import page
from tasks.report.summary import summary

SUMMARY = "summary.json"
PAGE = "report.html"


def run(context: Context) -> Outcome:
    """Write `data/summary.json`, then `records/report.html`, which adds metrics and timings."""
    numbers = summary(context.inputs)
    context.map(_write_summary, {"summary": numbers}, here=True)
    parameters = context.parameters
    with context.record(PAGE) as path:
        drawn = page(
            parameters.recipe,
            context.inputs,
            numbers,
            parameters.stated,
            parameters.dollars_per_hour,
        )
        path.write_text(drawn, encoding="utf-8")
    return Outcome({"artifacts": sum(len(artifacts) for artifacts in context.inputs.values())})


def _write_summary(numbers: dict[str, Any], shard: Shard) -> dict[str, Any]:
    with shard.create(SUMMARY) as path:
        path.write_text(json.dumps(numbers, ensure_ascii=False, indent=1), encoding="utf-8")
    return {}
