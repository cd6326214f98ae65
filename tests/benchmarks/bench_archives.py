"""Web archives: how fast they are framed and turned into documents, beside FastWARC.

    python tests/benchmarks/bench_archives.py [framing documents] [--tree FOLDER]

framing    every record's header and body: ours, FastWARC's iterator (HTTP not parsed), and the bare
           decompression by zlib and by ISA-L; of pages one to a member as they are stored, and of
           the same pages between a request and a metadata record each, as Common Crawl stores them
documents  WARC to documents: ours up to the reader's documents and up to the part's Parquet file,
           beside the bare loop: FastWARC's records and HTTP headers, and our extractor on each page

Processor time of one process, in turn; medians of five. `x` is FastWARC's (the bare loop's) time
over ours. `--tree` names another checkout of this project, measured in the same run. Archives are
read from PUNA_REAL_DATA or ../shared/data.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib
import os
import statistics
import sys
import tempfile
import time
import uuid
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fastwarc.warc import ArchiveIterator, WarcRecordType
from isal import isal_zlib

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("PUNA_REAL_DATA", ROOT.parent / "shared" / "data"))
PAGES = DATA / "derived" / "real-pages-dev.warc.gz"
MANY_PAGES = DATA / "wcxb-dev" / "pages.warc.gz"
ROUNDS = 5
MAX_BODY_BYTES = 32 << 20

Timed = Callable[[], object]


def checkout(tree: Path) -> SimpleNamespace:
    """The modules of a checkout that are measured."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("tasks", "infra")]:
        del sys.modules[name]
    sys.path.insert(0, str(tree))
    wanted = {
        "decompress": "tasks.ingest.decompress",
        "records": "tasks.ingest.records",
        "web": "tasks.ingest.web",
        "page": "tasks.ingest.page",
        "part": "tasks.ingest.part",
        "parts": "tasks.ingest.parts",
        "stage": "tasks.ingest.stage",
        "pins": "infra.stage",
    }
    modules = {name: importlib.import_module(path) for name, path in wanted.items()}
    sys.path.pop(0)
    return SimpleNamespace(**modules)


def as_common_crawl(source: Path, path: Path) -> None:
    """The pages of an archive, each between a request and a metadata record, with the header
    fields and the sizes that Common Crawl's have.
    """
    head, name = uuid.UUID(int=0).urn, "CC-MAIN-20240517233122-20240518023122-00000"

    def member(kind: str, uri: str, content_type: str, body: bytes, number: int) -> bytes:
        digest = hashlib.sha1(body).hexdigest()[:32].upper()
        fields = (
            f"WARC-Type: {kind}", "WARC-Date: 2024-05-18T01:58:10Z",
            f"WARC-Record-ID: <{uuid.UUID(int=number).urn}>", f"Content-Length: {len(body)}",
            f"Content-Type: {content_type}", f"WARC-Warcinfo-ID: <{head}>",
            f"WARC-Concurrent-To: <{uuid.UUID(int=number - 1).urn}>",
            "WARC-IP-Address: 208.80.154.224", f"WARC-Target-URI: {uri}",
            f"WARC-Payload-Digest: sha1:{digest}", f"WARC-Block-Digest: sha1:{digest}",
        )  # fmt: skip
        block = "WARC/1.0\r\n" + "\r\n".join(fields) + "\r\n\r\n"
        return gzip.compress(block.encode() + body + b"\r\n\r\n", mtime=0)

    with path.open("wb") as out, source.open("rb") as stream:
        about = f"WARC-Filename: {name}\r\n".encode()
        out.write(member("warcinfo", "", "application/warc-fields", about, 1))
        for at, record in enumerate(ArchiveIterator(stream, parse_http=False)):
            uri = record.headers.get("WARC-Target-URI", "")
            asked = f"GET {uri} HTTP/1.1\r\nUser-Agent: CCBot/2.0\r\nAccept: {'*/*;' * 40}\r\n\r\n"
            message = "application/http; msgtype="
            out.write(member("request", uri, message + "request", asked.encode(), 3 * at + 2))
            body = record.reader.read()
            out.write(member("response", uri, message + "response", body, 3 * at + 3))
            known = b"fetchTimeMs: 258\r\ncharset-detected: UTF-8\r\nlanguages-cld2: " + b"{}" * 70
            out.write(member("metadata", uri, "application/warc-fields", known, 3 * at + 4))


