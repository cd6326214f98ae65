"""Compiled loops are kept between processes, and nothing that ails the cache stops a run."""

from __future__ import annotations

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
    done = subprocess.run([sys.executable, "-c", CODE], env=env, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_second_process_loads_and_a_damaged_cache_is_passed_over(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert first.startswith("0 [")
    kept = sorted(tmp_path.glob("puna/compiled/*/*/*.nbc"))
    assert len(kept) >= 4
    second = run(tmp_path)
    assert second.startswith("1 [") and second[1:] == first[1:]
    for path in tmp_path.glob("puna/compiled/mix-*/*/*"):
        path.write_bytes(b"")
    assert run(tmp_path)[1:] == first[1:]


def test_without_a_folder_loops_are_compiled_as_ever(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert run(file).startswith("0 [")


def test_a_changed_constant_is_another_function() -> None:
    from tasks.text.compiled import _digest

    def scaled(value: int) -> int:
        return value * FACTOR  # type: ignore[name-defined]  # noqa: F821

    digests = []
    for factor in (2, 3, 2):
        scaled.__globals__["FACTOR"] = factor
        digests.append(_digest(scaled))
    del scaled.__globals__["FACTOR"]
    assert digests[0] == digests[2] != digests[1]
