"""Runs stage ingest: plans the parts, then reads, filters and writes the documents of each."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.context import Context
from infra.ledger import Ledger
from infra.remote.access import Access
from infra.remote.ahead import local_pins
from infra.remote.locations import is_remote
from infra.stage import Outcome, Pin, StageError
from infra.store import Shard
from tasks.documents.schema import COMPRESSION, DOCUMENTS, ROW_GROUP_DOCUMENTS
from tasks.ingest.clean import clean, cleaned
from tasks.ingest.fields import Tally, missing_text, notes_on
from tasks.ingest.file_kinds import mismatch
from tasks.ingest.found import Found, Rejected, Wanted
from tasks.ingest.lines import Stretch, jsonl_documents
from tasks.ingest.pieces import compression
from tasks.ingest.stage import IngestParameters
from tasks.ingest.text_files import text_documents
from tasks.ingest.web import web_documents

PARTS = 32
PART_BYTES = (4 << 20, 64 << 20)
"""Smallest and largest size of a part, in bytes of input.

A part is a 32nd (PARTS) of the whole input within these limits, so that a small crawl keeps all
workers busy and a large one is not cut into too many files.
"""

ROW_GROUP_TEXT_BYTES = 64 << 20
"""A row group ends at this many characters, or at `ROW_GROUP_DOCUMENTS`."""


@dataclass(frozen=True)
class Piece:
    """A file, or a stretch of one."""

    pin: Pin
    stretch: Stretch | None = None

    @property
    def bytes(self) -> int:
        """Size of the stretch, or of the whole file."""
        return self.stretch.stop - self.stretch.start if self.stretch else self.pin.bytes


@dataclass(frozen=True)
class Part:
    """The input of one part, in order; only its first `limit` documents are kept."""

    source: str
    pieces: tuple[Piece, ...]
    parameters: IngestParameters
    access: Access
    following: Pin | None = None
    """A remote object that a later part begins with, fetched while this one's last is read."""
    limit: int | None = None


def run(context: Context) -> Outcome:
    """Read every pinned file of `paths`; see `IngestParameters`."""
    parameters: IngestParameters = context.parameters
    files: dict[str, Pin] = {}
    for pin in context.pins["paths"]:
        # Equal content under two names would yield every id twice. That of remote objects is
        # known when they have been read (`_refuse_equal`).
        files.setdefault(pin.sha256 or pin.path, pin)
    groups = enumerate(part_plan(files.values(), parameters.format))
    items = {
        f"part-{number:05d}": Part(context.name, group, parameters, context.access)
        for number, group in groups
    }
    results = (
        context.map(ingest_part, _with_following(context, items))
        if parameters.limit is None
        else _limited(context, items, parameters.limit)
    )
    statistics, tally = Counter[str](), Tally()
    for result in results.values():
        statistics.update(result["statistics"])
        tally.merge(result["fields"])
    fetched = {path: sha256 for result in results.values() for path, sha256 in result["fetched"]}
    _refuse_equal(context.name, files.values(), fetched)
    if parameters.format == "jsonl" and (
        reason := missing_text(context.name, parameters.fields, tally)
    ):
        raise StageError(reason)
    ledger = Ledger.merged(result["ledger"] for result in results.values())
    repeated = len(context.pins["paths"]) - len(files)
    empty = sum(pin.bytes == 0 for pin in files.values())
    counts = {"files": len(files), "repeated_files": repeated, **dict(sorted(statistics.items()))}
    if empty:
        counts["empty_files"] = empty
    if fetched:
        counts["fetched_files"] = len(fetched)
        with context.record("inputs.json") as path:
            path.write_text(json.dumps(fetched, indent=1), encoding="utf-8")
    field_statistics: dict[str, Any] = {}
    if parameters.format == "jsonl":
        field_statistics = {
            "fields": dict(sorted(tally.found.items())),
            "notes": notes_on(parameters.fields, tally),
        }
    return Outcome({**counts, **field_statistics}, ledger.to_json())


