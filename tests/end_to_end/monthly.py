"""A small world that grows by a crawl at a time, and the recipe that runs once for each."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from tests.end_to_end.world import jsonl, paragraph

RECIPE = """\
name: monthly
engine: {kind: inline, cpu_threads: 1}
sources:
  web:
    ingest: {format: jsonl, paths: ["crawls/*.jsonl"]}
    langid: {}
    perplexity: {}
    category: web
  letters:
    ingest: {format: jsonl, paths: [letters.jsonl]}
    again: true
    category: letters
  prose:
    ingest: {format: jsonl, paths: [prose.jsonl]}
language_models:
  en: {sources: [prose], vocabulary: 300, order: 2}
percentiles: {head: 50, middle: 95}
dedup: {verify: 0.8, prefer: [length]}
select: {heldout: {fraction: 0.3, max_documents: 12}}
tokenizer: {train: {size: 400, from: [web]}}
model:
  create: {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2,
           num_key_value_heads: 2, max_position_embeddings: 64, tie_word_embeddings: true}
binning: {sequence_length: 64, bins: 1}
training:
  optimizer: {lr: 1e-2}
  schedule: {warmup: 200}
  batch: 512
  max_epochs: 1000
  phases:
    - {name: learn, tokens: 16K, mixture: {letters: 0.1, web: rest}}
evaluation: {models: [learn], protocols: [bits-per-byte]}
loop: {may_fall: {"heldout/*": null, "earlier/*": 0.1}}
"""


def pages(crawl: str, number: int, *, poisoned: bool = False) -> list[dict[str, object]]:
    """Documents of a crawl; poisoned ones have their letters shuffled."""
    rng = random.Random(crawl)
    found: list[dict[str, object]] = []
    for page in range(number):
        text = " ".join(paragraph(rng, "en") for _ in range(2))
        if poisoned:
            text = " ".join(rng.choice("xqzkvj") * rng.randint(3, 9) for _ in range(150))
        found.append({"text": text, "url": f"https://{crawl}.test/{page}"})
    return found


def write_recipe(folder: Path) -> Path:
    """Write the recipe, and what it reads besides crawls; returns the recipe's path."""
    rng = random.Random(3)
    for name in ("letters", "prose"):
        jsonl(folder / f"{name}.jsonl", [{"text": paragraph(rng, "en")} for _ in range(30)])
    file = folder / "monthly.yaml"
    file.write_text(RECIPE, encoding="utf-8")
    return file


def drops(folder: Path) -> Iterator[str]:
    """Drop crawls into the folder, one before each turn: January; none; February, with a third of
    January again; a poisoned March.
    """
    january, february = pages("january", 60), pages("february", 40)
    for name, documents in (
        ("january", january),
        ("", []),
        ("february", [*february, *january[:20]]),
        ("march", pages("march", 60, poisoned=True)),
    ):
        if name:
            jsonl(folder / "crawls" / f"{name}.jsonl", documents)
        yield name
