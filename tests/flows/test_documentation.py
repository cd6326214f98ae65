"""The recipes in the documentation are valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flows.planning.wiring import stages
from flows.recipe.read import read_recipe

ROOT = Path(__file__).resolve().parents[2]
NAMED = {
    name: block
    for page in ("recipes.md", "tutorial.md")
    for block in re.findall(
        r"```yaml\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL
    )
    for name in re.findall(r"^name: (\S+)", block, re.MULTILINE)
}


@pytest.mark.parametrize("name", NAMED)
def test_every_example_reads_and_becomes_stages(name: str, tmp_path: Path) -> None:
    for other, block in NAMED.items():  # one extends another
        (tmp_path / f"{other}.yaml").write_text(block, encoding="utf-8")
    nodes = stages(read_recipe(tmp_path / f"{name}.yaml")).nodes
    assert "tokenizer/main" in nodes or "history" in NAMED[name] or "shape:" in NAMED[name]
