"""Variants of a recipe share the phases that read the same: trained once, whatever else differs."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from infra.engine import EngineConfig
from infra.store import Store
from tests.end_to_end.direct import run_direct
from tests.end_to_end.world import jsonl, paragraph

pytestmark = pytest.mark.timeout(900)

INLINE = EngineConfig(kind="inline")


def variant(folder: Path, name: str, sources: list[str], phases: dict[str, str]) -> Path:
    """A recipe whose first phase all variants have; `phases`: name -> the category it reads."""
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64}
    values: dict[str, Any] = {
        "name": name,
        "sources": {
            source: {
                "ingest": {"format": "jsonl", "paths": [f"{source}.jsonl"]},
                "category": source,
            }
            for source in sources
        },
        "tokenizer": {"train": {"size": 300, "from": ["web"]}},
        "model": {"create": shape | heads},
        "binning": {"sequence_length": 32, "bins": 1},
        "training": {
            "batch": "4 rows",
            "schedule": {"warmup": "1 steps", "total": "100 steps"},
            "phases": [
                {"name": phase, "tokens": "3 steps", "mixture": {category: 1.0}}
                for phase, category in phases.items()
            ],
        },
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return folder / f"{name}.yaml"


def test_a_base_phase_is_trained_once_for_two_variants(tmp_path: Path) -> None:
    rng = random.Random(3)
    web = [{"text": paragraph(rng, "en")} for _ in range(30)]
    jsonl(tmp_path / "web.jsonl", [*web, *web[:3]])
    jsonl(tmp_path / "math.jsonl", [{"text": paragraph(rng, "zh")} for _ in range(12)])
    store = tmp_path / "store"
    base = run_direct(variant(tmp_path, "base", ["web"], {"base": "web"}), store, INLINE)
    recipe = variant(tmp_path, "math", ["web", "math"], {"base": "web", "domain": "math"})
    built = run_direct(recipe, store, INLINE)
    for shared in ("tokenizer/main", "model/main", "binning/web", "training/base"):
        assert built[shared].version == base[shared].version, shared
        assert len(Store.at(str(store)).root.child(shared).folders()) == 1
    for rebuilt in ("cut/main", "dedup/main", "select/web", "report/math"):
        assert rebuilt not in base or built[rebuilt].version != base[rebuilt].version
    assert built["select/web"].content_identity == base["select/web"].identity
    (previous,) = built["training/domain"].manifest.inputs["previous"]
    assert previous.identity == base["training/base"].identity
    steps = prepare(RunRequest.of(recipe, store=str(store))).plan.steps.values()
    assert {step.state for step in steps} == {"hit"}
