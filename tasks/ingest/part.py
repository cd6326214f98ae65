"""Writes one part: reads its files, cleans, filters and counts their documents."""

from __future__ import annotations

import itertools
import operator
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.ledger import Ledger, Side
from infra.remote.ahead import local_pins
from infra.remote.errors import NoSuchObject
from infra.remote.locations import is_remote
from infra.stage import Pin
from infra.store import Shard
from tasks.documents.schema import DOCUMENTS, ROW_GROUP_DOCUMENTS, WRITING
from tasks.ingest.clean import clean, cleaned
from tasks.ingest.fields import FieldTally
from tasks.ingest.page_language import LanguageCounts, count_page
from tasks.ingest.parts import PartInput
from tasks.ingest.raw_documents import GONE, INDEX, RawDocument, Rejected
from tasks.ingest.readers import document_id, read_file
from tasks.ingest.rejected import HEAD_BYTES, RejectedSample
from tasks.ingest.stage import IngestParameters
from tasks.ingest.stated import cleaned_stated

ROW_GROUP_TEXT_BYTES = 64 << 20
"""A row group ends at this many characters, or at `ROW_GROUP_DOCUMENTS`."""


@dataclass
class Counts:
    """What became of a part's records.

    `fetched`: remote files that were read whole, and their sha256. `gone`: names of listed files
    that are not there.
    """

    source: str
    statistics: Counter[str] = field(
        default_factory=lambda: Counter(
            documents=0,
            characters=0,
            text_bytes=0,
            payload_bytes=0,
            lost_bytes=0,
            undecoded_characters=0,
            removed_characters=0,
        )
    )
    ledger: Ledger = field(default_factory=Ledger)
    tally: FieldTally = field(default_factory=FieldTally)
    fetched: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    damaged: Counter[str] = field(default_factory=Counter)
    rejected: RejectedSample = field(default_factory=RejectedSample)
    languages: LanguageCounts = field(default_factory=dict)

    def reject(
        self, side: Side, reason: str, records: int = 1, lost_bytes: int = 0, file: str = ""
    ) -> None:
        """Count records that give no document; `file` is needed where bytes of it are lost."""
        self.statistics["lost_bytes"] += lost_bytes
        if lost_bytes and side == "failed" and reason != INDEX:
            self.damaged[file] += lost_bytes
        self.ledger.add(self.source, None, "read", documents=records)
        self.ledger.add(self.source, None, side, reason, documents=records)

    def read_whole(self, pin: Pin, sha256: str) -> None:
        """Remember what a remote file held."""
        if is_remote(pin.path):
            self.fetched[pin.path] = sha256

    def to_json(self) -> dict[str, Any]:
        """The result of a part; enters the documents kept in the ledger."""
        documents, size = self.statistics["documents"], self.statistics["text_bytes"]
        if documents:
            self.ledger.add(self.source, None, "read", documents=documents, bytes=size)
            self.ledger.add(self.source, None, "kept", documents=documents, bytes=size)
        return {
            "statistics": dict(sorted(self.statistics.items())),
            "ledger": self.ledger.to_json(),
            "fields": self.tally.to_json(),
            "fetched": sorted(self.fetched.items()),
            "gone": sorted(self.gone),
            "damaged": dict(sorted(self.damaged.items())),
            "rejected": self.rejected.to_json(),
            "languages": self.languages,
        }


def ingest_part(part: PartInput, shard: Shard) -> dict[str, Any]:
    """Write one part (runs in a worker); returns its statistics, ledger and tally of fields."""
    counts = Counts(part.source)
    with (
        shard.create(f"{shard.key}.parquet") as path,
        pq.ParquetWriter(path, DOCUMENTS, **WRITING) as writer,
    ):
        for table in _tables(part, counts):
            writer.write_table(table)
    return counts.to_json()


def _tables(part: PartInput, counts: Counts) -> Iterator[pa.Table]:
    """The documents that a part keeps, a row group at a time."""
    if part.reader == "parquet":
        from tasks.ingest.parquet_part import parquet_tables  # compiles loops

        return parquet_tables(part, counts)
    return tables_of(itertools.islice(_kept(part, counts), part.limit))


