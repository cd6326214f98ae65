"""Files to parts of documents: the part plan, sampling, limits, and the Parquet parts themselves."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.context import Context
from infra.stage import Outcome, Pin
from infra.store import Shard
from tasks.documents.ledger import Ledger
from tasks.documents.schema import COMPRESSION, DOCUMENTS, ROW_GROUP_DOCUMENTS
from tasks.ingest.clean import clean
from tasks.ingest.found import Found, Rejected, Wanted
from tasks.ingest.lines import jsonl_documents, text_documents
from tasks.ingest.stage import IngestParameters
from tasks.ingest.web import web_documents

PART_BYTES = 64 << 20
"""Consecutive files are read into one part until they hold this many bytes."""

ROW_GROUP_TEXT_BYTES = 64 << 20
"""A row group ends at this much text, or at `ROW_GROUP_DOCUMENTS`."""


@dataclass(frozen=True)
class Part:
    """The files of one part, in order; at most `limit` documents are kept of them."""

    source: str
    files: tuple[Pin, ...]
    parameters: IngestParameters
    limit: int | None = None


def run(context: Context) -> Outcome:
    """Read every pinned file of `paths`; see `IngestParameters`."""
    parameters: IngestParameters = context.parameters
    files: dict[str, Pin] = {}
    for pin in context.pins["paths"]:
        files.setdefault(pin.sha256, pin)  # the same content under two names would give every id twice
    groups = enumerate(part_plan(files.values()))
    items = {f"part-{number:05d}": Part(context.name, group, parameters) for number, group in groups}
    results = (
        context.map(ingest_part, items) if parameters.limit is None else _limited(context, items, parameters.limit)
    )
    statistics = Counter[str]()
    for result in results.values():
        statistics.update(result["statistics"])
    ledger = Ledger.merged(result["ledger"] for result in results.values())
    repeated = len(context.pins["paths"]) - len(files)
    return Outcome(
        {"files": len(files), "repeated_files": repeated, **dict(sorted(statistics.items()))}, ledger.to_json()
    )


def _limited(context: Context, items: dict[str, Part], limit: int) -> dict[str, dict[str, Any]]:
    """Parts one after the other, each told what is left of the limit: the first N documents, whatever the engine."""
    results: dict[str, dict[str, Any]] = {}
    for key, part in items.items():
        item = Part(part.source, part.files, part.parameters, limit)
        results |= context.map(ingest_part, {key: item})
        limit -= results[key]["statistics"]["documents"]
        if limit == 0:
            break
    return results


def part_plan(files: Iterable[Pin]) -> Iterator[tuple[Pin, ...]]:
    """Consecutive files in groups of at least `PART_BYTES` (the last may be smaller): few parts for many small files.

    A part reads its files one after the other, so a file larger than that is a part of its own.
    """
    group: list[Pin] = []
    for pin in files:
        group.append(pin)
        if sum(member.bytes for member in group) >= PART_BYTES:
            yield tuple(group)
            group = []
    if group:
        yield tuple(group)


def ingest_part(part: Part, shard: Shard) -> dict[str, Any]:
    """Write one part; returns its statistics and ledger. What a worker runs."""
    ledger = Ledger()
    statistics = Counter[str](documents=0, characters=0, text_bytes=0, payload_bytes=0, lost_bytes=0)
    kept = _kept(part, ledger, statistics)
    with (
        shard.create(f"{shard.key}.parquet") as path,
        pq.ParquetWriter(path, DOCUMENTS, compression=COMPRESSION) as writer,
    ):
        for rows in _row_groups(itertools.islice(kept, part.limit)):
            writer.write_table(pa.Table.from_pylist(rows, DOCUMENTS))
    return {"statistics": dict(sorted(statistics.items())), "ledger": ledger.to_json()}


def _kept(part: Part, ledger: Ledger, statistics: Counter[str]) -> Iterator[dict[str, Any]]:
    """The documents of a part that stay, with every record counted before the next one is read."""
    for pin in part.files:
        digest = bytes.fromhex(pin.sha256)
        for found in _read(pin, digest, part.parameters):
            outcome = _judge(found, part.parameters)
            statistics["payload_bytes"] += outcome.payload_bytes
            if isinstance(outcome, Rejected):
                statistics["lost_bytes"] += outcome.lost_bytes
                ledger.add(part.source, None, "read")
                ledger.add(part.source, None, outcome.side, outcome.reason)
                continue
            size = len(outcome.text.encode())
            statistics["documents"] += 1
            statistics["text_bytes"] += size
            statistics["characters"] += len(outcome.text)
            for side in ("read", "kept"):
                ledger.add(part.source, None, side, bytes=size)
            yield {
                "id": document_id(digest, outcome.offset, outcome.inner),
                "text": outcome.text,
                "prompt": outcome.prompt,
                "url": outcome.url,
                "date": outcome.date,
                "source": part.source,
                "file": pin.name,
                "offset": outcome.offset + outcome.inner,
            }


def _judge(found: Found | Rejected, parameters: IngestParameters) -> Found | Rejected:
    """Clean a document's strings and drop it when it is too short or too long."""
    if isinstance(found, Rejected):
        return found
    text = clean(found.text).strip("\n")
    if len(text.strip()) < parameters.min_characters:
        return Rejected("dropped", "too_short", found.payload_bytes)
    if len(text.encode()) > parameters.max_text_bytes:
        return Rejected("dropped", "text_too_large", found.payload_bytes)
    return Found(
        found.offset, found.inner, text, clean(found.prompt), clean(found.url), found.date, found.payload_bytes
    )


def _read(pin: Pin, digest: bytes, parameters: IngestParameters) -> Iterator[Found | Rejected]:
    path = Path(pin.path)
    wanted = _sampler(digest, parameters.sample)
    limit = parameters.max_page_bytes
    match parameters.format:
        case "warc" | "wet":
            return web_documents(path, wanted, wet=parameters.format == "wet", max_page_bytes=limit)
        case "jsonl":
            return jsonl_documents(path, wanted, fields=parameters.fields, max_page_bytes=limit)
        case "text":
            return text_documents(path, wanted, split=parameters.split, max_page_bytes=limit)


def document_id(file_sha256: bytes, offset: int, inner: int) -> str:
    """32 hex digits: blake2b-128 of the file's sha256 and the record's place in it (member offset, place inside)."""
    place = offset.to_bytes(8, "little") + inner.to_bytes(8, "little")
    return hashlib.blake2b(file_sha256 + place, digest_size=16).hexdigest()


def _sampler(file_sha256: bytes, share: float) -> Wanted:
    if share == 1:
        return lambda offset, inner: True
    limit = int(share * 2**64)
    return lambda offset, inner: int(document_id(file_sha256, offset, inner)[:16], 16) < limit


def _row_groups(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += len(row["text"])
        if len(group) == ROW_GROUP_DOCUMENTS or size >= ROW_GROUP_TEXT_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
