"""The small twin of the plain recipe, to its report: on fewer pages, from a base of random weights,
and in this process. `make recipes` runs all twins as they are.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from infra.engine import EngineConfig
from tests.end_to_end.direct import run_direct
from tests.end_to_end.world import jsonl
from tests.small_base import write_base

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
RECIPE = """\
extends: {twin}
store: {folder}/store
sources: {{text: {{ingest: {{paths: [pages.jsonl]}}}}}}
tokenizer: {{base: base}}
model: {{base: base}}
"""


def test_the_plain_twin_trains_to_its_report(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = [
        "river",
        "market",
        "honey",
        "tower",
        "bridge",
        "winter",
        "school",
        "paper",
        "garden",
        "letter",
    ]
    jsonl(
        tmp_path / "pages.jsonl",
        [{"text": f"Page {n}. " + " ".join(rng.choice(words, 160))} for n in range(40)],
    )
    base = write_base(tmp_path / "base")
    (base / "tokenizer_config.json").write_text(json.dumps({"eos_token": "piece 0"}))
    zeros = load_file(base / "model.safetensors")
    drawn = {name: rng.normal(0, 0.05, of.shape).astype(np.float16) for name, of in zeros.items()}
    save_file(drawn, base / "model.safetensors", metadata={"format": "pt"})
    recipe = tmp_path / "adapt.yaml"
    recipe.write_text(RECIPE.format(twin=CONFIGS / "adapt-small.yaml", folder=tmp_path))
    built = run_direct(recipe, tmp_path / "store", EngineConfig(kind="inline", cpu_threads=1))
    trained = built["training/adapt"].statistics
    assert trained["loss_last"] < trained["loss_first"]
    assert "report/adapt-small" in built
