"""Copies of the recipes that come with Puna, with a user's own files and base."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from flows.recipe.copying import base_of, copies, format_of, names, rewritten, sources
from flows.recipe.file import RecipeError, load
from flows.recipe.read import read_recipe


def test_values_are_replaced_where_they_stand_and_comments_stay() -> None:
    text = (
        "a: {b: 1, c: [x, y]}   # flow\n"
        "d:\n"
        "  e:                    # a block\n"
        "    f: 1\n"
        "    g: [1, 2]           # its last value\n"
        "  # after the block\n"
        "  h: old  # scalar\n"
    )
    changed = rewritten(
        text, {("a", "c"): "[z]", ("d", "e"): "{new: 1}", ("d", "h"): "new", ("d", "no"): "never"}
    )
    assert changed == (
        "a: {b: 1, c: [z]}   # flow\n"
        "d:\n"
        "  e:                    # a block\n"
        "    {new: 1}           # its last value\n"
        "  # after the block\n"
        "  h: new  # scalar\n"
    )
    assert yaml.safe_load(changed)["d"] == {"e": {"new": 1}, "h": "new"}


@pytest.mark.parametrize("name", names())
def test_every_recipe_is_copied_with_what_it_extends(name: str, tmp_path: Path) -> None:
    for path, text in copies(name, tmp_path / "mine.yaml", {}, "").items():
        path.write_text(text, encoding="utf-8")
    copied = load(tmp_path / "mine.yaml").data
    original = load(Path(__file__).parents[3] / "configs" / f"{name}.yaml").data
    assert copied.pop("name") == "mine" and original.pop("name")
    assert copied == original


def test_sources_and_base_are_replaced_in_the_file_that_states_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-base").mkdir()
    file = Path("recipes/mine.yaml")
    files = {"slimpajama": "text/*.jsonl.zst", "skypile": "s3://bucket/zh.warc.gz"}
    texts = copies("tinyllama/chinese", file, files, "")
    assert list(texts) == [file, Path("recipes/base.yaml")]
    base = yaml.safe_load(texts[Path("recipes/base.yaml")])
    ingest = {"format": "jsonl", "paths": ["../text/*.jsonl.zst"], "fields": {"text": "text"}}
    assert base["sources"]["slimpajama"]["ingest"] == ingest
    assert base["sources"]["skypile"]["ingest"]["paths"] == ["s3://bucket/zh.warc.gz"]
    assert base["name"] == "tinyllama-base"
    adapted = yaml.safe_load(copies("adapt", file, {}, "my-base")[file])
    assert adapted["tokenizer"]["base"] == adapted["model"]["base"] == "../my-base"
    adapted = yaml.safe_load(copies("adapt", file, {}, "org/name")[file])
    assert adapted["model"]["base"] == "org/name"


def test_own_questions_keep_their_prompts_and_get_the_category_of_those_they_replace(
    tmp_path: Path,
) -> None:
    file = tmp_path / "mine.yaml"
    files = {"qa-zh": "https://example.org/q.jsonl", "web-en": "https://example.org/w.jsonl"}
    text = copies("colossal-llama-2", file, files, "")[file]
    found = yaml.safe_load(text)["sources"]
    assert found["qa-zh"] == {
        "ingest": {"format": "jsonl", "paths": ["https://example.org/q.jsonl"]},
        "category": "qa-zh",
        "dedup": False,
    }, "fields are what ingest finds: source and target"
    assert found["web-en"]["ingest"]["fields"] == {"text": "text"}
    file.write_text(text, encoding="utf-8")
    assert read_recipe(file).sources["qa-zh"].category == "qa-zh"


def test_what_cannot_be_copied_is_refused_with_what_there_is(tmp_path: Path) -> None:
    for name, files, base, told in (
        ("adap", {}, "", "did you mean 'adapt'"),
        ("adapt", {"txt": "a.jsonl"}, "", "no source 'txt' (did you mean 'text'?)"),
        ("tinyllama/base", {}, "my-base", "there is no base to replace"),
    ):
        with pytest.raises(
            RecipeError, match=told.replace("(", r"\(").replace(")", r"\)").replace("?", r"\?")
        ):
            copies(name, tmp_path / "mine.yaml", files, base)
    with pytest.raises(RecipeError, match=r"extends base\.yaml, which is copied beside it; name"):
        copies("tinyllama/chinese", tmp_path / "base.yaml", {}, "")
    assert sources("adapt") == {"text": "text/*.jsonl"} and base_of("adapt") == "base-model"
    found = [format_of(name) for name in ("a.jsonl", "b/*.warc.gz", "c.txt.zst", "d.parquet", "e/")]
    assert found == ["jsonl", "warc", "text", "parquet", "jsonl"]


def test_the_command_asks_at_a_terminal_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    silent = CliRunner().invoke(app, ["init", "silent.yaml"])
    assert silent.exit_code == 0 and "files of source" not in silent.output
    assert "not here: text/*.jsonl (source text), base-model (the base); put" in silent.output
    (tmp_path / "own").mkdir()
    (tmp_path / "own/a.jsonl").touch()
    words = ["init", "whole.yaml", "--source", "text=own/*.jsonl", "--base", "own"]
    assert "not here" not in CliRunner().invoke(app, words).output
    monkeypatch.setattr("flows.cli.setting_up._at_a_terminal", lambda: True)
    asked = CliRunner().invoke(app, ["init", "asked.yaml"], input="mine/*.jsonl\n\n")
    assert asked.exit_code == 0, asked.output
    assert load(tmp_path / "asked.yaml").data["sources"]["text"]["ingest"]["paths"] == [
        "mine/*.jsonl"
    ]
    assert load(tmp_path / "asked.yaml").data["model"]["base"] == "base-model"
    refused = CliRunner().invoke(app, ["init", "asked.yaml", "--base", "x"])
    assert refused.exit_code == 2 and "already exists" in refused.stderr
    refused = CliRunner().invoke(app, ["init", "new.yaml", "--source", "mine.jsonl"])
    assert refused.exit_code == 2 and "NAME=FILES" in refused.stderr
