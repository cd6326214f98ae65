"""What the runs read: a tiny crawl with all that filters drop, and a recipe of every stage."""

from __future__ import annotations

import random
from pathlib import Path

from tests.end_to_end.world import jsonl, paragraph, write_world

RECIPE = """\
name: faults
engine: {kind: inline, cpu_threads: 1}
remote: {retry_limit_s: 20, retry_interval_s: 0.05}
sources:
  crawl:
    ingest: {format: warc, paths: ["crawl/*.warc.gz"]}
    langid: {keep: {languages: [en, zh], threshold: 0.4}}
    quality: {rules: [gopher, c4], keep: {rules: [gopher], except: [gopher.repetition]}}
    line_dedup: {minimum_characters: 4}
    pii: {}
    perplexity: {keep: [head, middle]}
    category: {en: web-en, zh: web-zh}
  letters:
    ingest: {format: jsonl, paths: [letters.jsonl]}
    langid: {}
    category: web-en
    again: true
  reference:
    ingest: {format: jsonl, paths: [reference.jsonl]}
language_models:
  en: {sources: [reference], vocabulary: 300, order: 2}
percentiles: {head: 50, middle: 98}
benchmarks:
  quiz: {format: multiple-choice, paths: [questions-en.jsonl], language: en}
dedup: {verify: 0.8, prefer: [length]}
decontaminate: {against: [quiz]}
select: {heldout: {fraction: 0.15, max_documents: 4}}
tokenizer: {train: {size: 400, from: [web-en, web-zh]}}
model:
  create: {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2,
           num_key_value_heads: 2, max_position_embeddings: 128, tie_word_embeddings: true}
binning: {sequence_length: 64, bins: 1}
training:
  optimizer: {lr: 3e-3}
  schedule: {kind: cosine, warmup: 500}
  checkpoint_every: 512
  batch: 512
  max_epochs: 1000
  phases:
    - {name: learn, tokens: 4K, mixture: {web-en: 0.5, web-zh: rest}}
evaluation: {models: [learn], tasks: [quiz], protocols: [harness, bits-per-byte]}
loop: {}
"""

PAGES = 24
READ = ("crawl/*.warc.gz", "letters.jsonl", "reference.jsonl", "questions-en.jsonl")
"""What the recipe reads."""


def write(folder: Path, *, recipe: str = RECIPE) -> Path:
    """Write everything that the recipe reads, and the recipe; returns its path."""
    write_world(folder, pages=PAGES)
    rng = random.Random(5)
    jsonl(folder / "reference.jsonl", [{"text": paragraph(rng, "en")} for _ in range(40)])
    file = folder / "faults.yaml"
    file.write_text(recipe, encoding="utf-8")
    return file
