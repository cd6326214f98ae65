"""What `puna run` ends with when it does not end well: 2 a bad recipe, 1 a failed stage, 3 a
gate.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.fixtures import Puna, SmallRun
from tests.end_to_end.world import RECIPE, write_recipe

pytestmark = pytest.mark.timeout(
    900
)  # the whole runs behind a first test take minutes on a busy machine


def test_2_for_a_bad_recipe_before_anything_starts(
    puna: Puna, small_run: SmallRun, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path, RECIPE.replace("verify: 0.8", "verifi: 0.8"))
    done = puna("run", recipe, "--store", tmp_path / "store")
    assert done.returncode == 2 and "small.yaml:" in done.stderr and "verify" in done.stderr
    assert not (tmp_path / "store").exists()
    done = puna("run", small_run.recipe, "--store", small_run.url, "--only", "polish")
    assert done.returncode == 2 and "no such stage" in done.stderr


def test_1_for_a_failed_stage(puna: Puna, small_run: SmallRun) -> None:
    change = ("-s", "language_models.zh.vocabulary=8", "--until", "perplexity")
    done = puna("run", small_run.recipe, *change, "--store", small_run.url, "--json")
    assert (
        done.returncode == 1
        and "`vocabulary: 8` is below" in done.stderr
        and "Traceback" not in done.stderr
    )
    assert done.json["status"] == "failed" and small_run.store.runs()[-1]["status"] == "failed"
    results = done.results()
    assert results["language_model/zh"] == "failed" and results["perplexity/crawl"] == "skipped"
    assert results["langid/crawl"] == "hit"


def test_3_for_a_gate(puna: Puna, small_run: SmallRun) -> None:
    change = ("-s", "dedup.gates.removal_rate=0.001", "--until", "dedup")
    done = puna("run", small_run.recipe, *change, "--store", small_run.url, "--json")
    assert done.returncode == 3 and "dedup.accept" in done.stderr, done.stderr
    assert done.json["status"] == "stopped-by-gate" and done.results()["dedup/main"] == "failed"
