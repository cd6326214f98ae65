"""What the runs read: a tiny crawl with all that filters drop, a base, and two recipes that have
every stage between them but `labels`, which asks a served model.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from tests.end_to_end.world import jsonl, paragraph, write_world
from tests.small_base import write_base

LOOP = """\
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
embeddings: {model: base}
benchmarks:
  quiz: {format: multiple-choice, paths: [questions-en.jsonl], language: en}
dedup: {verify: 0.8, prefer: [length]}
decontaminate: {against: [quiz]}
select: {heldout: {fraction: 0.15, max_documents: 4}}
tokenizer: {base: base, expand: {method: continue-bpe, size: 320, from: [web-zh]}}
model: {base: base, embeddings: mean}
binning: {sequence_length: 64, bins: 1}
training:
  optimizer: {lr: 3e-3}
  schedule: {kind: cosine, warmup: 1K}
  checkpoint_every: 1K
  batch: 512
  max_epochs: 1000
  phases:
    - {name: learn, tokens: 4K, mixture: {web-en: 0.5, web-zh: rest}}
evaluation: {models: [learn], tasks: [quiz], protocols: [harness, bits-per-byte]}
loop: {}
"""

SEARCH = """\
name: search
engine: {kind: inline, cpu_threads: 1}
classifiers: {prose: {good: [reference], bad: [letters], minimum: 3, heldout: 0.4}}
sources:
  letters:
    ingest: {format: jsonl, paths: [letters.jsonl]}
    classifiers: {prose: {}}
    category: letters
  reference: {ingest: {format: jsonl, paths: [reference.jsonl]}, category: prose}
select: {heldout: {fraction: 0.15, max_documents: 4}}
tokenizer: {base: base, expand: {method: continue-bpe, size: 320, from: [prose]}}
model: {base: base, embeddings: mean}
binning: {sequence_length: 64, bins: 1}
mixtures:
  main:
    proxies:
      - create: {hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
                 num_attention_heads: 2, num_key_value_heads: 2, max_position_embeddings: 64,
                 tie_word_embeddings: true}
        tokens: 8 rows
        draws: 4
    law: linear
    level: 0.5
    resamples: 20
    heldout_documents: 1
training:
  optimizer: {lr: 3e-3}
  batch: 512
  max_epochs: 1000
  phases:
    - {name: learn, tokens: 1K, mixture: {from: main}}
"""
"""A search for shares, which a recipe with a loop does not have, and a classifier, whose model of
50 MB would make every run slower.
"""

RECIPES = {"loop": LOOP, "search": SEARCH}

PAGES = 24
READ = ("crawl/*.warc.gz", "letters.jsonl", "reference.jsonl", "questions-en.jsonl", "base/*")
"""What the recipes read."""


def write(folder: Path) -> None:
    """Write everything that the recipes read, and `NAME.yaml` for each."""
    write_world(folder, pages=PAGES)
    rng = random.Random(5)
    jsonl(folder / "reference.jsonl", [{"text": paragraph(rng, "en")} for _ in range(40)])
    base = write_base(folder / "base", num_hidden_layers=1)
    (base / "tokenizer_config.json").write_text(json.dumps({"eos_token": "piece 0"}))
    weights, drawn = load_file(base / "model.safetensors"), np.random.default_rng(0)
    for name, zeros in weights.items():
        weights[name] = drawn.normal(0, 0.05, zeros.shape).astype(np.float16)
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    for name, text in RECIPES.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
