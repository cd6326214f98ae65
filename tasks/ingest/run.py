"""Runs stage ingest: divides the input into parts, and writes each one's documents."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, cast

from infra.context import WARNING, Context
from infra.ledger import Ledger
from infra.stage import Outcome, Pin, StageError
from tasks.ingest.fields import FieldTally, missing_text, notes_on
from tasks.ingest.part import ingest_part
from tasks.ingest.parts import PartInput, Reader, part_plan
from tasks.ingest.stage import WITH_FIELDS, IngestParameters

_GONE_SHOWN = 3


def run(context: Context) -> Outcome:
    """Read every pinned file; see `IngestParameters`."""
    parameters: IngestParameters = context.parameters
    items, counts = _parts(context)
    results = (
        context.map(ingest_part, items)
        if parameters.limit is None
        else _limited(context, items, parameters.limit)
    )
    statistics, tally = Counter[str](), FieldTally()
    contents: dict[str, str] = {}
    gone: set[str] = set()
    for result in results.values():
        statistics.update(result["statistics"])
        tally.merge(result["fields"])
        contents |= result.get("contents", {})
        gone.update(result.get("gone", ()))
    if parameters.format in WITH_FIELDS and (
        reason := missing_text(context.name, parameters.fields, tally)
    ):
        raise StageError(reason)
    _refuse_equal(context, contents)
    if gone:
        counts["gone_files"] = len(gone)
        _warn_of_gone(context, gone, counts["files"])
    if contents:
        with context.record("inputs.json") as path:
            path.write_text(json.dumps(contents, indent=1), encoding="utf-8")
    ledger = Ledger.merged(result["ledger"] for result in results.values())
    counts |= dict(sorted(statistics.items()))
    if parameters.format in WITH_FIELDS:
        counts["fields"] = dict(sorted((+tally.usable).items()))
        counts["notes"] = notes_on(parameters.fields, tally)
    return Outcome(counts, ledger.to_json())


def _parts(context: Context) -> tuple[dict[str, PartInput], dict[str, Any]]:
    """(parts by key, counts of files)."""
    parameters: IngestParameters = context.parameters
    if parameters.format == "commoncrawl":
        from tasks.ingest.commoncrawl.parts import parts_of_crawls

        return parts_of_crawls(context)
    pins, reader, options = _input(context)
    files: dict[str, Pin] = {}
    for pin in pins:
        # Equal content under two names would yield every id twice.
        files.setdefault(pin.identity, pin)
    items = {
        f"part-{number:05d}": PartInput(
            context.name, group, parameters, reader, options, context.access
        )
        for number, group in enumerate(part_plan(files.values(), reader))
    }
    counts = {"files": len(files), "repeated_files": len(pins) - len(files)}
    if empty := sum(pin.bytes == 0 for pin in files.values()):
        counts["empty_files"] = empty
    return items, counts


def _input(context: Context) -> tuple[tuple[Pin, ...], Reader, Mapping[str, Any]]:
    """(files, how they are read, what else their reader needs)."""
    parameters: IngestParameters = context.parameters
    if parameters.format == "hf":
        from tasks.ingest.hub.pinning import reading

        return reading(parameters, context.pins["dataset"])
    return context.pins["paths"], cast(Reader, parameters.format), {}


def _refuse_equal(context: Context, contents: Mapping[str, str]) -> None:
    """Refuse a remote file whose content another file of the source has too: each document would
    be there twice, under one id.
    """
    seen: dict[str, str] = {}
    for pins in context.pins.values():
        for pin in pins:
            sha256 = contents.get(pin.path, pin.sha256)
            other = seen.setdefault(sha256, pin.path) if sha256 else pin.path
            if other != pin.path and (pin.path in contents or other in contents):
                raise StageError(
                    f"source {context.name}: {pin.path} and {other} have the same content "
                    f"(sha256 {sha256[:12]}), so that each document would be there twice; name one "
                    "of them"
                )


def _warn_of_gone(context: Context, gone: Collection[str], files: int) -> None:
    """Say which listed files are not there; refuse to go on without too many of them."""
    parameters: IngestParameters = context.parameters
    named = ", ".join(sorted(gone)[:_GONE_SHOWN])
    what = f"{len(gone):,} of {files:,} listed files are gone from {parameters.host}: {named}"
    if len(gone) > parameters.missing_share * files:
        raise StageError(
            f"source {context.name}: {what}. That is more than missing_share allows "
            f"({parameters.missing_share:.2%}): try again later with --force "
            f"ingest/{context.name}, or raise it"
        )
    context.progress(1, 1, f"{WARNING}: {what}")


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
