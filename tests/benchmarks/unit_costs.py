"""What a document costs in every data stage, for `puna plan --scale` (flows/planning/scale).

    python tests/benchmarks/unit_costs.py [pages records shards] [--write]

pages    real pages (real-pages-dev, wcxb-dev) through ingest, line_dedup, langid, quality,
         perplexity, decontaminate and pii
records  generated documents (`dedup_corpus.py`), as JSONL and Parquet and WET, through ingest,
         signatures, cut, dedup, select and binning
shards   a source in hundreds of parts: what a part costs the one process that hands them out

Every recipe runs twice, on few and on many documents, in one process. A cost is the difference of
processor time over the difference of documents (or of their text), so that starting, compiling and
loading models do not count; memory is what the larger run adds to a worker that has done nothing.
`--write` replaces these figures in flows/planning/scale/costs.yaml, with machine and date. Reads
PUNA_REAL_DATA or ../shared/data.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from infra import build as building  # noqa: E402
from infra.engine import EngineConfig  # noqa: E402
from infra.store import Artifact  # noqa: E402
from tests.benchmarks.dedup_corpus import Corpus, write_jsonl  # noqa: E402
from tests.end_to_end import direct  # noqa: E402
from tests.tasks.ingest.archives import record  # noqa: E402

DATA = Path(os.environ.get("PUNA_REAL_DATA", ROOT.parent / "shared" / "data"))
COSTS = ROOT / "flows" / "planning" / "scale" / "costs.yaml"
FEW, MANY = 4_000, 24_000
SHARDS = 50, 300
PAGE_BYTES, WCXB_PAGES = 150_000, 1_497
"""A page of Common Crawl has 150 kB (377 TiB for 2.7 billion in May 2024), one of wcxb-dev 279 kB:
its time is taken in proportion.
"""
SIGNATURE_BYTES = 920
"""Of 14 x 8 values, a text hash and a length; the rest are shingles, four bytes each."""

LIBRARIES = 217e6
"""Bytes of a worker before it reads anything (docs/dedup.md)."""

PAGES = """
name: pages
sources:
  web:
    ingest: {{format: warc, paths: [{paths}]}}
    line_dedup: {{}}
    langid: {{keep: {{threshold: 0.5}}}}
    quality: {{rules: [gopher, c4, fineweb], keep: {{rules: [gopher, fineweb]}}}}
    perplexity: {{}}
    pii: {{}}
    category: web
  reference:
    ingest:
      format: text
      split: line
      paths: [{data}/prose_en/wikitext-2/valid.txt]
      min_characters: 40
language_models:
  en: {{sources: [reference], vocabulary: 4000, order: 5}}
benchmarks:
  arc_easy: {{format: arc, paths: [{data}/benchmarks/llm-foundry/world_knowledge/arc_easy.jsonl]}}
decontaminate: {{against: [arc_easy]}}
dedup: null
select: {{heldout: null}}
"""

RECORDS = """
name: records
sources:
  web:
    ingest: {{format: {format}, paths: ["{folder}/*"]}}
    category: web
dedup: {{prefer: [length]}}
"""

BINS = """
tokenizer: {{base: {data}/tokenizers/llama2-32000}}
binning: {{sequence_length: 2048, bins: 4, tokenize: auto}}
training: {{batch: 512K, phases: [{{name: main, tokens: 1M, mixture: {{web: rest}}}}]}}
model:
  create: {{hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2,
            num_key_value_heads: 2, max_position_embeddings: 2048, tie_word_embeddings: true}}
"""


@dataclass(frozen=True)
class Taken:
    """What a stage took of one run, and its artifact."""

    seconds: float
    peak: float
    artifact: Artifact

    @property
    def documents(self) -> int:
        """Read."""
        return self.artifact.manifest.ledger.documents("read")

    @property
    def text(self) -> int:
        """Bytes read; of ingest, kept."""
        side = "kept" if self.artifact.stage == "ingest" else "read"
        return self.artifact.manifest.ledger.bytes(side)  # type: ignore[arg-type]

    @property
    def written(self) -> int:
        """Bytes of the artifact."""
        return sum(output.bytes for output in self.artifact.manifest.outputs)


HERE, TWO = EngineConfig(kind="inline"), EngineConfig(kind="processes", workers=2)


def run(recipe: str, folder: Path, until: str, engine: EngineConfig = HERE) -> dict[str, Taken]:
    """Build a recipe; what each node took of this process, by its id."""
    folder.mkdir(parents=True)
    file = folder / "recipe.yaml"
    file.write_text(recipe)
    taken: dict[str, Taken] = {}

    def timed(order: Any, *given: Any, **more: Any) -> Artifact:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = peak_bytes()
        started = time.process_time()
        made = building.build(order, *given, **more)
        spent = time.process_time() - started
        taken[f"{made.stage}/{made.name}"] = Taken(spent, LIBRARIES + peak_bytes() - before, made)
        return made

    direct.build = timed  # type: ignore[attr-defined]
    direct.run_direct(file, folder / "store", engine, until=until)
    return taken


def peak_bytes() -> float:
    """Peak resident memory of this process since it was cleared."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024.0


