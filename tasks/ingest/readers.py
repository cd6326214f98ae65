"""The reader of each format, behind one function: a file -> its records, in order.

Parquet is read by columns instead (`tasks.ingest.parquet_part`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.stage import Pin, StageError
from tasks.ingest.fields import FieldReader, FieldTally, fields_of
from tasks.ingest.file_kinds import mismatch
from tasks.ingest.lines import jsonl_documents
from tasks.ingest.parts import FileSlice, PartInput
from tasks.ingest.raw_documents import SAMPLED_OUT, RawDocument, Rejected, Wanted, iso_date
from tasks.ingest.rejected import HEAD_BYTES
from tasks.ingest.text_files import text_documents
from tasks.ingest.web import crawl_of_archive, web_documents


def read_file(
    file_slice: FileSlice, local: Pin, part: PartInput, tally: FieldTally
) -> Iterator[RawDocument | Rejected]:
    """The records of a file, or of a slice of it. `local`: the same file on this machine."""
    path = Path(local.path)
    reader, parameters = part.reader, part.parameters
    share = 1.0 if parameters.format == "commoncrawl" else parameters.sample  # of archives there
    wanted = sampler(bytes.fromhex(local.sha256), share)
    limit = parameters.max_page_bytes
    if reader == "rows" or reader == "parquet":
        return _rows(path, file_slice.pin.name, part, wanted, tally)
    if reader == "records":
        raise ValueError("records are read by their places, not from files")
    other = mismatch(path, reader)
    if other and other.reason == "json" and parameters.format == "hf":
        return _rows(path, file_slice.pin.name, part, wanted, tally)
    if other and not other.readable:
        # Count a file of another format once, even if it is read in several slices.
        if not file_slice.is_first:
            return iter(())
        return iter([Rejected("failed", other.reason, lost_bytes=file_slice.pin.bytes)])
    match reader:
        case "warc" | "wet":
            return web_documents(
                path,
                wanted,
                wet=reader == "wet",
                max_page_bytes=limit,
                extractor=parameters.extractor,
                crawl=crawl_of_archive(file_slice.pin.name),
            )
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
            return text_documents(path, wanted, split=parameters.text_split, max_page_bytes=limit)


def _rows(
    path: Path, name: str, part: PartInput, wanted: Wanted, tally: FieldTally
) -> Iterator[RawDocument | Rejected]:
    """What `datasets` makes of a file; a row's place is its number."""
    from tasks.ingest.hub.rows import read_rows

    reader: FieldReader | None = None
    rows = read_rows(path, name, part.options["module"], part.options["options"])
    place = -1
    while True:
        place += 1
        try:
            row = next(rows, None)
        except StageError:
            raise
        except Exception:  # the libraries of a hundred formats
            yield Rejected("failed", "row", lost_bytes=path.stat().st_size if not place else 0)
            return
        if row is None:
            return
        reader = reader or FieldReader(fields_of(part.parameters.fields, list(row)), tally)
        if not wanted(place, 0):
            yield SAMPLED_OUT
            continue
        yield row_document(reader, row, place, part.parameters.max_page_bytes)


def row_document(
    reader: FieldReader, row: dict[str, Any], place: int, max_bytes: int
) -> RawDocument | Rejected:
    """The document in a row's fields; `place` is the number of the row in its file."""
    found = reader.read(row)
    if found is None:
        return Rejected("failed", "field", place=(place, 0))
    size = sum(len(text.encode("utf-8", "replace")) for text in (found.text, found.prompt))
    if size > max_bytes:
        head = found.text[:HEAD_BYTES].encode("utf-8", "replace")
        at = (place, 0)
        return Rejected("dropped", "page_too_large", size, place=at, url=found.url, head=head)
    return RawDocument(
        place,
        0,
        text=found.text,
        prompt=found.prompt,
        url=found.url,
        date=iso_date(found.date),
        payload_bytes=size,
        stated=found.stated,
    )


def document_id(key: bytes, offset: int, inner: int) -> str:
    """32 hex digits: blake2b-128 of a key and the record's place (`records.Record`).

    `key`: of a web archive's record `web.key_of`, of all else the sha256 of the file.
    """
    place = offset.to_bytes(8, "little") + inner.to_bytes(8, "little")
    return hashlib.blake2b(key + place, digest_size=16).hexdigest()


def sampler(file_sha256: bytes, share: float) -> Wanted:
    """Chooses a share of a file's records by their ids."""
    limit = int(share * 2**64)

    def wanted(offset: int, inner: int, key: bytes = b"") -> bool:
        if share == 1:
            return True
        return int(document_id(key or file_sha256, offset, inner)[:16], 16) < limit

    return wanted
