"""Compiled loops are cached between processes, and a broken cache never stops a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CODE = """
from tasks.text.utf8 import mix
from tasks.text.shingles import shingle
print(sum(mix.stats.cache_hits.values()), shingle(["one two three"], 2).hashes.tolist())
"""


def run(home: Path, **environment: str) -> str:
    env = {**os.environ, "XDG_CACHE_HOME": str(home), **environment}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=env, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_second_process_loads_and_a_damaged_cache_is_ignored(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert first.startswith("0 [")
    kept = sorted(tmp_path.glob("puna/compiled/*/*/*.nbc"))
    assert len(kept) >= 4
    second = run(tmp_path)
    assert second.startswith("1 [") and second[1:] == first[1:]
    for path in tmp_path.glob("puna/compiled/mix-*/*/*"):
        path.write_bytes(b"")
    assert run(tmp_path)[1:] == first[1:]


def test_without_a_cache_folder_loops_are_still_compiled(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert run(file).startswith("0 [")


def test_stages_name_every_module_that_compiles() -> None:
    """Modules that no stage names would be compiled by each worker."""
    stages = [f"tasks.{path.parent.name}.stage" for path in sorted(ROOT.glob("tasks/*/stage.py"))]
    code = f"""
import importlib, json, sys
for stage in {stages}:
    for module in importlib.import_module(stage).STAGE.compiles:
        importlib.import_module(module)
print(json.dumps([name for name in sys.modules if name.startswith("tasks.")]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    compiling = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in ROOT.glob("tasks/**/*.py")
        if "\n@compiled(" in path.read_text(encoding="utf-8")
    }
    assert len(compiling) >= 8 and compiling <= set(json.loads(done.stdout))


def test_a_changed_constant_invalidates_the_cache() -> None:
    from tasks.text.compiled import _digest

    def scaled(value: int) -> int:
        return value * FACTOR  # type: ignore[name-defined]  # noqa: F821

    digests = []
    for factor in (2, 3, 2):
        scaled.__globals__["FACTOR"] = factor
        digests.append(_digest(scaled))
    del scaled.__globals__["FACTOR"]
    assert digests[0] == digests[2] != digests[1]
