"""What is wrong with a classifier's `keep` is said of `keep`, in the words that the recipe uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.recipe.file import RecipeError
from flows.recipe.read import read_recipe

RECIPE = """\
name: keeps
sources:
  web:
    ingest: {format: jsonl, paths: [web.jsonl]}
    category: web
    classifiers: {edu: {keep: KEEP}}
  good: {ingest: {format: jsonl, paths: [good.jsonl]}}
classifiers: {edu: {good: [good], bad: [web]}}
"""


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ("{top: 30}", "top is 30; write a share of the documents, such as 0.3 for 30 %"),
        ("{top: 1.0e-15}", "top is 1e-15; write a share"),
        ("{top: .nan}", "top is nan; write a share"),
        ("{percentile: 70}", "percentile is 70; write it as in '>=70' or '<30'"),
        ("{percentile: '>=120'}", "percentile 120 is not from 0 to below 100"),
        ("{curve: {0: drop}}", "the curve drops everything"),
        ("{curve: {0: 1, 50: -2}}", "factor -2 is not from 0 (drop) to 100"),
        ("{curve: {0: 1, 0.0: 2}}", "the curve states a percentile twice"),
        ("{curve: [1, 2]}", "curve is to be a map, such as {0: drop"),
        ("{topp: 0.3}", "state one of `top`"),
        ("{steps: [[0, 1]]}", "state one of `top`"),
        ("{}", "state one of `top`"),
        ("5", "5 is not a comparison; write one of >=, >, <=, < and a number, such as '>=0.5'"),
        ("[0.5]", "[0.5] is not a comparison"),
        ("'>=much'", "'much' in '>=much' is not a number"),
        ("'>=2'", "scores of edu are probabilities, from 0 to 1, and none is >=2"),
        ("'<0'", "scores of edu are probabilities"),
        ("'>=nan'", "the limit is nan; write a finite number"),
    ],
)
def test_a_wrong_keep_is_named_as_it_was_written(keep: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "keeps.yaml"
    file.write_text(RECIPE.replace("KEEP", keep))
    with pytest.raises(RecipeError) as refused:
        read_recipe(file, [])
    (problem,) = refused.value.problems
    assert problem.startswith(f"{file}:6: sources.web.classifiers.edu.keep: {said}")