def slope(few: Taken, many: Taken, *, by_text: bool, ingest: bool = False) -> dict[str, Any]:
    """Unit costs between two runs."""
    documents, text = many.documents - few.documents, many.text - few.text
    seconds = max(many.seconds - few.seconds, 0.0)
    found: dict[str, Any] = (
        {"mb_ms": digits(seconds / text * 1e9)}
        if by_text
        else {"document_us": digits(seconds / documents * 1e6)}
    )
    handed_on = many.artifact.manifest.ledger.documents("kept")
    before = few.artifact.manifest.ledger.documents("kept")
    written = many.written - few.written
    if by_text or ingest:
        kept = many.artifact.manifest.ledger.bytes("kept")
        kept -= few.artifact.manifest.ledger.bytes("kept")
    if many.artifact.stage in ("ingest", "select"):
        found["text_share"] = digits(written / max(kept, 1))
    else:
        found["document_bytes"] = digits(written / documents)
    if ingest:
        found["kept"] = digits((handed_on - before) / documents)
    return found | {"worker_bytes": digits(many.peak, 2)}


def digits(value: float, count: int = 3) -> float:
    """Rounded to what a measurement deserves."""
    rounded = float(f"{value:.{count}g}")
    return int(rounded) if rounded == int(rounded) else rounded


def pages(work: Path) -> dict[str, dict[str, Any]]:
    """Costs on real pages."""
    small = [DATA / "derived" / "real-pages-dev.warc.gz"]
    large = [*small, DATA / "wcxb-dev" / "pages.warc.gz"]
    runs = []
    for number, files in enumerate((small, small, large)):  # the first compiles
        recipe = PAGES.format(paths=", ".join(map(str, files)), data=DATA)
        recipe += BINS.format(data=DATA)
        runs.append(run(recipe, work / f"pages-{number}", "binning"))
    few, many = runs[1:]
    web = "{}/web".format
    documents = many[web("ingest")].artifact.manifest.ledger
    mean = documents.bytes("kept") / documents.documents("kept")
    print(f"real pages: {documents.documents('kept'):,} documents of {mean:,.0f} bytes")
    cut = many["cut/main"].artifact.manifest.ledger
    print("cut:", {e.reason: e.documents for e in cut.entries("dropped")}, cut.documents("kept"))
    found = {
        "ingest.warc": slope(few[web("ingest")], many[web("ingest")], by_text=False, ingest=True)
    }
    warc = found["ingest.warc"]
    with gzip.open(large[1]) as stream:
        raw = sum(len(chunk) for chunk in iter(lambda: stream.read(1 << 20), b""))
    warc["document_us"] = digits(warc["document_us"] * PAGE_BYTES / (raw / WCXB_PAGES))
    for stage in ("line_dedup", "langid", "quality", "perplexity", "pii", "decontaminate"):
        found[stage] = slope(few[web(stage)], many[web(stage)], by_text=True)
    found["binning"] = {"text_share": slope_of_bins(few, many)["text_share"]}  # real words
    return found


def records(work: Path) -> dict[str, dict[str, Any]]:
    """Costs on generated documents."""
    for count in (FEW, MANY):
        write_jsonl(work / f"jsonl-{count}", count, 2)
        write_others(work, count)
    found = {}
    for format in ("jsonl", "parquet", "wet"):
        runs = []
        for number, count in enumerate((FEW, FEW, MANY)):
            folder = work / f"{format}-{count}"
            recipe = RECORDS.format(format=format, folder=folder)
            last = "binning" if format == "jsonl" else "ingest"
            if format == "jsonl":
                recipe += BINS.format(data=DATA)
            runs.append(run(recipe, work / f"{format}-run-{number}", last))
        few, many = runs[1:]
        ingest = slope(few["ingest/web"], many["ingest/web"], by_text=False, ingest=True)
        found[f"ingest.{format}"] = ingest
        if format != "jsonl":
            continue
        found["signatures"] = slope(few["signatures/web"], many["signatures/web"], by_text=True)
        by_length(found["signatures"], mean_text(few, many))
        for stage in ("cut/main", "dedup/main"):
            found[stage.partition("/")[0]] = slope(few[stage], many[stage], by_text=False)
        found["select"] = slope_of_select(few["select/web"], many["select/web"])
        by_length(found["select"], mean_text(few, many))
        found["binning"] = slope_of_bins(few, many)
        found["binning"].pop("text_share")  # generated words are no words of a tokenizer
    return found


def mean_text(few: dict[str, Taken], many: dict[str, Taken]) -> float:
    """Bytes of a document between two runs."""
    one, other = few["ingest/web"], many["ingest/web"]
    return (other.text - one.text) / (other.documents - one.documents)


def by_length(cost: dict[str, Any], text_bytes: float) -> None:
    """Of what is written of a document's hashes, all but the signature grows with its text."""
    growing = max(cost["document_bytes"] - SIGNATURE_BYTES, 0)
    cost["document_bytes"] -= growing
    cost["text_share"] = digits(cost.get("text_share", 0) + growing / text_bytes)