def medians(timed: Mapping[str, Timed]) -> dict[str, float]:
    """Seconds of processor time, each run in turn with the others; one run before it counts."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(ROUNDS + 1):
        for name, run in timed.items():
            began = time.process_time()
            run()
            if number:
                seconds[name].append(time.process_time() - began)
    return {name: statistics.median(of) for name, of in seconds.items()}


def table(title: str, seconds: Mapping[str, float], base: str, count: int, unit: str) -> None:
    print(title)
    for name, value in seconds.items():
        rate, ratio = count / value, seconds[base] / value
        print(f"  {name:34} {value:8.3f} s {rate:12,.0f} {unit}/s {ratio:7.3f} x", flush=True)


def inflate(path: Path, module: Any) -> None:
    data, at = path.read_bytes(), 0
    while at < len(data):
        decoder = module.decompressobj(31)
        while not decoder.eof:
            given = data[at : at + (1 << 16)]
            decoder.decompress(given)
            at += len(given) - len(decoder.unused_data)


def fastwarc(path: Path) -> None:
    with path.open("rb") as stream:
        for record in ArchiveIterator(stream, parse_http=False):
            record.reader.read()


def framing(trees: Mapping[str, SimpleNamespace], folder: Path) -> None:
    crawl = folder / "crawl.warc.gz"
    as_common_crawl(PAGES, crawl)

    def ours(tree: SimpleNamespace, path: Path) -> int:
        chunks = tree.decompress.chunks(path, tree.records.RECORDS)
        return sum(1 for _ in tree.records.records(chunks, MAX_BODY_BYTES))

    for path, what in (
        (PAGES, "one page a member"),
        (MANY_PAGES, "one page a member"),
        (crawl, "request, response, metadata"),
    ):
        timed: dict[str, Timed] = {
            name: lambda tree=tree, path=path: ours(tree, path) for name, tree in trees.items()
        }
        timed |= {
            "FastWARC": lambda path=path: fastwarc(path),
            "zlib alone": lambda path=path: inflate(path, zlib),
            "ISA-L alone": lambda path=path: inflate(path, isal_zlib),
        }
        count = ours(trees["ours"], path)
        title = f"framing {path.name} ({what}, {count:,} records)"
        table(title, medians(timed), "FastWARC", count, "records")


def documents(trees: Mapping[str, SimpleNamespace], folder: Path) -> None:
    crawl = folder / "crawl.warc.gz"
    as_common_crawl(PAGES, crawl)
    sha256 = hashlib.sha256(crawl.read_bytes()).hexdigest()

    def read(tree: SimpleNamespace) -> int:
        found = tree.web.web_documents(
            crawl, lambda *_: True, wet=False, max_page_bytes=MAX_BODY_BYTES
        )
        return sum(isinstance(one, tree.web.RawDocument) for one in found)

    def write(tree: SimpleNamespace) -> None:
        pin = tree.pins.Pin(str(crawl), crawl.name, sha256, crawl.stat().st_size)
        parameters = tree.stage.IngestParameters(format="warc", paths=[str(crawl)])
        part = tree.parts.PartInput("web", [tree.parts.FileSlice(pin)], parameters, "warc", {})
        shard = SimpleNamespace(key="part", create=lambda name: _Created(folder / name))
        tree.part.ingest_part(part, shard)

    def bare() -> None:
        page = trees["ours"].page
        with crawl.open("rb") as stream:
            for record in ArchiveIterator(stream, record_types=WarcRecordType.response):
                try:
                    page.html_text(record.reader.read(), record.http_charset)
                except page.Unreadable:
                    continue

    timed: dict[str, Timed] = {"bare loop": bare}
    for name, tree in trees.items():
        timed[f"{name}: documents"] = lambda tree=tree: read(tree)
        timed[f"{name}: clean, in Parquet"] = lambda tree=tree: write(tree)
    count = read(trees["ours"])
    table(f"documents ({count} pages)", medians(timed), "bare loop", count, "pages")


class _Created:
    """Stands for `Shard.create`: a path, as a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Path:
        return self._path

    def __exit__(self, *_: object) -> None:
        self._path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=["framing", "documents"])
    parser.add_argument("--tree", type=Path, help="another checkout to measure beside this one")
    arguments = parser.parse_args()
    trees = {"ours": checkout(ROOT)}
    if arguments.tree:
        trees[arguments.tree.name] = checkout(arguments.tree.resolve())
    with tempfile.TemporaryDirectory() as folder:
        for part in arguments.parts:
            {"framing": framing, "documents": documents}[part](trees, Path(folder))


if __name__ == "__main__":
    main()
