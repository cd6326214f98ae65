"""Runs stage ingest: divides the input into parts, and writes each one's documents."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

from infra.context import WARNING, Context
from infra.ledger import Ledger
from infra.remote.locations import is_remote
from infra.stage import Outcome, Pin, StageError
from tasks.ingest import rejected
from tasks.ingest.fields import FieldTally, missing_text, notes_on
from tasks.ingest.page_language import LanguageCounts, merge, rows_of
from tasks.ingest.part import ingest_part
from tasks.ingest.parts import PartInput, Reader, part_plan
from tasks.ingest.raw_documents import INDEX
from tasks.ingest.stage import WITH_FIELDS, IngestParameters

_FILES_SHOWN = 3


def run(context: Context) -> Outcome:
    """Read every pinned file; see `IngestParameters`."""
    parameters: IngestParameters = context.parameters
    items, files, counts = _parts(context)
    results = (
        context.map(ingest_part, _with_following(context, items))
        if parameters.limit is None
        else _limited(context, items, parameters.limit)
    )
    statistics, tally = Counter[str](), FieldTally()
    gone: set[str] = set()
    damaged = Counter[str]()
    for result in results.values():
        statistics.update(result["statistics"])
        tally.merge(result["fields"])
        gone.update(result["gone"])
        damaged.update(result["damaged"])
    fetched = {path: sha256 for result in results.values() for path, sha256 in result["fetched"]}
    _refuse_equal(context.name, files, fetched)
    if parameters.format in WITH_FIELDS and (
        reason := missing_text(context.name, parameters.fields, tally)
    ):
        raise StageError(reason)
    if gone:
        counts["gone_files"] = len(gone)
        _warn_of_gone(context, gone, counts["files"])
    ledger = Ledger.merged(result["ledger"] for result in results.values())
    if parameters.select is not None:
        _refuse_wrong_places(context, ledger)
    counts |= dict(sorted(statistics.items()))
    if fetched:
        counts["fetched_files"] = len(fetched)
        with context.record("inputs.json") as path:
            path.write_text(json.dumps(fetched, indent=1), encoding="utf-8")
    languages: LanguageCounts = {}
    for result in results.values():
        merge(languages, result["languages"])
    if languages:
        counts["page_languages"] = rows_of(languages)
    with context.record(rejected.FILE) as path:
        sample = {"records": rejected.merged(result["rejected"] for result in results.values())}
        path.write_text(json.dumps(sample, ensure_ascii=False, indent=1), encoding="utf-8")
    if parameters.format in WITH_FIELDS:
        counts["fields"] = dict(sorted((+tally.usable).items()))
        counts["notes"] = notes_on(parameters.fields, tally)
    if damaged:
        counts.setdefault("notes", []).append(
            _note_on_damage(context.name, damaged, counts["files"])
        )
    return Outcome(counts, ledger.to_json())


def _parts(context: Context) -> tuple[dict[str, PartInput], list[Pin], dict[str, Any]]:
    """(parts by key, files that are read whole, counts of files)."""
    parameters: IngestParameters = context.parameters
    if parameters.format == "commoncrawl":
        from tasks.ingest.commoncrawl.parts import parts_of_crawls

        return parts_of_crawls(context)
    pins, reader, options = _input(context)
    files: dict[str, Pin] = {}
    for pin in pins:
        # The same content under two names would yield every id twice. That of some remote objects
        # is known only when they have been read (`_refuse_equal`).
        files.setdefault(pin.sha256 or pin.path, pin)
    items = {
        f"part-{number:05d}": PartInput(
            context.name, group, parameters, reader, options, context.access
        )
        for number, group in enumerate(part_plan(files.values(), reader))
    }
    counts = {"files": len(files), "repeated_files": len(pins) - len(files)}
    if empty := sum(pin.bytes == 0 for pin in files.values()):
        counts["empty_files"] = empty
    return items, list(files.values()), counts


def _with_following(context: Context, items: dict[str, PartInput]) -> dict[str, PartInput]:
    """The parts, each with the object that the part begins with which its worker most likely does
    next: as many parts on as there are workers, of those that are not done.
    """
    if not any(file.slices and is_remote(file.slices[0].pin.path) for file in items.values()):
        return items
    todo = [key for key in items if context.attempt.completed(key) is None]
    later = dict(zip(todo, todo[context.engine.workers :], strict=False))
    return items | {
        key: replace(items[key], following=items[after].slices[0].pin)
        for key, after in later.items()
    }


def _refuse_equal(source: str, files: Iterable[Pin], fetched: Mapping[str, str]) -> None:
    """Refuse a remote object whose content another file of the source has too: its documents would
    be there twice, under the same ids.
    """
    seen: dict[str, str] = {}
    for pin in files:
        sha256 = fetched.get(pin.path, pin.sha256)
        if sha256 and (other := seen.setdefault(sha256, pin.path)) != pin.path:
            raise StageError(
                f"source {source}: {pin.path} and {other} have the same content (sha256 "
                f"{sha256[:12]}), so that each document would be there twice; name one of them"
            )


def _input(context: Context) -> tuple[tuple[Pin, ...], Reader, Mapping[str, Any]]:
    """(files, how they are read, what else their reader needs)."""
    parameters: IngestParameters = context.parameters
    if parameters.format == "hf":
        from tasks.ingest.hub.pinning import reading

        return reading(parameters, context.pins["dataset"])
    return context.pins["paths"], cast(Reader, parameters.format), {}


def _refuse_wrong_places(context: Context, ledger: Ledger) -> None:
    """Refuse an index that is of other archives than those that are there."""
    parameters: IngestParameters = context.parameters
    wrong = ledger.documents("failed", INDEX)
    if wrong > parameters.missing_share * ledger.documents("read"):
        raise StageError(
            f"source {context.name}: {wrong:,} of {ledger.documents('read'):,} records are not "
            f"where the index says, more than missing_share allows ({parameters.missing_share:.2%})"
            f": {parameters.host} has other archives than the index is of, or answers with "
            "something else. Check host, or raise it"
        )


def _warn_of_gone(context: Context, gone: Collection[str], files: int) -> None:
    """Say which listed files are not there; refuse to go on without too many of them."""
    parameters: IngestParameters = context.parameters
    named = ", ".join(sorted(gone)[:_FILES_SHOWN])
    what = f"{len(gone):,} of {files:,} listed files are gone from {parameters.host}: {named}"
    if len(gone) > parameters.missing_share * files:
        raise StageError(
            f"source {context.name}: {what}. That is more than missing_share allows "
            f"({parameters.missing_share:.2%}): try again later with --force "
            f"ingest/{context.name}, or raise it"
        )
    context.progress(1, 1, f"{WARNING}: {what}")


def _note_on_damage(source: str, damaged: Mapping[str, int], files: int) -> str:
    """What could not be read of which files, most bytes first."""
    worst = sorted(damaged.items(), key=lambda item: (-item[1], item[0]))
    named = ", ".join(f"{file}: {lost:,}" for file, lost in worst[:_FILES_SHOWN])
    more = f", {len(worst) - _FILES_SHOWN:,} more" if len(worst) > _FILES_SHOWN else ""
    return (
        f"{sum(damaged.values()):,} bytes of {len(damaged):,} of {files:,} files could not be "
        f"read ({named}{more}). Are these files whole? `puna inspect --stage ingest --source "
        f"{source} --dropped` shows where"
    )


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