def _with_following(context: Context, items: dict[str, Part]) -> dict[str, Part]:
    """The parts, each with the object that the part begins with which its worker most likely does
    next: as many parts on as there are workers, of those that are not done.
    """
    if not any(is_remote(part.pieces[0].pin.path) for part in items.values()):
        return items
    todo = [key for key in items if context.attempt.completed(key) is None]
    later = dict(zip(todo, todo[context.engine.workers :], strict=False))
    return items | {
        key: replace(items[key], following=items[after].pieces[0].pin)
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


def _limited(context: Context, items: dict[str, Part], limit: int) -> dict[str, dict[str, Any]]:
    """Read parts one after the other, each up to what is left of the limit.

    So the result is the first N documents, whatever the engine.
    """
    results: dict[str, dict[str, Any]] = {}
    for key, part in items.items():
        item = replace(part, limit=limit)
        results |= context.map(ingest_part, {key: item})
        limit -= results[key]["statistics"]["documents"]
        if limit == 0:
            break
    return results


def part_plan(files: Iterable[Pin], format: str) -> Iterator[tuple[Piece, ...]]:
    """The input of each part: consecutive files until they reach a part's size (`PART_BYTES`).

    A larger file is a part of its own, except that a local file of uncompressed JSONL is cut into
    stretches of lines. The plan depends on the files only, never on the machine.
    """
    pins = list(files)
    size = min(max(sum(pin.bytes for pin in pins) // PARTS, PART_BYTES[0]), PART_BYTES[1])
    group: list[Piece] = []
    for piece in itertools.chain.from_iterable(_cut(pin, size, format) for pin in pins):
        group.append(piece)
        if sum(member.bytes for member in group) >= size:
            yield tuple(group)
            group = []
    if group:
        yield tuple(group)


def _cut(pin: Pin, size: int, format: str) -> Iterator[Piece]:
    whole = format != "jsonl" or is_remote(pin.path) or pin.bytes < 2 * size
    if whole or compression(Path(pin.path)):
        yield Piece(pin)
        return
    count = pin.bytes // size
    edges = [number * pin.bytes // count for number in range(count + 1)]
    for start, stop in itertools.pairwise(edges):
        yield Piece(pin, Stretch(start, stop))


def ingest_part(part: Part, shard: Shard) -> dict[str, Any]:
    """Write one part (runs in a worker); returns its statistics, ledger and tally of fields."""
    ledger = Ledger()
    statistics = Counter[str](
        documents=0,
        characters=0,
        text_bytes=0,
        payload_bytes=0,
        lost_bytes=0,
        undecoded_characters=0,
        removed_characters=0,
    )
    tally = Tally()
    fetched: dict[str, str] = {}
    rows = _kept(part, ledger, statistics, tally, fetched)
    with (
        shard.create(f"{shard.key}.parquet") as path,
        pq.ParquetWriter(path, DOCUMENTS, compression=COMPRESSION) as writer,
    ):
        for group in _row_groups(itertools.islice(rows, part.limit)):
            columns = zip(zip(*group, strict=True), DOCUMENTS.types, strict=True)
            writer.write_table(
                pa.table([pa.array(values, type_) for values, type_ in columns], schema=DOCUMENTS)
            )
    documents, size = statistics["documents"], statistics["text_bytes"]
    if documents:
        ledger.add(part.source, None, "read", documents=documents, bytes=size)
        ledger.add(part.source, None, "kept", documents=documents, bytes=size)
    return {
        "statistics": dict(sorted(statistics.items())),
        "ledger": ledger.to_json(),
        "fields": tally.to_json(),
        "fetched": sorted(fetched.items()),
    }


def _kept(
    part: Part,
    ledger: Ledger,
    statistics: Counter[str],
    tally: Tally,
    fetched: dict[str, str],
) -> Iterator[tuple[Any, ...]]:
    """Yield the documents kept of a part, in the columns of `DOCUMENTS`.

    Each is counted in `statistics` before the next is read. Rejected records are entered in
    `ledger`, the fields of JSON records in `tally`, remote objects with their sha256 in `fetched`.
    An object is read once it is here, all of it; the next one is fetched meanwhile.
    """
    local = local_pins([piece.pin for piece in part.pieces], part.access, part.following)
    for given, pin in zip(part.pieces, local, strict=True):
        piece = replace(given, pin=pin)
        if is_remote(given.pin.path):
            fetched[given.pin.path] = pin.sha256
        digest = bytes.fromhex(pin.sha256)
        for record in _read(piece, digest, part.parameters, tally):
            outcome = _judge(record, part.parameters)
            statistics["payload_bytes"] += outcome.payload_bytes
            if isinstance(outcome, Rejected):
                statistics["lost_bytes"] += outcome.lost_bytes
                ledger.add(part.source, None, "read")
                ledger.add(part.source, None, outcome.side, outcome.reason)
                continue
            statistics["documents"] += 1
            statistics.update(f"{mark}_documents" for mark in outcome.marks)
            statistics["text_bytes"] += _utf8_bytes(outcome.text) + _utf8_bytes(outcome.prompt)
            statistics["characters"] += len(outcome.text) + len(outcome.prompt)
            statistics["undecoded_characters"] += outcome.text.count("\ufffd")
            statistics["removed_characters"] += outcome.removed
            yield (
                document_id(digest, outcome.offset, outcome.inner),
                outcome.text,
                outcome.prompt,
                outcome.url,
                outcome.date,
                part.source,
                pin.name,
                outcome.offset + outcome.inner,
            )


def _utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _judge(found: Found | Rejected, parameters: IngestParameters) -> Found | Rejected:
    """Clean a document's strings; reject it if prompt and text together are too short or long."""
    if isinstance(found, Rejected):
        return found
    (text, removed), (prompt, removed_of_prompt) = cleaned(found.text), cleaned(found.prompt)
    text = text.strip("\n")
    characters = len(text.strip())
    if not characters or characters + len(prompt.strip()) < parameters.min_characters:
        return Rejected("dropped", "too_short", found.payload_bytes)
    if _utf8_bytes(text) + _utf8_bytes(prompt) > parameters.max_text_bytes:
        return Rejected("dropped", "text_too_large", found.payload_bytes)
    removed += found.removed + removed_of_prompt
    return replace(found, text=text, prompt=prompt, url=clean(found.url), removed=removed)


def _read(
    piece: Piece, digest: bytes, parameters: IngestParameters, tally: Tally
) -> Iterator[Found | Rejected]:
    path = Path(piece.pin.path)
    other = mismatch(path, parameters.format)
    if other and not other.readable:
        # Count a file of another format as one failure, also if it is read in several stretches.
        return iter(
            ()
            if piece.stretch and piece.stretch.start
            else [Rejected("failed", other.reason, lost_bytes=piece.pin.bytes)]
        )
    wanted = _sampler(digest, parameters.sample)
    limit = parameters.max_page_bytes
    match parameters.format:
        case "warc" | "wet":
            return web_documents(path, wanted, wet=parameters.format == "wet", max_page_bytes=limit)
        case "jsonl":
            return jsonl_documents(
                path,
                wanted,
                fields=parameters.fields,
                max_page_bytes=limit,
                stretch=piece.stretch,
                tally=tally,
            )
        case "text":
            return text_documents(path, wanted, split=parameters.split, max_page_bytes=limit)


def document_id(file_sha256: bytes, offset: int, inner: int) -> str:
    """32 hex digits: blake2b-128 of the file's sha256 and the record's place (`records.Record`)."""
    place = offset.to_bytes(8, "little") + inner.to_bytes(8, "little")
    return hashlib.blake2b(file_sha256 + place, digest_size=16).hexdigest()


def _sampler(file_sha256: bytes, share: float) -> Wanted:
    if share == 1:
        return lambda offset, inner: True
    limit = int(share * 2**64)
    return lambda offset, inner: int(document_id(file_sha256, offset, inner)[:16], 16) < limit


def _row_groups(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    text, prompt = DOCUMENTS.get_field_index("text"), DOCUMENTS.get_field_index("prompt")
    group: list[tuple[Any, ...]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += len(row[text]) + len(row[prompt])
        if len(group) == ROW_GROUP_DOCUMENTS or size >= ROW_GROUP_TEXT_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
