"""What the sources of a plan take to read from other machines, and what to know of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.planning.plan import Plan, Step
from flows.recipe.sections import Recipe, Source
from infra.remote.errors import Unreachable
from infra.stage import Pin
from tasks.ingest.stage import STAGE as INGEST
from tasks.ingest.stage import IngestParameters

MANY_REQUESTS = 100_000
"""Ranges over https beyond which a warning is due: hours, and a load on a public server."""

SMALL_BYTES = 10**9
"""Below this much to read, no way of reading it is wrong."""

FEW_LANGUAGES = 8
"""Of more, most of a crawl is wanted."""

_REQUEST_S = 0.1
"""A small request over https, answered from another continent."""


@dataclass(frozen=True)
class Readings:
    """`sources`: source -> requests and bytes, estimated; `lines` say it in words."""

    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def readings(recipe: Recipe, plan: Plan) -> Readings:
    """Estimates for the crawls that are to be read. Asks their host where nothing is remembered;
    what does not answer is said to be unknown.

    Raises `StageError` for an index that cannot be used.
    """
    found = Readings()
    for name, step in _ingests(plan).items():
        parameters = recipe.sources[name].ingest
        if parameters.format != "commoncrawl" or step.state != "run":
            continue
        from tasks.ingest.commoncrawl.estimate import estimate

        try:
            reading = estimate(parameters, step.pins, recipe.remote.access())
        except Unreachable as error:
            found.lines.append(f"source {name}: ≈ ? requests ({error})")
            continue
        found.sources[name] = reading.to_json()
        found.lines.append(f"source {name}: {_in_words(reading)}")
        if warning := _wrong_way(reading, parameters, recipe.remote.connections):
            found.warnings.append(f"source {name}: {warning}")
        elif advice := _advice(reading, recipe.sources[name]):
            found.lines.append(f"source {name}: {advice}")
    return found


def notes(recipe: Recipe, plan: Plan) -> Iterator[str]:
    """What is to be known of sources before a run: nothing new, or the same object twice."""
    ingests = _ingests(plan)
    for name, step in ingests.items():
        latest = "latest" in recipe.sources[name].ingest.crawl
        if latest and step.state == "hit" and recipe.loop is None:
            from tasks.ingest.commoncrawl.pinning import ingested

            read = ", ".join(ingested(step.pins))
            yield f"source {name}: nothing new: Common Crawl lists no crawl after {read}"
    whole = {name: _whole(recipe, step) for name, step in ingests.items()}
    yield from _twice(whole)
    for name, step in ingests.items():
        if recipe.sources[name].ingest.select is not None:
            yield from _also_selected(name, step, whole)


def _ingests(plan: Plan) -> dict[str, Step]:
    return {
        step.node.name: step for step in plan.steps.values() if step.node.stage.name == INGEST.name
    }


def _whole(recipe: Recipe, step: Step) -> Sequence[Pin]:
    """The objects that a source reads all of."""
    if recipe.sources[step.node.name].ingest.select is not None:
        return ()
    return [pin for pins in step.pins.values() for pin in pins if _is_archive(pin)]


def _twice(sources: Mapping[str, Sequence[Pin]]) -> Iterator[str]:
    """Pairs of sources that name the same objects."""
    first: dict[str, str] = {}
    shared: dict[tuple[str, str], list[str]] = {}
    for name, pins in sources.items():
        for pin in pins:
            other = first.setdefault(pin.sha256 or (pin.path if pin.etag else pin.name), name)
            if other != name:
                shared.setdefault((other, name), []).append(pin.name)
    for (one, other), names in shared.items():
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        yield (
            f"sources {one} and {other} both read {names[0]}{more}: each document in it comes "
            "twice; remove it from one of them"
        )


def _also_selected(name: str, step: Step, whole: Mapping[str, Sequence[Pin]]) -> Iterator[str]:
    """Sources that read whole archives of which this source selects records."""
    from tasks.ingest.commoncrawl.pinning import ingested

    crawls = {f"crawl-data/{crawl}" for crawl in ingested(step.pins)}
    archives = {pin.name for pin in step.pins.get("crawl", ()) if _is_archive(pin)}
    for other, pins in whole.items():
        names = [pin.name for pin in pins if "/".join(pin.name.split("/")[:2]) in crawls]
        shared = [n for n in names if "/warc/" in n and (not archives or n in archives)]
        if shared:
            yield (
                f"source {name} selects records of {len(shared):,} archives that source {other} "
                f"reads whole, such as {shared[0]}: each of these documents comes twice; remove "
                "one of the two"
            )


def _is_archive(pin: Pin) -> bool:
    return not pin.name.endswith(".paths.gz")


def _in_words(reading: Any) -> str:
    whole = f"{reading.archives:,} archives of ≈ {in_bytes(reading.archive_bytes)}"
    if not reading.index_requests:
        return f"≈ {reading.archives:,} requests, {whole}"
    if not reading.records:
        return (
            f"no record in a sample of the index is wanted; of the index ≈ "
            f"{reading.index_requests:,} requests of ≈ {in_bytes(reading.index_bytes)}, of {whole}"
        )
    share = reading.bytes / max(reading.archive_bytes, 1)
    return (
        f"≈ {reading.range_requests:,} ranges ({reading.records:,} records) of "
        f"≈ {in_bytes(reading.range_bytes)}, and of the index ≈ {reading.index_requests:,} "
        f"requests of ≈ {in_bytes(reading.index_bytes)}: {share:.1%} of {whole}"
    )


def _wrong_way(reading: Any, parameters: IngestParameters, connections: int) -> str:
    """What to do instead, where ranges are many over https or cost more than whole archives."""
    if not reading.index_requests:
        return ""
    if reading.bytes > max(reading.archive_bytes / 2, SMALL_BYTES):
        return (
            f"ranges are {reading.bytes / max(reading.archive_bytes, 1):.0%} of the archives' "
            f"bytes; {_instead_of_select(parameters)}"
        )
    if parameters.host.startswith("s3://") or reading.requests <= MANY_REQUESTS:
        return ""
    hours = reading.requests * _REQUEST_S / connections / 3600
    return (
        f"≈ {reading.requests:,} requests over https take {hours:,.0f} hours or more at "
        f"{connections} at a time, and Common Crawl asks not to: set host: s3://commoncrawl/ on a "
        "machine in us-east-1, take fewer archives (files or sample), or read whole archives"
    )


def _advice(reading: Any, source: Source) -> str:
    """The cheaper of the two ways of reading a crawl, as the next thing to do; "" where the
    estimate does not tell.
    """
    parameters = source.ingest
    if parameters.select is None:
        kept = source.langid.keep.languages if source.langid and source.langid.keep else None
        if not kept or len(kept) > FEW_LANGUAGES or parameters.kind != "warc":
            return ""
        some = f"select: {{languages: [{', '.join(kept)}]}}"
        return (
            f"langid keeps {', '.join(kept)}; with {some} only records in these languages are "
            "fetched: plan it so to see which takes less"
        )
    if not reading.records:
        return ""
    if reading.bytes >= reading.archive_bytes:
        return f"ranges and index cost more than whole archives: {_instead_of_select(parameters)}"
    saved = reading.archive_bytes - reading.bytes
    return f"ranges are the cheaper way, by {in_bytes(saved)}: keep select"


def _instead_of_select(parameters: IngestParameters) -> str:
    """How to have the same documents from whole archives; only languages can be cut later."""
    select = parameters.select
    assert select is not None
    others = [name for name in ("domains", "tlds", "mime") if getattr(select, name)]
    if not others:
        return "read whole archives: leave select out and cut by language (langid.keep.languages)"
    also = " and cut by language (langid.keep.languages)" if select.languages else ""
    return (
        f"read whole archives: leave select out{also}, if pages that {' and '.join(others)} would "
        "leave out may come too"
    )


def in_bytes(size: float) -> str:
    """A size in words, in powers of ten."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError
