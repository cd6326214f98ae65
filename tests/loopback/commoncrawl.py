"""A small Common Crawl in memory: crawl list, path listings, archives and the columnar index, in
the published layout and schema, made from the gzip members of real archives.

    python -m tests.loopback.commoncrawl [PORT [ARCHIVE.warc.gz ...]]

serves one on 127.0.0.1 (of generated pages where no archive is named) until it is interrupted.
configs/commoncrawl-small.yaml reads it there.
"""

from __future__ import annotations

import contextlib
import datetime
import gzip
import io
import itertools
import json
import random
import re
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.ingest.commoncrawl.languages import CODES
from tasks.ingest.decompress import Chunk, chunks
from tasks.ingest.record import Record
from tasks.ingest.records import RECORDS, records
from tests.end_to_end import world
from tests.end_to_end.world import paragraph
from tests.loopback.http import serving
from tests.tasks.ingest.archives import record, response

CRAWL = "CC-MAIN-2024-22"
OLDER = "CC-MAIN-2018-34"
"""A crawl from before languages were in the index."""

PORT = 8735

_SEGMENT = "1715971057216.39"
_TIME = "20240517233122-20240518023122"
_TEXT = pa.string()

INDEX_SCHEMA = pa.schema(
    [
        pa.field("url_surtkey", _TEXT, nullable=False),
        pa.field("url", _TEXT, nullable=False),
        pa.field("url_host_name", _TEXT, nullable=False),
        ("url_host_tld", _TEXT),
        ("url_host_2nd_last_part", _TEXT),
        ("url_host_3rd_last_part", _TEXT),
        ("url_host_4th_last_part", _TEXT),
        ("url_host_5th_last_part", _TEXT),
        ("url_host_registry_suffix", _TEXT),
        ("url_host_registered_domain", _TEXT),
        ("url_host_private_suffix", _TEXT),
        ("url_host_private_domain", _TEXT),
        ("url_host_name_reversed", _TEXT),
        ("url_protocol", _TEXT),
        ("url_port", pa.int32()),
        ("url_path", _TEXT),
        ("url_query", _TEXT),
        ("fetch_time", pa.timestamp("ms")),
        pa.field("fetch_status", pa.int16(), nullable=False),
        ("fetch_redirect", _TEXT),
        ("content_digest", _TEXT),
        ("content_mime_type", _TEXT),
        ("content_mime_detected", _TEXT),
        ("content_charset", _TEXT),
        ("content_languages", _TEXT),
        ("content_truncated", _TEXT),
        pa.field("warc_filename", _TEXT, nullable=False),
        pa.field("warc_record_offset", pa.int32(), nullable=False),
        pa.field("warc_record_length", pa.int32(), nullable=False),
        ("warc_segment", _TEXT),
    ]
)
"""Columns of `cc-index/table/cc-main/warc` (`crawl` and `subset` are folders)."""

_SINCE_2018_39 = ("content_charset", "content_languages")
_LANGUAGE = re.compile(rb"<html[^>]*\slang=[\"']?([a-zA-Z]{2,3})", re.IGNORECASE)
_SECOND_LEVEL = {"ac", "co", "com", "edu", "gov", "net", "org"}


@dataclass(frozen=True)
class Member:
    """A gzip member of a source archive, and the record in it."""

    data: bytes
    record: Record


@dataclass
class Dump:
    """One crawl: path below the host -> content, and what a test asks of it."""

    crawl: str
    files: dict[str, bytes] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Rows of the index's subset `warc`."""

    def paths(self, kind: str) -> list[str]:
        """Paths of the archives of a kind ("warc", "wet")."""
        listed = gzip.decompress(self.files[f"/crawl-data/{self.crawl}/{kind}.paths.gz"])
        return listed.decode().split()

    def languages(self) -> Counter[str]:
        """How many records of subset `warc` have each value of content_languages."""
        return Counter(row["content_languages"] or "" for row in self.rows)

    def archive_bytes(self) -> int:
        """Bytes of all WARC archives."""
        return sum(len(self.files[f"/{path}"]) for path in self.paths("warc"))


def members_of(archive: Path, most: int | None = None) -> Iterator[Member]:
    """The members of a gzip archive of one record each."""
    data = archive.read_bytes()
    found = (r for r in records(chunks(archive, RECORDS), 1 << 26) if isinstance(r, Record))
    pairs = itertools.pairwise(itertools.chain(found, [None]))
    for one, following in itertools.islice(pairs, most):
        stop = following.offset if following else len(data)
        if one is not None and one.headers["warc-type"] != "warcinfo":
            yield Member(data[one.offset : stop], one)


def real_members(root: Path, wcxb: int = 300) -> list[Member]:
    """About 530 real pages of `shared/data`; nine in ten are English or German."""
    return [
        *members_of(root / "warc" / "cc-whirlwind" / "whirlwind.warc.gz"),
        *members_of(root / "derived" / "real-pages-dev.warc.gz"),
        *members_of(root / "wcxb-dev" / "pages.warc.gz", wcxb),
        *members_of(root / "warc" / "dolma-wget" / "sample-0000.warc.gz"),
    ]


def dump_of(
    members: Sequence[Member],
    wet: Sequence[bytes] = (),
    crawl: str = CRAWL,
    archives: int = 4,
    index_parts: int = 2,
    row_group: int = 64,
) -> Dump:
    """A crawl whose archives share these members out; `wet` are whole WET archives."""
    dump = Dump(crawl)
    subsets: dict[str, list[dict[str, Any]]] = {"warc": dump.rows}
    listings: dict[str, list[str]] = {"warc": [], "wet": []}
    for number in range(archives):
        path = _archive_path(crawl, "warc", number)
        listings["warc"].append(path)
        content = bytearray(_warcinfo(path))
        for member in members[number::archives]:
            if member.record.headers["warc-type"] == "response":
                row = _row(member.record, path, len(content), len(member.data))
                dump.rows.append(row)
            content += member.data
        dump.files[f"/{path}"] = bytes(content)
    for number, archive in enumerate(wet):
        path = _archive_path(crawl, "wet", number)
        listings["wet"].append(path)
        dump.files[f"/{path}"] = archive
    for subset, pages in _others().items():
        path = _archive_path(crawl, subset, 0)
        content = bytearray(_warcinfo(path))
        subsets[subset] = []
        for page in pages:
            data = gzip.compress(page, mtime=0)
            (found,) = _records(page)
            subsets[subset].append(_row(found, path, len(content), len(data)))
            content += data
        dump.files[f"/{path}"] = bytes(content)
    tables = [
        f"cc-index/table/cc-main/warc/crawl={crawl}/subset={subset}/part-{number:05d}-"
        f"{uuid.uuid5(uuid.NAMESPACE_URL, crawl)}.c000.gz.parquet"
        for subset in sorted(subsets)
        for number in range(index_parts)
    ]
    for path in tables:
        subset, number = path.split("subset=")[1].split("/part-")
        rows = sorted(subsets[subset], key=lambda row: str(row["url_surtkey"]))
        size = -(-len(rows) // index_parts)
        part = rows[int(number[:5]) * size : (int(number[:5]) + 1) * size]
        dump.files[f"/{path}"] = index_file(part, crawl, row_group)
    listings["cc-index-table"] = tables
    for kind, paths in listings.items():
        text = "".join(f"{path}\n" for path in paths)
        dump.files[f"/crawl-data/{crawl}/{kind}.paths.gz"] = gzip.compress(text.encode(), mtime=0)
    return dump


def index_file(rows: Sequence[dict[str, Any]], crawl: str = CRAWL, row_group: int = 64) -> bytes:
    """A part of the columnar index."""
    schema = INDEX_SCHEMA
    if crawl < "CC-MAIN-2018-39":
        schema = pa.schema([column for column in schema if column.name not in _SINCE_2018_39])
    table = pa.Table.from_pylist(list(rows), schema=schema)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="gzip", row_group_size=row_group)
    return sink.getvalue()


def collinfo(crawls: Iterable[str]) -> bytes:
    """The list of crawls as index.commoncrawl.org has it, newest first."""
    host = "https://index.commoncrawl.org"
    return json.dumps(
        [
            {
                "id": crawl,
                "name": f"{crawl} Index",
                "timegate": f"{host}/{crawl}/",
                "cdx-api": f"{host}/{crawl}-index",
            }
            for crawl in sorted(crawls, reverse=True)
        ]
    ).encode()


def site(dumps: Iterable[Dump]) -> dict[str, bytes]:
    """Everything that `data.commoncrawl.org` and `index.commoncrawl.org` serve of some crawls."""
    found = {"/collinfo.json": collinfo(dump.crawl for dump in dumps)}
    for dump in dumps:
        found |= dump.files
    return found


def wet_of(texts: Iterable[str]) -> bytes:
    """A WET archive of these texts."""
    written = [record("warcinfo", b"Software-Info: test")]
    written += [
        record("conversion", text.encode(), f"https://example.org/{number}")
        for number, text in enumerate(texts)
    ]
    return b"".join(gzip.compress(one, mtime=0) for one in written)


def _archive_path(crawl: str, kind: str, number: int) -> str:
    ending = ".warc.wet.gz" if kind == "wet" else ".warc.gz"
    name = f"CC-MAIN-{_TIME}-{number:05d}{ending}"
    return f"crawl-data/{crawl}/segments/{_SEGMENT}/{kind}/{name}"


def _warcinfo(path: str) -> bytes:
    crawl, name = path.split("/")[1], path.rpartition("/")[2]
    body = f"isPartOf: {crawl}\r\npublisher: Common Crawl\r\nfilename: {name}\r\n".encode()
    return gzip.compress(record("warcinfo", body), mtime=0)


