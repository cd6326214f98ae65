"""Golden digests: what every bitwise stage writes for a tiny corpus, and with which libraries.

The corpus and the recipes are code; the stages are those of a real plan, built inline.
`tests/golden.json` holds, per stage, its version and, per artifact, the digest of its data, the
artifact's version and a digest of its inputs' data, so that a change is blamed on the stage that
changed and not on all that follow it.

    python -m tests.golden            print the digests of the code as it is
    python -m tests.golden --record   write tests/golden.json (after bumping the version of what
                                      changed)
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.metadata
import json
import sys
import tempfile
import unicodedata
import zlib
from pathlib import Path
from typing import Any, Literal

from infra.engine import EngineConfig
from infra.stage import Stage
from infra.store import Artifact
from tests.end_to_end.direct import run_direct
from tests.end_to_end.world import write_recipe, write_world
from tests.tasks.langid.fasttext_file import write_classifier

FILE = Path(__file__).with_name("golden.json")
RECORD = "python -m tests.golden --record"
LIBRARIES = (
    "datasets",
    "fasttext",
    "fastwarc",
    "kenlm",
    "numba",
    "numpy",
    "phonenumbers",
    "pyarrow",
    "resiliparse",
    "safetensors",
    "sentencepiece",
    "tokenizers",
    "torch",
    "transformers",
)
"""Libraries whose release may change what a stage writes."""

GROWN = """\
extends: small.yaml
name: grown
sources:
  crawl:
    line_dedup: {minimum_characters: 4}
    pii: {}
    classifiers: {craft: {keep: {curve: {0: drop, 20: 1, 60: 1.5, 80: 3}}, unscored: keep}}
classifiers: {craft: {model: craft.bin}}
decontaminate: {action: passage}
tokenizer:
  train: null
  base: artifact:small/model/main@latest
  expand: {method: continue-bpe, size: 560, from: [web-zh]}
model:
  create: null
  base: artifact:small/model/main@latest
  embeddings: mean
  layers: [1, 0, 1]
  context: {positions: 256, rope: {type: yarn}}
  pad_to_multiple_of: 8
evaluation: null
embeddings: {model: base}
semantic: {floor: 0.7, keep: "<0.9"}
"""
"""A second recipe over the first's crawl and model: repeated lines and leaked passages go,
documents that say the same go, tokenizer and model grow.
"""


COPIES = ("shares",)
"""Stages that copy what a numeric stage wrote."""


def bitwise_stages() -> dict[str, Stage]:
    """Every stage of `tasks` that promises equal bytes of its own, by name."""
    root = Path(__file__).resolve().parents[1]
    names = sorted(path.parent.name for path in (root / "tasks").glob("*/stage.py"))
    stages = [importlib.import_module(f"tasks.{name}.stage").STAGE for name in names]
    return {stage.name: stage for stage in stages if stage.bitwise and stage.name not in COPIES}


def environment() -> dict[str, str]:
    """What besides our own code decides bytes: releases of libraries, Unicode tables, zlib."""
    found = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {**found, "unicode": unicodedata.unidata_version, "zlib": zlib.ZLIB_RUNTIME_VERSION}


def build_all(folder: Path) -> dict[str, Artifact]:
    """Take the corpus through every bitwise stage below `folder`; `recipe/stage/name` ->
    artifact.
    """
    write_world(folder / "world", pages=32)
    write_recipe(folder / "world")
    write_classifier(
        folder / "world" / "craft.bin", {"hq": "pottery silk honey paper", "lq": "iron salt wool"}
    )
    (folder / "world" / "grown.yaml").write_text(GROWN, encoding="utf-8")
    inline, found = EngineConfig(kind="inline", cpu_threads=1), {}
    for recipe in ("small", "grown"):
        file, store = folder / "world" / f"{recipe}.yaml", folder / "store"
        made = run_direct(file, store, inline, until="binning") | run_direct(
            file, store, inline, only=("model",)
        )
        found |= {f"{recipe}/{id}": artifact for id, artifact in made.items()}
    return found


def goldens(artifacts: dict[str, Artifact]) -> dict[str, Any]:
    """What `golden.json` says of these artifacts: stage -> its version and its artifacts."""
    stages = bitwise_stages()
    found: dict[str, Any] = {
        name: {"version": stage.version, "artifacts": {}} for name, stage in stages.items()
    }
    seen: set[str] = set()
    for key, artifact in artifacts.items():
        if artifact.identity in seen or artifact.stage not in stages:
            continue
        seen.add(artifact.identity)
        read = [given.digest for several in artifact.manifest.inputs.values() for given in several]
        found[artifact.stage]["artifacts"][key] = {
            "digest": artifact.digest[:16],
            "inputs": hashlib.sha256("".join(read).encode()).hexdigest()[:16],
            "version": artifact.version,
        }
    return found


Verdict = Literal["ok", "bump", "record", "follows"]


def judge(stage: str, recorded: dict[str, Any], now: dict[str, Any]) -> tuple[Verdict, str]:
    """One stage's case (`bump` its version, `record` it, or it `follows` from an input's change),
    and the words.
    """
    if stage not in recorded:
        return "record", f"{stage} has no golden digest yet; record it: {RECORD}"
    before, after = recorded[stage], now[stage]
    if before["version"] != after["version"]:
        return (
            "record",
            f"{stage} went from version {before['version']} to {after['version']}; record it: "
            f"{RECORD}",
        )
    changed, other, follows = [], sorted(set(before["artifacts"]) ^ set(after["artifacts"])), []
    for key in sorted(set(before["artifacts"]) & set(after["artifacts"])):
        known, found = before["artifacts"][key], after["artifacts"][key]
        if known["inputs"] != found["inputs"]:
            follows.append(key)
        elif known["digest"] != found["digest"]:
            (changed if known["version"] == found["version"] else other).append(key)
    if changed:
        return "bump", (
            f"the output of stage {stage} changed while its version stayed {after['version']} "
            f"({', '.join(changed)}): bump tasks/{stage}/stage.py version, then record: {RECORD}"
        )
    if other:
        return (
            "record",
            f"{', '.join(other)}: made with other parameters or files than recorded; record it: "
            f"{RECORD}",
        )
    return (
        ("follows", f"the inputs of {', '.join(follows)} changed; fix or record those")
        if follows
        else ("ok", "")
    )


def main() -> int:
    """See the module docstring."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden")
    parser.add_argument("--record", action="store_true", help="write tests/golden.json")
    record = parser.parse_args().record
    with tempfile.TemporaryDirectory() as folder:
        now = {"environment": environment(), "stages": goldens(build_all(Path(folder)))}
    text = json.dumps(now, indent=1, sort_keys=True) + "\n"
    if not record:
        sys.stdout.write(text)
        return 0
    if FILE.exists():
        before = json.loads(FILE.read_text(encoding="utf-8"))
        if before["environment"] == now["environment"]:
            for stage in now["stages"]:
                verdict, words = judge(stage, before["stages"], now["stages"])
                if verdict == "bump":
                    sys.stderr.write(f"not recorded: {words}\n")
                    return 1
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
