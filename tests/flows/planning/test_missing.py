"""Files of this machine that a recipe names and that are not there: errors of the recipe, never a
`?`, whatever parameter names them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from infra.engine import EngineConfig
from tests.end_to_end.direct import run_direct
from tests.small_base import write_base

RECIPE = """\
name: near
store: {store}
sources:
  web:
    ingest: {{format: text, paths: [a.txt]}}
    langid: {{}}
    quality: {{rules: [fineweb2.listed_words], word_lists: words}}
    perplexity: {{}}
    category: web
block: {{optout: {{domains: [block.txt]}}}}
language_models: {{zh: {{folder: lms}}}}
tokenizer: {{base: base}}
model: {{base: base}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    for name in ("a.txt", "words/deu_Latn.txt", "block.txt", "lms/zh.arpa.bin", "lms/zh.sp.model"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("example.org\n")
    write_base(tmp_path / "base")
    file = tmp_path / "near.yaml"
    file.write_text(RECIPE.format(store=tmp_path / "store"))
    return file


@pytest.mark.parametrize(
    ("present", "missing", "line"),
    [
        ("[a.txt]", "[gone.txt]", 5),
        ("[a.txt]", "[gone/*.gz]", 5),
        ("[a.txt]", "[./gone/]", 5),
        ("langid: {}", "langid: {model: gone.bin}", 6),
        ("word_lists: words", "word_lists: gone", 7),
        ("[block.txt]", "[gone.txt]", 10),
        ("folder: lms", "folder: gone", 11),
        ("zh: {folder: lms}", "zh: {lm: gone.bin, sentencepiece: lms/zh.sp.model}", 11),
        ("tokenizer: {base: base}", "tokenizer: {base: ./gone}", 12),
        ("model: {base: base}", "model: {base: /gone/base}", 13),
    ],
)
def test_what_is_not_here_is_refused_with_its_line(
    recipe: Path, present: str, missing: str, line: int
) -> None:
    recipe.write_text(recipe.read_text().replace(present, missing))
    done = CliRunner().invoke(app, ["plan", str(recipe), "--json"])
    assert done.exit_code == 2 and done.stdout == ""
    assert f"near.yaml:{line}: " in done.stderr and "no file or folder matches" in done.stderr


def test_what_is_named_twice_is_told_once(recipe: Path) -> None:
    both = recipe.read_text().replace("{base: base}", "{base: gone}")
    recipe.write_text(both)
    done = CliRunner().invoke(app, ["plan", str(recipe)])
    assert done.exit_code == 2 and done.stderr.count("no file or folder matches") == 1


def test_an_empty_folder_is_refused(recipe: Path) -> None:
    (recipe.parent / "words" / "deu_Latn.txt").unlink()
    done = CliRunner().invoke(app, ["plan", str(recipe)])
    assert done.exit_code == 2 and "words: the folder is empty" in done.stderr


def test_the_files_of_a_pinned_artifact_are_not_looked_for(recipe: Path) -> None:
    store = recipe.parent / "store"
    run_direct(recipe, store, EngineConfig(kind="inline"), until="ingest")
    (made,) = (path for path in (store / "ingest" / "web").iterdir() if path.is_dir())
    (recipe.parent / "a.txt").unlink()
    words = ["plan", str(recipe), "--json"]
    assert CliRunner().invoke(app, words).exit_code == 2
    done = CliRunner().invoke(app, [*words, "--pin", f"ingest/web={made.name}"])
    assert done.exit_code == 0, done.output
    stages = json.loads(done.stdout)["stages"]
    assert [s["result"] for s in stages if s["stage"] == "ingest"] == ["hit"]


@pytest.mark.parametrize(
    "name", ["lms/zh.arpa.bin", "base/tokenizer.json", "base/model.safetensors", "lid.bin"]
)
def test_pointers_of_lfs_are_refused_where_the_file_is_needed(recipe: Path, name: str) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 12345\n"
    (recipe.parent / "lid.bin").write_text("a model")
    (recipe.parent / "base" / "pytorch_model.bin").write_text(pointer)  # not needed
    stated = recipe.read_text().replace("langid: {}", "langid: {model: lid.bin}")
    recipe.write_text(stated)
    before = CliRunner().invoke(app, ["plan", str(recipe)])
    assert before.exit_code == 0 and "Git LFS" not in before.output
    (recipe.parent / name).write_text(pointer)
    found = CliRunner().invoke(app, ["plan", str(recipe)])
    said = " ".join(found.output.split())
    assert found.exit_code == 2 and f"{name}: is a pointer of Git LFS" in said