def _others() -> dict[str, list[bytes]]:
    """Records of the subsets that hold no pages."""
    page = b"<html lang=fr><body><p>introuvable, introuvable, introuvable</p></body></html>"
    return {
        "crawldiagnostics": [
            response(page, status="404 Not Found", uri="https://example.fr/gone"),
            response(b"", "Location: https://example.fr/", "301 Moved", "https://example.fr/moved"),
        ],
        "robotstxt": [
            response(b"User-agent: *", "Content-Type: text/plain", uri="https://a.fr/robots.txt")
        ],
    }


def _records(data: bytes) -> list[Record]:
    return [r for r in records(iter([Chunk(data, 0, 0)]), 1 << 26) if isinstance(r, Record)]


def _row(found: Record, path: str, offset: int, length: int) -> dict[str, Any]:
    url = found.headers["warc-target-uri"].strip("<>")
    parts = urlsplit(url)
    host = (parts.hostname or "").removeprefix("www.")
    labels = (parts.hostname or "").split(".")
    suffix_size = 2 if len(labels) > 2 and labels[-2] in _SECOND_LEVEL else 1
    suffix = ".".join(labels[-suffix_size:])
    domain = ".".join(labels[-suffix_size - 1 :])
    head, _, page = found.body.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1][:3])
    mime = re.search(rb"(?i)content-type:\s*([^;\s]+)", head)
    language = _LANGUAGE.search(page[:20_000])
    digest = found.headers.get("warc-payload-digest", "").removeprefix("sha1:")
    truncated = found.headers.get("warc-truncated")
    place = [labels[-at] if len(labels) >= at else None for at in range(2, 6)]
    surt = f"{','.join(reversed(host.split('.')))}){parts.path or '/'}".lower()
    moment = datetime.datetime.fromisoformat(found.headers["warc-date"])
    return {
        "url_surtkey": surt + (f"?{parts.query}" if parts.query else ""),
        "url": url,
        "url_host_name": parts.hostname or "",
        "url_host_tld": labels[-1],
        "url_host_2nd_last_part": place[0],
        "url_host_3rd_last_part": place[1],
        "url_host_4th_last_part": place[2],
        "url_host_5th_last_part": place[3],
        "url_host_registry_suffix": suffix,
        "url_host_registered_domain": domain,
        "url_host_private_suffix": suffix,
        "url_host_private_domain": domain,
        "url_host_name_reversed": ".".join(reversed(labels)),
        "url_protocol": parts.scheme,
        "url_port": parts.port,
        "url_path": parts.path,
        "url_query": parts.query or None,
        "fetch_time": moment.replace(tzinfo=None),
        "fetch_status": status,
        "fetch_redirect": None,
        "content_digest": digest or None,
        "content_mime_type": mime[1].decode().lower() if mime else None,
        "content_mime_detected": mime[1].decode().lower() if mime else None,
        "content_charset": "UTF-8" if language else None,
        "content_languages": _languages(language[1].decode().lower() if language else ""),
        "content_truncated": truncated,
        "warc_filename": path,
        "warc_record_offset": offset,
        "warc_record_length": length,
        "warc_segment": _SEGMENT,
    }


def _languages(code: str) -> str | None:
    """As the index has them: up to three, the main one first."""
    found = CODES.get(code, code)
    return {"pol": "pol,eng", "": None}.get(found, found)


def generated(pages: int = 160) -> list[Member]:
    """Pages made by code, in English and Chinese, with an `<html lang>` each."""
    found = []
    kind = "response"
    for data in world.crawl(pages):
        try:
            plain = gzip.decompress(data)
        except (OSError, EOFError):
            continue
        for one in _records(plain):
            if one.headers["warc-type"] != kind:
                continue
            language = one.headers["warc-target-uri"].split("//")[1].partition(".")[0]
            if language in ("mirror", "node", "quiz"):
                language = "zh" if "的".encode() in one.body else "en"
            start = f"<html lang={language}>" if language in ("en", "fr", "zh") else "<html>"
            body = one.body.replace(b"<html>", start.encode())
            written = record(kind, body, one.headers["warc-target-uri"])
            found.append(Member(gzip.compress(written, mtime=0), *_records(written)))
    return found


def main() -> None:
    """See the module."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else PORT
    archives = list(map(Path, sys.argv[2:]))
    members = [m for path in archives for m in members_of(path)] or generated()
    rng = random.Random(3)
    wet = [wet_of("\n".join(paragraph(rng, "en") for _ in range(3)) for _ in range(40))]
    dumps = [dump_of(members, wet), dump_of(members[:20], wet, OLDER)]
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(serving(site(dumps), port=port))
        except OSError as error:
            sys.exit(f"port {port}: {error.strerror}; is one running already? Name another port")
        sys.stdout.write(f"http://{server.address}/\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
