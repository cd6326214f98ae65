"""A run takes no module from the working directory, nor ours from PYTHONPATH, in any of its
processes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from infra.engine import EngineConfig
from infra.store import Store
from tests.end_to_end.direct import digests, run_direct
from tests.end_to_end.fixtures import PUNA, Puna
from tests.end_to_end.world import jsonl, paragraph, questions

pytestmark = pytest.mark.timeout(600)

OURS = ("tasks", "flows", "infra")
MODULES = (
    *(
        "datasets",
        "kenlm",
        "json",
        "torch",
        "numpy",
        "prefect",
        "pyarrow",
        "transformers",
        "lm_eval",
        "pebble",
        "numba",
    ),
    *(
        "pandas",
        "pydantic",
        "yaml",
        "socket",
        "logging",
        "multiprocessing",
        "uvicorn",
        "fasttext",
        "puna_packages",
    ),
)
RECIPE = """\
name: hostile
engine: {kind: processes, workers: 1, cpu_threads: 1}
sources:
  web: {ingest: {format: jsonl, paths: [web.jsonl]}, quality: {rules: [c4]}, category: web}
benchmarks: {quiz: {format: multiple-choice, paths: [quiz.jsonl], language: en, limit: 2}}
dedup: {}
select: {heldout: null}
tokenizer: {train: {size: 300}}
model:
  create: {hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2,
           num_key_value_heads: 2, max_position_embeddings: 512, tie_word_embeddings: true}
binning: {sequence_length: 64}
training:
  optimizer: {lr: 1e-3}
  batch: 128
  phases: [{name: only, tokens: 256, mixture: {web: 1.0}}]
evaluation: {models: [only], tasks: [quiz]}
"""


def hostile(folder: Path, marks: Path, names: tuple[str, ...]) -> Path:
    """A folder of modules that leave a mark and raise; `infra` is a package."""
    folder.mkdir()
    for name in names:
        file = folder / name / "__init__.py" if name == "infra" else folder / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(
            f"open({str(marks / name)!r}, 'w').close()\nraise RuntimeError('the wrong {name}')\n"
        )
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    rng = random.Random(5)
    jsonl(folder / "web.jsonl", [{"text": paragraph(rng, "en")} for _ in range(12)])
    jsonl(folder / "quiz.jsonl", questions())
    (folder / "hostile.yaml").write_text(RECIPE, encoding="utf-8")
    return folder / "hostile.yaml"


def left_in(marks: Path) -> list[str]:
    """Names of the modules that were imported."""
    return sorted(mark.name for mark in marks.iterdir())


def test_a_run_from_a_hostile_folder_is_a_run_from_anywhere(
    puna: Puna, recipe: Path, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    here = hostile(tmp_path / "here", marks, (*OURS, *MODULES))
    path = hostile(tmp_path / "path", marks, ("tasks", "infra"))
    inline = EngineConfig(kind="inline", cpu_threads=1)
    elsewhere = digests(run_direct(recipe, tmp_path / "elsewhere", inline, until="training"))
    assert {"signatures/web", "training/only"} < elsewhere.keys()
    environment = {**puna.environment, "PYTHONPATH": str(path)}
    for kind, until in (("processes", "evaluation"), ("inline", "select")):
        words = [
            "--store",
            str(tmp_path / kind),
            "-s",
            f"engine.kind={kind}",
            "--until",
            until,
            "--json",
        ]
        command = [str(PUNA), "run", str(recipe), *words]
        done = subprocess.run(
            command, cwd=here, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, left_in(marks)) == (0, []), done.stderr
        store = Store.at(str(tmp_path / kind))
        found = {}
        for stage in json.loads(done.stdout)["stages"]:
            if (
                artifact := store.find(stage["stage"], stage["name"], stage["version"])
            ) is not None:
                found[f"{artifact.stage}/{artifact.name}"] = artifact.digest
        assert f"{until}/" in " ".join(found)
        assert {id: elsewhere[id] for id in found if id in elsewhere} == {
            id: digest for id, digest in found.items() if not id.startswith("evaluation/")
        }


def test_the_dashboard_starts_beside_hostile_modules(puna: Puna, tmp_path: Path) -> None:
    """Its server stands in Prefect's home, where a user may have put anything."""
    marks = tmp_path / "marks"
    marks.mkdir()
    home = hostile(tmp_path / "prefect", marks, MODULES)
    bare = dataclasses.replace(puna, environment={**puna.environment, "PREFECT_HOME": str(home)})
    started = bare("dashboard", "start")
    bare("dashboard", "stop")
    assert (started.returncode, left_in(marks)) == (0, []), started.stderr


def test_our_packages_are_ours_or_the_conflict_is_named(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    path = hostile(tmp_path / "path", marks, ("tasks", "infra"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "tasks.py").write_text("")

    def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        command = [sys.executable, "-P", "-c", code]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    done = python("import flows, infra.stage, tasks.documents.schema; print(tasks.__path__)", path)
    root = Path(__file__).resolve().parents[2]
    assert (done.stdout, left_in(marks)) == (f"{[str(root / 'tasks')]}\n", []), done.stderr
    refused = python("import tasks, flows", tmp_path / "other")
    assert (
        refused.returncode == 1
        and f"'tasks' is already imported from {tmp_path / 'other' / 'tasks.py'}, but Puna's"
        in refused.stderr
    )
