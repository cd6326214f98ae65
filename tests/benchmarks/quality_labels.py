"""Do labels make a classifier that separates real documents? Real pages, a rubric, two classifiers.

Sources: `web`, C4 and FineWeb samples and the main content of 1,497 real pages; `prose`, Wikipedia
articles and books. The rubric is asked of a loopback server that follows rules with 15 % noise
(`tests.loopback.chat`), as no chat model is at hand: what is measured is the way from labels to
scores, not a language model's judgement.

1. `edu` learns the rubric's scores of `web` and `prose` (good: from 3 on); `people` those of a
   second one, which is answered by what people said of the page (wcxb-dev's types: articles and
   documentation 4, service and collection pages 2, others 1), with the same noise.
2. `prose` learns `prose` against `web`, without labels.
3. `pages` learns articles and documentation against product pages, listings and forums.
4. `vectors` is a linear probe on the same as `prose`, where an encoder's folder is given.

Run: python -m tests.benchmarks.quality_labels [--encoder FOLDER] [--folder FOLDER]. Reads
PUNA_REAL_DATA or ../shared/data. Prints AUC with its interval, calibration, and disagreements.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.engine import EngineConfig
from tests.end_to_end.direct import run_direct
from tests.loopback.chat import ChatServer, chatting

DATA = Path(
    os.environ.get("PUNA_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
PIECE = 2_500
"""Characters of a document that long texts are divided into."""

PROMPT = """Below is an extract of a web page. Judge by an additive scale of 0 to 5 points whether
it teaches something: a point each for length, whole sentences, explanations (up to two), and for
not selling anything. <text>{text}</text> End with: Educational score: N"""

RECIPE = """\
name: quality
engine: {kind: processes, workers: 2, cpu_threads: 1}
sources:
  web: {ingest: {format: jsonl, paths: [web.jsonl]}, langid: {}, category: web}
  prose: {ingest: {format: jsonl, paths: [prose.jsonl]}, langid: {}}
  articles: {ingest: {format: jsonl, paths: [articles.jsonl]}, langid: {}}
  others: {ingest: {format: jsonl, paths: [others.jsonl]}, langid: {}}
select: {heldout: null}
labels:
  edu:
    sources: [web, prose]
    sample: 800
    languages: [en]
    prompt: PROMPT
    endpoint: {url: URL, model: rules-with-noise, concurrency: 8, price: {input: 0.1, output: 0.4}}
  people:
    sources: [articles, others]
    sample: 1000
    languages: [en]
    prompt: PROMPT
    endpoint: {url: PEOPLE, model: people-with-noise, concurrency: 8}
classifiers:
  people: {labels: people, threshold: 3, languages: [en]}
  edu: {labels: edu, threshold: 3, languages: [en]}
  prose: {good: [prose], bad: [web], languages: [en]}
  pages: {good: [articles], bad: [others], languages: [en]}
"""


def pieces(text: str) -> Iterator[str]:
    """Whole paragraphs, joined until a piece is long enough."""
    found, size = [], 0
    for paragraph in filter(None, map(str.strip, text.split("\n"))):
        found.append(paragraph)
        size += len(paragraph)
        if size >= PIECE:
            yield "\n".join(found)
            found, size = [], 0


def wikitext(text: str) -> str:
    """WikiText as it was before its words were set apart."""
    text = re.sub(r" @(.)@ ", r"\1", text)
    text = re.sub(r" ([.,;:!?)\]'])", r"\1", text)
    return re.sub(r"([(\[]) ", r"\1", text).replace("<unk>", "unknown")


def pages() -> Iterator[tuple[str, str]]:
    """(page type, main content) of real pages."""
    with gzip.open(DATA / "wcxb-dev" / "labels.jsonl.gz", "rt", encoding="utf-8") as stream:
        for line in stream:
            row = json.loads(line)
            if row["main_content"]:
                yield row["page_type"], row["main_content"]


def said() -> dict[str, int]:
    """Beginning of a page's text -> the score by its type."""
    scores = {"article": 4, "documentation": 4, "service": 2, "collection": 2}
    return {key_of(text): scores.get(kind, 1) for kind, text in pages()}


