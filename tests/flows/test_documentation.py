"""Recipes that the documentation shows are recipes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flows.recipe import read_recipe
from flows.stages import stages

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.search(r"name: (\S+)", block)[1])
def test_every_example_reads_and_becomes_stages(block: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(block, encoding="utf-8")
    assert "tokenizer/main" in stages(read_recipe(tmp_path / "recipe.yaml")).nodes or "history" in block
