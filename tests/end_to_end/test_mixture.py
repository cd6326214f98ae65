"""A mixture search from the recipe to a phase that draws by it, and what a rerun repeats."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

import tasks.evaluation.evaluate
import tasks.training.loop  # noqa: F401  (once, before processes are forked)
from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from infra.engine import EngineConfig
from infra.store import Artifact
from tests.end_to_end.direct import run_direct
from tests.end_to_end.world import jsonl, paragraph
from tests.tasks.training import forked

pytestmark = pytest.mark.timeout(900)

SHAPE = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "tie_word_embeddings": True,
}
ENGINE = EngineConfig(kind="inline", cpu_threads=1)


def search(**changes: Any) -> dict[str, Any]:
    """A search of five proxies."""
    proxies = [{"create": SHAPE, "tokens": "16 rows", "draws": 5}]
    return {"proxies": proxies, "law": "linear", "level": 0.8, "resamples": 20} | changes


def recipe(folder: Path, names: tuple[str, ...] = ("en", "zh"), **sections: Any) -> Path:
    """Write the recipe beside its texts."""
    for number, name in enumerate(("en", "zh", "digits")):
        rng = random.Random(number)
        texts = [
            " ".join(str(rng.randrange(10**6)) for _ in range(60))
            if name == "digits"
            else paragraph(rng, name)
            for _ in range(60)
        ]
        jsonl(folder / f"{name}.jsonl", [{"text": text} for text in texts])
    values = {
        "name": "mixing",
        "sources": {
            name: {"ingest": {"format": "jsonl", "paths": [f"{name}.jsonl"]}, "category": name}
            for name in names
        },
        "select": {"heldout": {"fraction": 0.1, "max_documents": 3}},
        "tokenizer": {"train": {"size": 300, "from": ["en"]}},
        "model": {"create": SHAPE},
        "binning": {"sequence_length": 32},
        "mixtures": {"main": search(categories=["en", "zh"])},
        "training": {
            "batch": "4 rows",
            "optimizer": {"lr": 1e-2},
            "phases": [{"name": "one", "tokens": "16 rows", "mixture": {"from": "main"}}],
        },
    } | sections
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def run(path: Path, folder: Path, until: str | None = None) -> dict[str, Artifact]:
    """Run it, with training processes that are forked."""
    with forked.workers():
        return run_direct(path, folder / "store", ENGINE, until=until)


def to_run(path: Path, folder: Path) -> list[str]:
    """What a plan would run."""
    prepared = prepare(RunRequest.of(path, store=str(folder / "store")))
    return [step.id for step in prepared.plan.to_run()]


def test_a_phase_draws_by_what_the_search_proposes(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    made = run(path, tmp_path)
    shares = made["shares/main"].statistics["shares"]
    drawn = made["training/one"].statistics["rows"]
    assert sum(shares.values()) == pytest.approx(1)
    for category, rows in drawn.items():
        assert abs(rows - 16 * shares[category]) <= 1
    assert to_run(path, tmp_path) == []
