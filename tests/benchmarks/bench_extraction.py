"""Main text of pages: how right, how fast, and whether inline mark-up costs characters.

    python tests/benchmarks/bench_extraction.py                      all of it
    python tests/benchmarks/bench_extraction.py phrases words kinds speed conserve [--tree FOLDER]

phrases   real-pages-dev: precision, recall and F1 over phrases that must (`with`) and must not
          (`without`) be in the text, white space aside
words     wcxb-dev: F1 of each page's bag of words (runs of letters and digits, in lower case)
          against its main content, averaged, for every page type; pages that are refused count 0;
          then the same of the two halves that `is_fitted` makes by registered domain: the forest
          is fitted on the first, the other is unseen
kinds     the same table beside trafilatura (where build/peers is) and resiliparse's own rule, with
          pages a second of one core's processor time, in the same run
speed     pages a second of one core's processor time on real-pages-dev: ours from bytes to text,
          resiliparse's own main-content rule on the decoded page, and the bare parse, in turn in
          one process, best of five a page
conserve  500 pages of real Chinese, Japanese and Korean prose in random inline mark-up: text out
          equals text in

`--tree` names another checkout of this project, whose extraction is measured in the same run and in
turn with ours. Pages are read from PUNA_REAL_DATA or ../shared/data.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastwarc.warc import ArchiveIterator
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.tasks.ingest.inline_markup import cjk_pages, page_of  # noqa: E402

DATA = Path(os.environ.get("PUNA_REAL_DATA", ROOT.parent / "shared" / "data"))
PEERS = ROOT / "build" / "peers" / "bin" / "python"
ROUNDS = 5
_SECOND_LEVEL = frozenset(("co", "com", "org", "net", "ac", "gov", "edu", "go", "or", "ne"))
_WORD = re.compile(r"\w+")
CONSERVED_PAGES = 500

Extract = Callable[[bytes, "str | None"], str]


def extraction(tree: Path) -> Extract:
    """`html_text` of a checkout of this project; "" for a page that it refuses."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("tasks", "infra")]:
        del sys.modules[name]
    sys.path.insert(0, str(tree))
    page = importlib.import_module("tasks.ingest.page")
    sys.path.pop(0)

    def extract(data: bytes, charset: str | None) -> str:
        try:
            return str(page.html_text(data, charset))
        except page.Unreadable:
            return ""

    return extract


def responses(path: Path) -> Iterator[tuple[str, bytes, str | None]]:
    with path.open("rb") as stream:
        for record in ArchiveIterator(stream):
            yield (
                record.headers.get("WARC-Target-URI", ""),
                record.reader.read(),
                record.http_charset,
            )


def f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def phrases(extract: Extract) -> str:
    labels = json.loads((DATA / "derived" / "real-pages-dev.labels.json").read_text())
    texts = {
        url: " ".join(extract(data, charset).split())
        for url, data, charset in responses(DATA / "derived" / "real-pages-dev.warc.gz")
    }
    counts: Counter[tuple[str, bool]] = Counter()
    for url, label in labels.items():
        for side in ("with", "without"):
            counts.update(
                (side, " ".join(phrase.split()) in texts.get(url, "")) for phrase in label[side]
            )
    precision = counts["with", True] / (counts["with", True] + counts["without", True])
    recall = counts["with", True] / (counts["with", True] + counts["with", False])
    return (
        f"F1 {f1(precision, recall):.4f}  precision {precision:.4f}  recall {recall:.4f}  pages "
        f"{len(labels)}"
    )


def bag_f1(found: str, wanted: str | None) -> float:
    ours, theirs = (Counter(_WORD.findall((text or "").lower())) for text in (found, wanted))
    if not ours or not theirs:
        return float(not ours and not theirs)
    common = (ours & theirs).total()
    return f1(common / ours.total(), common / theirs.total())


def labelled() -> Iterator[tuple[dict[str, Any], bytes, str | None]]:
    """Label, body and charset of every page of wcxb-dev."""
    with gzip.open(DATA / "wcxb-dev" / "labels.jsonl.gz", "rt", encoding="utf-8") as lines:
        labels = {label["url"]: label for label in map(json.loads, lines)}
    for url, data, charset in responses(DATA / "wcxb-dev" / "pages.warc.gz"):
        if url in labels:
            yield labels[url], data, charset


def is_fitted(url: str) -> bool:
    """Whether a page may be fitted on: its registered domain (the second level of countries known)
    hashes even.
    """
    parts = (urlsplit(url).hostname or "").rstrip(".").lower().split(".")
    below_country = len(parts) > 2 and len(parts[-1]) == 2 and parts[-2] in _SECOND_LEVEL
    domain = ".".join(parts[-3 if below_country else -2 :])
    return hashlib.blake2b(domain.encode(), digest_size=8).digest()[0] % 2 == 0


def averages(scored: Sequence[tuple[dict[str, Any], float]]) -> str:
    """Mean F1 of pages, and of every page type."""
    by_kind: dict[str, list[float]] = defaultdict(list)
    for label, score in scored:
        by_kind[label["page_type"]].append(score)
    kinds = "  ".join(
        f"{kind} {sum(of) / len(of):.3f} ({len(of)})" for kind, of in sorted(by_kind.items())
    )
    mean = sum(score for _, score in scored) / len(scored)
    return f"F1 {mean:.4f}  pages {len(scored)}  {kinds}"


