"""Runs stage ingest: divide the input into parts; read, filter and write each one's documents."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.context import Context
from infra.ledger import Ledger
from infra.stage import Outcome, Pin, StageError
from infra.store import Shard
from tasks.documents.schema import COMPRESSION, DOCUMENTS, ROW_GROUP_DOCUMENTS
from tasks.ingest.clean import clean, cleaned
from tasks.ingest.decompress import compression
from tasks.ingest.fields import FieldTally, missing_text, notes_on
from tasks.ingest.file_kinds import mismatch
from tasks.ingest.lines import ByteRange, jsonl_documents
from tasks.ingest.raw_documents import RawDocument, Rejected, Wanted
from tasks.ingest.stage import IngestParameters
from tasks.ingest.text_files import text_documents
from tasks.ingest.web import web_documents

PARTS = 32
PART_BYTES = (4 << 20, 64 << 20)
"""Smallest and largest size of a part, in bytes of input.

Within these limits, a part is a 32nd (`PARTS`) of the input, so that a small crawl keeps all
workers busy and a large one is not cut into too many files.
"""

ROW_GROUP_TEXT_BYTES = 64 << 20
"""A row group ends at this many characters, or at `ROW_GROUP_DOCUMENTS`."""


@dataclass(frozen=True)
class FileSlice:
    """A file, or a byte range of one."""

    pin: Pin
    byte_range: ByteRange | None = None

    @property
    def bytes(self) -> int:
        """Size of the byte range or file."""
        return self.byte_range.stop - self.byte_range.start if self.byte_range else self.pin.bytes


@dataclass(frozen=True)
class PartInput:
    """The input of one part, in order; only its first `limit` documents are kept."""

    source: str
    slices: tuple[FileSlice, ...]
    parameters: IngestParameters
    limit: int | None = None


def run(context: Context) -> Outcome:
    """Read every pinned file of `paths`; see `IngestParameters`."""
    parameters: IngestParameters = context.parameters
    files: dict[str, Pin] = {}
    for pin in context.pins["paths"]:
        # The same content under two names would yield every id twice.
        files.setdefault(pin.sha256, pin)
    parts = enumerate(part_plan(files.values(), parameters.format))
    items = {
        f"part-{number:05d}": PartInput(context.name, slices, parameters)
        for number, slices in parts
    }
    results = (
        context.map(ingest_part, items)
        if parameters.limit is None
        else _limited(context, items, parameters.limit)
    )
    statistics, tally = Counter[str](), FieldTally()
    for result in results.values():
        statistics.update(result["statistics"])
        tally.merge(result["fields"])
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
    field_statistics: dict[str, Any] = {}
    if parameters.format == "jsonl":
        field_statistics = {
            "fields": dict(sorted(tally.usable.items())),
            "notes": notes_on(parameters.fields, tally),
        }
    return Outcome({**counts, **field_statistics}, ledger.to_json())


def _limited(
    context: Context, items: dict[str, PartInput], limit: int
) -> dict[str, dict[str, Any]]:
    """Read parts one after the other, each up to the rest of the limit.

    This yields the first N documents with any engine.
    """
    results: dict[str, dict[str, Any]] = {}
    for key, part in items.items():
        item = PartInput(part.source, part.slices, part.parameters, limit)
        results |= context.map(ingest_part, {key: item})
        limit -= results[key]["statistics"]["documents"]
        if limit == 0:
            break
    return results


def part_plan(files: Iterable[Pin], format: str) -> Iterator[tuple[FileSlice, ...]]:
    """The input of each part: consecutive files until they reach a part's size (`PART_BYTES`).

    A larger file is one part, unless it is uncompressed JSONL, which is cut at lines. The plan
    depends only on the files, never on the machine.
    """
    pins = list(files)
    size = min(max(sum(pin.bytes for pin in pins) // PARTS, PART_BYTES[0]), PART_BYTES[1])
    group: list[FileSlice] = []
    for file_slice in itertools.chain.from_iterable(_cut(pin, size, format) for pin in pins):
        group.append(file_slice)
        if sum(member.bytes for member in group) >= size:
            yield tuple(group)
            group = []
    if group:
        yield tuple(group)


def _cut(pin: Pin, size: int, format: str) -> Iterator[FileSlice]:
    if format != "jsonl" or pin.bytes < 2 * size or compression(Path(pin.path)):
        yield FileSlice(pin)
        return
    count = pin.bytes // size
    edges = [number * pin.bytes // count for number in range(count + 1)]
    for start, stop in itertools.pairwise(edges):
        yield FileSlice(pin, ByteRange(start, stop))


def ingest_part(part: PartInput, shard: Shard) -> dict[str, Any]:
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
    tally = FieldTally()
    rows = _kept(part, ledger, statistics, tally)
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
    }


def _kept(
    part: PartInput, ledger: Ledger, statistics: Counter[str], tally: FieldTally
) -> Iterator[tuple[Any, ...]]:
    """Yield the documents that a part keeps, in the columns of `DOCUMENTS`.

    Counts each document in `statistics` before reading the next. Enters rejected records in
    `ledger`, and the fields of JSON records in `tally`.
    """
    for file_slice in part.slices:
        pin = file_slice.pin
        digest = bytes.fromhex(pin.sha256)
        for record in _read(file_slice, digest, part.parameters, tally):
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


def _judge(raw: RawDocument | Rejected, parameters: IngestParameters) -> RawDocument | Rejected:
    """Clean a document's strings; reject it if prompt and text together are too short or long."""
    if isinstance(raw, Rejected):
        return raw
    (text, removed), (prompt, removed_from_prompt) = cleaned(raw.text), cleaned(raw.prompt)
    text = text.strip("\n")
    characters = len(text.strip())
    if not characters or characters + len(prompt.strip()) < parameters.min_characters:
        return Rejected("dropped", "too_short", raw.payload_bytes)
    if _utf8_bytes(text) + _utf8_bytes(prompt) > parameters.max_text_bytes:
        return Rejected("dropped", "text_too_large", raw.payload_bytes)
    removed += raw.removed + removed_from_prompt
    return replace(raw, text=text, prompt=prompt, url=clean(raw.url), removed=removed)


def _read(
    file_slice: FileSlice, digest: bytes, parameters: IngestParameters, tally: FieldTally
) -> Iterator[RawDocument | Rejected]:
    path = Path(file_slice.pin.path)
    other = mismatch(path, parameters.format)
    if other and not other.readable:
        # Count a file of another format once, even if it is read in several slices.
        if file_slice.byte_range and file_slice.byte_range.start:
            return iter(())
        return iter([Rejected("failed", other.reason, lost_bytes=file_slice.pin.bytes)])
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
                byte_range=file_slice.byte_range,
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