def slope_of_select(few: Taken, many: Taken) -> dict[str, Any]:
    """Lines of text, and the index of survivors for later crawls."""
    found = slope(few, many, by_text=True)
    index = many.artifact.statistics["index"]["bytes_per_document"]
    ledgers = [taken.artifact.manifest.ledger for taken in (few, many)]
    documents, text = (
        getattr(ledgers[1], unit)("kept") - getattr(ledgers[0], unit)("kept")
        for unit in ("documents", "bytes")
    )
    lines = many.written - few.written - index * documents
    return found | {"document_bytes": digits(index), "text_share": digits(lines / text)}


def slope_of_bins(few: dict[str, Taken], many: dict[str, Taken]) -> dict[str, Any]:
    """Binning reads what select wrote; its ledger counts documents without their text."""
    one, other = few["binning/web"], many["binning/web"]
    text = [taken["select/web"].artifact.manifest.ledger.bytes("kept") for taken in (few, many)]
    size = text[1] - text[0]
    return {
        "mb_ms": digits((other.seconds - one.seconds) / size * 1e9),
        "text_share": digits((other.written - one.written) / size),
        "worker_bytes": digits(other.peak, 2),
    }


def write_others(work: Path, count: int) -> None:
    """The generated documents as Parquet and as WET."""
    texts = [text for block in Corpus().blocks(count) for text in block]
    for format in ("parquet", "wet"):
        (work / f"{format}-{count}").mkdir()
    pq.write_table(
        pa.table({"id": [str(n) for n in range(count)], "text": texts}),
        work / f"parquet-{count}" / "a.parquet",
        row_group_size=1_000,
        compression="zstd",
    )
    with (work / f"wet-{count}" / "a.warc.wet.gz").open("wb") as stream:
        for number, text in enumerate(texts):
            uri = f"http://example.org/{number}"
            stream.write(gzip.compress(record("conversion", text.encode(), uri), 6))


def shards(work: Path) -> dict[str, dict[str, Any]]:
    """Milliseconds of the one process that hands out and records parts, by stage."""
    runs = []
    for number, count in enumerate((SHARDS[0], *SHARDS)):
        folder = work / f"shards-{number}"
        folder.mkdir()
        for part in range(count):
            text = f"document {part} " + "some words of it " * 20
            (folder / f"{part:05d}.jsonl").write_text(json.dumps({"text": text}) + "\n")
        with parts_of_one_file():
            recipe = RECORDS.format(format="jsonl", folder=folder)
            runs.append(run(recipe, work / f"shards-run-{number}", "select", TWO))
    few, many = runs[1:]
    parts = SHARDS[1] - SHARDS[0]
    found = {}
    for id, taken in many.items():
        stage = id.partition("/")[0]
        spent = (taken.seconds - few[id].seconds) / parts * 1e3
        found[stage] = {"one_process_part_ms": digits(max(spent, 0.0))}
    return {stage: cost for stage, cost in found.items() if stage != "report"}


class parts_of_one_file:
    """Ingest makes one part of every file of 300 to 600 bytes."""

    def __enter__(self) -> None:
        from tasks.ingest import parts

        self.before = parts.PART_BYTES
        parts.PART_BYTES = (300, 300)  # a file of twice a part's bytes is cut

    def __exit__(self, *_: object) -> None:
        from tasks.ingest import parts

        parts.PART_BYTES = self.before


def machine() -> str:
    """Processor and number of cores."""
    names = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return f"{names[0].strip()}, {len(names)} cores"


def replaced(found: dict[str, dict[str, Any]]) -> None:
    """Put measured figures into costs.yaml, where the file has other keys leave those. Those of
    parts are of every kind of a stage, and say nothing of where the rest is from.
    """
    text = COSTS.read_text(encoding="utf-8")
    head, _, _ = text.partition("\nstages:")
    stages: dict[str, dict[str, Any]] = yaml.safe_load(text)["stages"] or {}
    parts = {stage: cost for stage, cost in found.items() if [*cost] == ["one_process_part_ms"]}
    for stage in stages:
        stages[stage] |= parts.get(stage.partition(".")[0], {})
    for stage, cost in found.items():
        if stage in parts:
            continue
        kept = {k: v for k, v in stages.get(stage, {}).items() if k not in cost}
        stages[stage] = {**kept, **cost}
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        stages[stage]["from"] = f"tests/benchmarks/unit_costs.py, {day}, {machine()}"
    lines = yaml.safe_dump({"stages": stages}, sort_keys=False, width=100, allow_unicode=True)
    COSTS.write_text(head + "\n" + lines, encoding="utf-8")


def sections(names: list[str], work: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """The costs of each section."""
    for name in names:
        (work / name).mkdir()
        yield {"pages": pages, "records": records, "shards": shards}[name](work / name)


def main() -> None:
    """Run the sections that were asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sections", nargs="*", default=["pages", "records"])
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for found in sections(given.sections, Path(temporary)):
            for stage, cost in found.items():
                print(stage, cost, flush=True)
            if given.write:
                replaced(found)


if __name__ == "__main__":
    main()
