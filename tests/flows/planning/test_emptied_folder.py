"""A folder may be emptied once its files were read; one that never held any is a mistake."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.planning.looping.history import names
from flows.planning.prepare import Prepared, prepare
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from infra.engine import EngineConfig
from infra.stage import Pin
from infra.store import Store, promotions
from tests.end_to_end.direct import run_turn
from tests.end_to_end.world import jsonl


def write(folder: Path, *paths: str) -> Path:
    """A recipe with a loop over text, without a model."""
    source: dict[str, Any] = {"ingest": {"format": "jsonl", "paths": [*paths]}, "category": "web"}
    recipe = {"name": "loop", "sources": {"web": source}, "dedup": {}, "loop": {}}
    file = folder / "loop.yaml"
    file.write_text(json.dumps(recipe))
    return file


def drop(folder: Path, name: str) -> Path:
    """A file with documents of its own."""
    file = folder / f"{name}.jsonl"
    jsonl(file, [{"text": f"The people of {name} number {n} make pottery."} for n in range(30)])
    return file


def turn(recipe: Path) -> dict[str, Any]:
    return run_turn(recipe, recipe.parent / "store", EngineConfig(kind="inline"))


def planned(recipe: Path) -> Prepared:
    return prepare(RunRequest.of(recipe, store=str(recipe.parent / "store")))


@pytest.mark.parametrize("path", ["crawls", "crawls/*.jsonl", "crawls/**/*.jsonl"])
def test_emptied_of_what_was_read_there_is_nothing_new(tmp_path: Path, path: str) -> None:
    recipe = write(tmp_path, path)
    january = drop(tmp_path / "crawls", "january")
    first = turn(recipe)
    january.unlink()
    emptied = planned(recipe)
    assert emptied.nothing_new and emptied.turn is not None
    assert emptied.turn.lines() == [
        f"nothing new since run {first['run']}",
        "no file of web that it and the runs before it have not read",
        f"{tmp_path}/{path} names no file now; earlier runs read 1 there",
    ]
    drop(tmp_path / "crawls", "february")
    second = turn(recipe)
    assert second["status"] == "completed" and second["promotion"]["from"] == first["run"]


def test_another_emptied_folder_does_not_hold_up_what_is_new(tmp_path: Path) -> None:
    recipe = write(tmp_path, "a/*.jsonl", "b")
    read = [drop(tmp_path / "a", "january"), drop(tmp_path / "b", "february")]
    turn(recipe)
    read[0].unlink()
    drop(tmp_path / "b", "march")
    found = planned(recipe)
    assert f"{tmp_path}/a/*.jsonl names no file now; earlier runs read 1 there" in found.warnings()
    assert turn(recipe)["promotion"]["promoted"]
    store = Store.at(str(tmp_path / "store"))
    run = promotions.promoted_run(store, "loop")
    assert run is not None
    (pin,) = promotions.run_record(store, run)["pins"]["ingest/web"]["paths"]
    assert pin["name"] == "march.jsonl"


def test_a_folder_that_is_gone_or_never_held_a_file_is_refused(tmp_path: Path) -> None:
    recipe = write(tmp_path, "crawls/*.jsonl")
    (tmp_path / "crawls").mkdir()
    with pytest.raises(RecipeError, match="no file or folder matches"):
        planned(recipe).refuse_unresolved()
    drop(tmp_path / "crawls", "january")
    turn(recipe)
    shutil.rmtree(tmp_path / "crawls")
    with pytest.raises(RecipeError, match="no file or folder matches"):
        planned(recipe).refuse_unresolved()
    (tmp_path / "crawls").mkdir()
    assert planned(recipe).nothing_new
    (tmp_path / "other").mkdir()
    with pytest.raises(RecipeError, match="the folder is empty"):
        planned(write(tmp_path, "crawls/*.jsonl", "other")).refuse_unresolved()


@pytest.mark.parametrize(
    ("reference", "path", "named"),
    [
        ("/a/crawls", "/a/crawls/2024/x.gz", True),
        ("/a/crawls/", "/a/crawls/x.gz", True),
        ("/a/crawls", "/a/crawls-old/x.gz", False),
        ("/a/**/*.gz", "/a/x.gz", True),
        ("/a/*.gz", "/a/x.gz.part", False),
        ("file:///a/x.gz", "/a/x.gz", True),
        ("s3://b/crawls/*.gz", "s3://b/crawls/x.gz", True),
        ("s3://b/other/", "s3://b/crawls/x.gz", False),
    ],
)
def test_which_files_a_reference_names(reference: str, path: str, named: bool) -> None:
    assert names(reference, Pin(path, "x", "", 1)) is named