def words(extract: Extract) -> str:
    return of_halves(
        [
            (label, bag_f1(extract(data, charset), label["main_content"]))
            for label, data, charset in labelled()
        ]
    )


def of_halves(scored: Sequence[tuple[dict[str, Any], float]]) -> str:
    fitted = [pair for pair in scored if is_fitted(pair[0]["url"])]
    unseen = [pair for pair in scored if not is_fitted(pair[0]["url"])]
    return f"{averages(scored)}\n    fitted  {averages(fitted)}\n    unseen  {averages(unseen)}"


def kinds(named: Sequence[tuple[str, Extract]]) -> str:
    """Ours and others, page by page in turn; trafilatura in its own environment afterwards."""
    pages = list(labelled())
    decoded = [data.decode("utf-8", "replace") for _, data, _ in pages]
    runs: list[tuple[str, Callable[[int], str]]] = [
        *(
            (name, lambda at, extract=extract: extract(pages[at][1], pages[at][2]))
            for name, extract in named
        ),
        ("resiliparse", lambda at: own_rule(decoded[at])),
    ]
    texts: dict[str, list[str]] = {name: [] for name, _ in runs}
    seconds: dict[str, float] = dict.fromkeys(texts, 0.0)
    for at in range(len(pages)):
        for name, run in runs:
            began = time.process_time()
            texts[name].append(run(at))
            seconds[name] += time.process_time() - began
    if PEERS.exists():
        texts["trafilatura"], seconds["trafilatura"] = by_trafilatura(decoded)
    else:
        print("  without trafilatura: build/peers is not there, see README.md")
    lines = []
    for name, found in texts.items():
        scored = [
            (label, bag_f1(text, label["main_content"]))
            for (label, _, _), text in zip(pages, found, strict=True)
        ]
        lines.append(f"  {name}  {len(pages) / seconds[name]:.0f} pages/s  {of_halves(scored)}")
    return "\n".join(lines)


def by_trafilatura(decoded: Sequence[str]) -> tuple[list[str], float]:
    """(texts, seconds of processor time), in the environment of the peers."""
    with tempfile.TemporaryDirectory() as folder:
        pages, texts = Path(folder, "pages"), Path(folder, "texts")
        pages.write_text("".join(json.dumps(page) + "\n" for page in decoded), "utf-8")
        script = Path(__file__).with_name("extraction_peers.py")
        subprocess.run([PEERS, script, pages, texts], check=True, capture_output=True)
        found = [json.loads(line) for line in texts.read_text("utf-8").splitlines()]
    return [text for text, _ in found], sum(seconds for _, seconds in found)


def own_rule(page: str) -> str:
    return str(
        extract_plain_text(HTMLTree.parse(page), main_content=True, alt_texts=False, comments=False)
    )


def speed(named: Sequence[tuple[str, Extract]]) -> str:
    pages = [data for _, data, _ in responses(DATA / "derived" / "real-pages-dev.warc.gz")]
    decoded = [data.decode("utf-8", "replace") for data in pages]
    runs: list[tuple[str, Callable[[int], object]]] = [
        *((name, lambda at, extract=extract: extract(pages[at], None)) for name, extract in named),
        ("resiliparse main_content", lambda at: own_rule(decoded[at])),
        ("parse alone", lambda at: HTMLTree.parse(decoded[at])),
    ]
    best = {name: [float("inf")] * len(pages) for name, _ in runs}
    for _ in range(ROUNDS):
        for name, run in runs:
            for at in range(len(pages)):
                began = time.process_time()
                run(at)
                best[name][at] = min(best[name][at], time.process_time() - began)
    rates = {name: len(pages) / sum(seconds) for name, seconds in best.items()}
    first = rates[runs[0][0]]
    return "\n".join(
        f"  {name:26} {rate:8.0f} pages/s  {1000 / rate:.3f} ms  {first / rate:.3f} x"
        for name, rate in rates.items()
    )


def conserve(extract: Extract) -> str:
    same = characters = 0
    for number, paragraphs in enumerate(cjk_pages(DATA, CONSERVED_PAGES)):
        wanted = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        same += extract(page_of(paragraphs, random.Random(number)).encode(), "utf-8") == wanted
        characters += len(wanted)
    return f"{same} of {CONSERVED_PAGES} pages equal, {characters:,} characters"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=["phrases", "kinds", "speed", "conserve"])
    parser.add_argument("--tree", type=Path, help="another checkout to measure beside this one")
    arguments = parser.parse_args()
    named = [("ours", extraction(ROOT))]
    if arguments.tree:
        named.append((arguments.tree.name, extraction(arguments.tree.resolve())))
    of_one = {"phrases": phrases, "words": words, "conserve": conserve}
    for part in arguments.parts:
        if part == "speed":
            print("speed (x: our rate over theirs)")
            print(speed(named))
        elif part == "kinds":
            print(f"kinds\n{kinds(named)}")
        else:
            for name, extract in named:
                print(f"{part:8}  {name:10}  {of_one[part](extract)}", flush=True)


if __name__ == "__main__":
    main()
