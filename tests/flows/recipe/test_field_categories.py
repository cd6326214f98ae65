"""`category: {field: ..., of: ...}`: what a recipe may say, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.planning.wiring import stages
from flows.recipe.file import RecipeError
from flows.recipe.read import read_recipe

RECIPE = """\
name: r
sources:
  web:
    ingest: {format: jsonl, paths: [a.jsonl]}
    category: CATEGORY
tokenizer: {train: {size: 300}}
"""


def recipe(folder: Path, category: str, **replaced: str) -> Path:
    text = RECIPE.replace("CATEGORY", category)
    for old, new in replaced.items():
        text = text.replace(old, new)
    (folder / "r.yaml").write_text(text)
    return folder / "r.yaml"


@pytest.mark.parametrize(
    ("stated", "fed"),
    [
        ("{field: kind, of: [books, code]}", {"books", "code"}),
        ("{field: kind, of: {Books: text, arXiv: text, code: code}}", {"text", "code"}),
        ("{field: meta.kind, of: [books], rest: other}", {"books", "other"}),
        ("{field: kind, of: [books], rest: books}", {"books"}),
    ],
)
def test_the_categories_are_those_that_are_stated(
    tmp_path: Path, stated: str, fed: set[str]
) -> None:
    read = read_recipe(recipe(tmp_path, stated))
    assert set(read.categories()) == fed
    fields = stages(read).nodes["ingest/web"].parameters.fields
    assert fields.category == read.sources["web"].category.field and fields.text == ()


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ("{field: kind}", r"category.of: state which values .* of: \[books, code\], or of: {value"),
        ("{field: kind, of: []}", r"category.of: state which values"),
        (
            "{field: kind, of: [Common Crawl]}",
            r"category.of: 'Common Crawl' cannot be .*{Common Crawl: NAME, ...}",
        ),
        ("{field: kind, of: [1]}", r"category.of: \[1\] is not a map"),
        ("{field: kind, of: {' a': a}}", r"' a' is never read: .* single blanks"),
        ("{field: kind, of: [index]}", "category 'index' is reserved"),
        ("{field: kind, of: [a], rest: heldout}", "category 'heldout' is reserved"),
        ("{field: kind, off: [a]}", r"category.off: unknown key \(did you mean 'of'\?\)"),
        ("{field: '', of: [a]}", "category.field: is empty text"),
        ("[web]", r"category: \['web'\] is not text"),
    ],
)
def test_other_statements_are_refused_with_file_and_line(
    tmp_path: Path, stated: str, told: str
) -> None:
    with pytest.raises(RecipeError, match=rf"r.yaml:\d: .*{told}"):
        read_recipe(recipe(tmp_path, stated))


def test_a_field_needs_records_that_have_fields_and_is_stated_once(tmp_path: Path) -> None:
    category = "{field: kind, of: [a]}"
    with pytest.raises(RecipeError, match=r"r.yaml:5: sources.web.category: records of format wet"):
        read_recipe(recipe(tmp_path, category, jsonl="wet"))
    stated = "jsonl, fields: {category: kind}"
    with pytest.raises(RecipeError, match=r"r.yaml:4: .*fields.category: is set by the plan"):
        read_recipe(recipe(tmp_path, category, **{"jsonl,": f"{stated},"}))
