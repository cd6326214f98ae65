"""Real documents for bench_quality.py: web pages, C4, FineWeb and RedPajama samples, prose.

Each is (set, language, text). `pages` are the main text of real web pages, `pages, whole` all the
text of the same pages, menus and footers too: most quality rules drop little of the former and much
of the latter, and an agreement has to be measured on both sides.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fastwarc.warc import ArchiveIterator
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from tasks.ingest.charset.detect import as_utf8
from tasks.ingest.page import Unreadable, html_text
from tasks.langid.identify import identify, load
from tasks.langid.model import locate_model

LANGUAGES = ("en", "zh", "de", "fr", "es", "ru", "ja", "ar")
"""The languages with FineWeb-2 limits, and English."""

CHUNK = 3_000
"""Characters of a document that is cut from a longer text, at the end of a line."""

UDHR = {
    "eng": "en",
    "deu_1996": "de",
    "fra": "fr",
    "spa": "es",
    "rus": "ru",
    "jpn": "ja",
    "arb": "ar",
    "cmn_hans": "zh",
}


class RealDocument(NamedTuple):
    """A document, its language and where it is from."""

    kind: str
    language: str
    text: str


def real_documents(data: Path) -> list[RealDocument]:
    """All documents of LANGUAGES below the folder of real data."""
    found = [*_web(data / "web_en"), *_pages(data), *_sentences(data / "lid"), *_prose(data)]
    return [d for d in found if d.language in LANGUAGES and d.text.strip()]


def _chunks(lines: Iterator[str], size: int = CHUNK) -> Iterator[str]:
    taken: list[str] = []
    for line in lines:
        taken.append(line)
        if sum(map(len, taken)) >= size:
            yield "\n".join(taken)
            taken = []
    if taken:
        yield "\n".join(taken)


def _web(folder: Path) -> Iterator[RealDocument]:
    files = [folder / "llamafactory" / "c4_demo.jsonl"]
    files += sorted((folder / "data-juicer-demos" / "data_mixture").rglob("*.jsonl"))
    files += sorted((folder / "data-juicer-demos" / "process_code_data").rglob("*.jsonl"))
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            yield RealDocument("web samples", "en", json.loads(line)["text"])
    fineweb = (folder / "fineweb-sample" / "fineweb_sample.txt").read_text(encoding="utf-8")
    for text in _chunks(iter(fineweb.split("\n"))):
        yield RealDocument("web samples", "en", text)


def _pages(data: Path) -> Iterator[RealDocument]:
    texts: list[tuple[str, str]] = []
    for archive in (data / "derived" / "real-pages-dev.warc.gz", data / "wcxb-dev/pages.warc.gz"):
        with archive.open("rb") as stream:
            for record in ArchiveIterator(stream):
                page, charset = record.reader.read(), record.http_charset
                try:
                    main = html_text(page, charset)
                except Unreadable:
                    continue
                tree = HTMLTree.parse_from_bytes(as_utf8(page, charset), "utf-8")
                texts.append(("pages", str(main)))
                texts.append(("pages, whole", str(extract_plain_text(tree))))
    labels, _, _ = identify(load(str(locate_model("lid.176"))), [text for _, text in texts])
    for (kind, text), label in zip(texts, labels, strict=True):
        if text.strip():
            yield RealDocument(kind, label, text)


def _sentences(folder: Path) -> Iterator[RealDocument]:
    for language in LANGUAGES:
        file = folder / "lingua-sentences-first-half" / f"{language}.txt"
        for text in _chunks(iter(file.read_text(encoding="utf-8").splitlines()), CHUNK // 2):
            yield RealDocument("sentences", language, text)
    with zipfile.ZipFile(folder / "udhr" / "udhr2.zip") as archive:
        for name in archive.namelist():
            stem = Path(name).stem.removeprefix("udhr_")
            if stem in UDHR:
                with io.TextIOWrapper(archive.open(name), encoding="utf-8") as lines:
                    for text in _chunks(line.rstrip() for line in lines):
                        yield RealDocument("sentences", UDHR[stem], text)


def _prose(data: Path) -> Iterator[RealDocument]:
    for folder, language in (("eltec-deu", "de"), ("eltec-fra", "fr")):
        for file in sorted((data / "prose_multi" / folder).rglob("*.xml")):
            paragraphs = re.findall(r"<p[^>]*>(.*?)</p>", file.read_text(encoding="utf-8"), re.S)
            plain = (" ".join(re.sub(r"<[^>]+>", "", text).split()) for text in paragraphs)
            for text in _chunks(plain):
                yield RealDocument("prose", language, text)
    for file in sorted((data / "prose_zh" / "ruanyf-weekly" / "docs").rglob("*.md")):
        for text in _chunks(iter(file.read_text(encoding="utf-8").splitlines()), CHUNK // 2):
            yield RealDocument("prose", "zh", text)
