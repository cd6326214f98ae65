"""Runs stage ingest: divides the input into parts, and writes each one's documents."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from infra.context import Context
from infra.ledger import Ledger
from infra.stage import Outcome, Pin, StageError
from tasks.ingest.fields import FieldTally, missing_text, notes_on
from tasks.ingest.part import ingest_part
from tasks.ingest.parts import PartInput, Reader, part_plan
from tasks.ingest.stage import WITH_FIELDS, IngestParameters


def run(context: Context) -> Outcome:
    """Read every pinned file; see `IngestParameters`."""
    parameters: IngestParameters = context.parameters
    pins, reader, options = _input(context)
    files: dict[str, Pin] = {}
    for pin in pins:
        # Equal content under two names would yield every id twice.
        files.setdefault(pin.identity, pin)
    groups = enumerate(part_plan(files.values(), reader))
    items = {
        f"part-{number:05d}": PartInput(
            context.name, group, parameters, reader, options, context.access
        )
        for number, group in groups
    }
    results = (
        context.map(ingest_part, items)
        if parameters.limit is None
        else _limited(context, items, parameters.limit)
    )
    statistics, tally = Counter[str](), FieldTally()
    contents: dict[str, str] = {}
    for result in results.values():
        statistics.update(result["statistics"])
        tally.merge(result["fields"])
        contents |= result.get("contents", {})
    if parameters.format in WITH_FIELDS and (
        reason := missing_text(context.name, parameters.fields, tally)
    ):
        raise StageError(reason)
    if contents:
        with context.record("inputs.json") as path:
            path.write_text(json.dumps(contents, indent=1), encoding="utf-8")
    ledger = Ledger.merged(result["ledger"] for result in results.values())
    repeated = len(pins) - len(files)
    empty = sum(pin.bytes == 0 for pin in files.values())
    counts = {"files": len(files), "repeated_files": repeated, **dict(sorted(statistics.items()))}
    if empty:
        counts["empty_files"] = empty
    field_statistics: dict[str, Any] = {}
    if parameters.format in WITH_FIELDS:
        field_statistics = {
            "fields": dict(sorted((+tally.usable).items())),
            "notes": notes_on(parameters.fields, tally),
        }
    return Outcome({**counts, **field_statistics}, ledger.to_json())


def _input(context: Context) -> tuple[tuple[Pin, ...], Reader, Mapping[str, Any]]:
    """(files, how they are read, what else their reader needs)."""
    parameters: IngestParameters = context.parameters
    if parameters.format == "hf":
        from tasks.ingest.hub.pinning import reading

        return reading(parameters, context.pins["dataset"])
    return context.pins["paths"], parameters.format, {}


def _limited(
    context: Context, items: dict[str, PartInput], limit: int
) -> dict[str, dict[str, Any]]:
    """Read parts one after the other, each up to what is left of the limit.

    So the result is the first N documents, whatever the engine.
    """
    results: dict[str, dict[str, Any]] = {}
    for key, part in items.items():
        results |= context.map(ingest_part, {key: replace(part, limit=limit)})
        limit -= results[key]["statistics"]["documents"]
        if limit == 0:
            break
    return results
