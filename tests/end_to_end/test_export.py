"""A phase of a recipe for axolotl: its model, its documents, its configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from safetensors import safe_open

from tests.end_to_end.fixtures import Puna, SmallRun

pytestmark = pytest.mark.timeout(900)


def test_a_phase_is_exported_to_axolotl(puna: Puna, small_run: SmallRun, tmp_path: Path) -> None:
    folder = tmp_path / "first"
    options = ("--to", "axolotl", "--recipe", small_run.recipe, "--store", small_run.url)
    done = puna("export", "training/first", folder, *options)
    assert done.returncode == 0, done.stderr
    assert "note: The mixture (web-en 0.5, web-zh rest) has no counterpart" in done.stderr
    values = yaml.safe_load((folder / "axolotl.yaml").read_text())
    assert values["learning_rate"] == 3e-3
    assert {p.name for p in (folder / "data" / "train").iterdir()} == {
        "web-en.jsonl",
        "web-zh.jsonl",
    }
    select = small_run.artifacts()["select/crawl"]
    lines = sum(
        len(Path(select.path(name)).read_text("utf-8").splitlines())
        for name in select.files("web-zh/")
    )
    assert len((folder / "data/train/web-zh.jsonl").read_text("utf-8").splitlines()) == lines
    with safe_open(folder / "model/model.safetensors", framework="np") as tensors:
        assert "model.embed_tokens.weight" in set(tensors.keys())
    ramped = puna("export", "training/second", tmp_path / "second", *options)
    assert ramped.returncode == 2 and "shares that ramp" in ramped.stderr
    assert not [path.name for path in tmp_path.iterdir() if "second" in path.name]