def _kept(part: PartInput, counts: Counts) -> Iterator[tuple[Any, ...]]:
    """Yield the documents that a part keeps, in the columns of `DOCUMENTS`.

    A remote file is read once it is here, all of it; the next one is fetched meanwhile.
    """
    if part.reader == "records":
        yield from _kept_by_place(part, counts)
        return
    pins = [file_slice.pin for file_slice in part.slices]
    try:
        local_files = local_pins(pins, part.access, part.following)
        for file_slice, local in zip(part.slices, local_files, strict=True):
            counts.read_whole(file_slice.pin, local.sha256)
            records = read_file(file_slice, local, part, counts.tally)
            yield from kept(records, part, counts, replace(local, name=file_slice.pin.name))
    except NoSuchObject:
        if not part.may_be_gone:
            raise
        counts.gone.add(pins[0].name)  # such parts are of one file
        counts.reject("failed", GONE)


def _kept_by_place(part: PartInput, counts: Counts) -> Iterator[tuple[Any, ...]]:
    """Of a part that is places in archives."""
    from tasks.ingest.commoncrawl.records import documents_of

    found = documents_of(
        part.places,
        lambda *_: True,
        part.access,
        part.options["in_flight"],
        part.parameters.max_page_bytes,
        part.parameters.extractor,
    )
    for pin, outcomes in itertools.groupby(found, key=operator.itemgetter(0)):
        yield from kept(map(operator.itemgetter(1), outcomes), part, counts, pin)


def kept(
    records: Iterable[RawDocument | Rejected], part: PartInput, counts: Counts, pin: Pin
) -> Iterator[tuple[Any, ...]]:
    """Yield the documents of a file, in the columns of `DOCUMENTS`.

    Each is counted before the next is read.
    """
    digest = bytes.fromhex(pin.sha256)
    statistics = counts.statistics
    for record in records:
        outcome = _judge(record, part.parameters)
        statistics["payload_bytes"] += outcome.payload_bytes
        if outcome.page_language is not None:
            kept_bytes = None
            if isinstance(outcome, RawDocument):
                kept_bytes = _utf8_bytes(outcome.text)
            count_page(counts.languages, outcome.page_language, outcome.payload_bytes, kept_bytes)
        if isinstance(outcome, Rejected):
            if outcome.reason == GONE:
                counts.gone.add(pin.name)
            counts.reject(
                outcome.side, outcome.reason, lost_bytes=outcome.lost_bytes, file=pin.name
            )
            counts.rejected.add(outcome, pin.name)
            continue
        statistics["documents"] += 1
        statistics.update(f"{mark}_documents" for mark in outcome.marks)
        statistics["text_bytes"] += _utf8_bytes(outcome.text) + _utf8_bytes(outcome.prompt)
        statistics["characters"] += len(outcome.text) + len(outcome.prompt)
        statistics["undecoded_characters"] += outcome.text.count("\ufffd")
        statistics["removed_characters"] += outcome.removed
        yield (
            document_id(outcome.key or digest, outcome.offset, outcome.inner),
            outcome.text,
            outcome.prompt,
            outcome.url,
            outcome.date,
            part.source,
            pin.name,
            outcome.offset + outcome.inner,
            *outcome.stated,
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
        return _refused(raw, "too_short", text)
    if _utf8_bytes(text) + _utf8_bytes(prompt) > parameters.max_text_bytes:
        return _refused(raw, "text_too_large", text)
    removed += raw.removed + removed_from_prompt
    stated, shortened = cleaned_stated(raw.stated)
    return replace(
        raw,
        text=text,
        prompt=prompt,
        url=clean(raw.url),
        removed=removed,
        stated=stated,
        marks=(*raw.marks, "shortened_metadata") if shortened else raw.marks,
    )


def _refused(raw: RawDocument, reason: str, text: str) -> Rejected:
    head = text[:HEAD_BYTES].encode()
    place = (raw.offset, raw.inner)
    return Rejected(
        "dropped",
        reason,
        raw.payload_bytes,
        place=place,
        url=raw.url,
        head=head,
        page_language=raw.page_language,
    )


def tables_of(rows: Iterator[tuple[Any, ...]]) -> Iterator[pa.Table]:
    """Documents as tables of a row group each."""
    for group in _row_groups(rows):
        columns = zip(zip(*group, strict=True), DOCUMENTS.types, strict=True)
        yield pa.table([pa.array(values, type_) for values, type_ in columns], schema=DOCUMENTS)


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