def key_of(text: str) -> str:
    """What is the same of a text before and after it was read."""
    return "".join(text.split())[:120]


def write(folder: Path) -> dict[str, int]:
    """Write the sources; returns the documents of each."""
    with (DATA / "web_en" / "llamafactory" / "c4_demo.jsonl").open(encoding="utf-8") as stream:
        web = [json.loads(line)["text"] for line in stream]
    fineweb = DATA / "web_en" / "fineweb-sample" / "fineweb_sample.txt"
    web += pieces(fineweb.read_text(encoding="utf-8"))
    by_type = list(pages())
    web += [text for _, text in by_type]
    valid = DATA / "prose_en" / "wikitext-2" / "valid.txt"
    prose = list(pieces(wikitext(valid.read_text(encoding="utf-8"))))
    for book in sorted((DATA / "prose_en" / "classic-books").rglob("*.md"))[:12]:
        prose += list(pieces(book.read_text(encoding="utf-8")))[:60]
    good = ("article", "documentation")
    sources = {
        "web": web,
        "prose": prose,
        "articles": [text for kind, text in by_type if kind in good],
        "others": [text for kind, text in by_type if kind not in good],
    }
    for name, texts in sources.items():
        lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {name: len(texts) for name, texts in sources.items()}


def show(name: str, found: dict[str, Any]) -> None:
    """Print what is known of a classifier."""
    low, high = found["auc_interval"]
    counts = found["documents"]
    print(f"\n{name}: documents {counts}, {found['groups']:,} groups of near duplicates")
    print(
        f"  AUC {found['auc']:.3f} [{low:.3f}, {high:.3f}]; "
        f"length alone {found['auc_of_length']:.3f}"
    )
    print(f"  calibration error {found['calibration_error']:.3f}, Brier {found['brier']:.3f}")
    for row in found["reliability"]:
        print(
            f"    {row['low']:.1f} to {row['high']:.1f}: {row['documents']:5,} documents, mean "
            f"{row['mean']:.3f}, good {row['good']:.3f}"
        )
    for kind in ("missed", "mistaken"):
        for row in found["disagreements"][kind][:3]:
            label = "" if row["label"] is None else f", rubric {row['label']:g}"
            print(
                f"  {kind}: score {row['score']:.3f}{label}, {row['source']}: {row['text'][:110]}"
            )


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", type=Path)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print("documents:", write(folder))
        chat, types = ChatServer(noise=0.15), said()
        people = ChatServer(score=lambda text: types.get(key_of(text), 0), noise=0.15)
        with chatting(chat) as url, chatting(people) as other:
            text = RECIPE.replace("PROMPT", json.dumps(PROMPT))
            text = text.replace("URL", url).replace("PEOPLE", other)
            names = ["edu", "people", "prose", "pages"]
            if given.encoder:
                text += "  vectors: {kind: linear, good: [prose], bad: [web], languages: [en]}\n"
                text += f"embeddings: {{model: {given.encoder}}}\n"
                names.append("vectors")
            recipe = folder / "quality.yaml"
            recipe.write_text(text, encoding="utf-8")
            started = time.perf_counter()
            made = run_direct(
                recipe,
                folder / "store",
                EngineConfig(kind="processes", workers=2, cpu_threads=1),
                until="classifier",
            )
        print(f"{time.perf_counter() - started:.1f} s; {sum(chat.answered.values()):,} requests")
        for name in ("people", "edu"):
            rubric = made[f"labels/{name}"].statistics
            told = {k: rubric[k] for k in ("scored", "requests", "scores", "agreement")}
            print(f"labels {name}:", told)
        print("tokens:", rubric["tokens"], f"${rubric['dollars']:.4f}")
        for name in names:
            show(name, made[f"classifier/{name}"].statistics)


if __name__ == "__main__":
    main()
