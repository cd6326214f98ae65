"""Files that a stage could not use are refused by the plan, with file and line, before a crawl."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from infra.stage import Stage
from tests.small_base import byte_tokenizer, write_base

RECIPE = """\
name: r
store: {store}
remote: {{cache: {store}/cache}}
sources:
  web:
    ingest: {{format: jsonl, paths: [a.jsonl], fields: {{text: meta.text, url: meta.url}}}}
    category: web
benchmarks:
  exam: {{format: multiple-choice, paths: [exam.jsonl]}}
decontaminate: {{}}
tokenizer: {{base: base, expand: {{method: pieces, pieces: pieces.jsonl}}}}
model: {{base: base}}
evaluation: {{models: [base, model], tasks: [exam]}}
"""
ITEM = {"question": "Which?", "choices": ["a", "b"], "answer": 1}


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    write_base(tmp_path / "base")
    write(tmp_path, "a.jsonl", lines({"meta": {"text": "text", "url": "u"}, "pages": [{"n": 1}]}))
    write(tmp_path, "exam.jsonl", lines(ITEM))
    write(tmp_path, "pieces.jsonl", lines({"piece": "ab"}))
    write(tmp_path, "r.yaml", RECIPE.format(store=tmp_path / "store"))
    return tmp_path / "r.yaml"


def write(folder: Path, name: str, text: str | bytes) -> None:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def config(folder: Path, **changes: Any) -> None:
    known = json.loads((folder / "base/config.json").read_text())
    write(folder, "base/config.json", json.dumps(known | changes))


def pickles(folder: Path) -> None:
    (folder / "base/model.safetensors").rename(folder / "base/pytorch_model.bin")


def half_of_the_weights(folder: Path) -> None:
    whole = (folder / "base/model.safetensors").read_bytes()
    write(folder, "base/model.safetensors", whole[: len(whole) // 2])


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a base without tokenizer": (
        lambda folder: (folder / "base/tokenizer.json").unlink(),
        "r.yaml:11: tokenizer.base: .*base cannot be opened as a base: it needs tokenizer.json",
    ),
    "a tokenizer that is cut": (
        lambda folder: write(folder, "base/tokenizer.json", '{"model": '),
        "r.yaml:11: tokenizer.base: .*cannot be read as a tokenizer",
    ),
    "a matrix smaller than its tokenizer": (
        lambda folder: write(folder, "base/tokenizer.json", byte_tokenizer(300).to_str()),
        "r.yaml:12: model.base: the base's tokenizer has 300 tokens, and its matrix 260 rows",
    ),
    "another vocabulary than the matrix": (
        lambda folder: config(folder, vocab_size=320),
        "r.yaml:12: model.base: .*config.json says vocab_size 320, but the matrices have",
    ),
    "other shapes": (
        lambda folder: config(folder, intermediate_size=64),
        r"r.yaml:12: model.base: .*has shape \[32, 48\], but config.json calls for \[32, 64\]",
    ),
    "layers that are not there": (
        lambda folder: config(folder, num_hidden_layers=7),
        "r.yaml:12: model.base: .*num_hidden_layers 7, but the tensors have layers 0 to 5",
    ),
    "pickles alone": (pickles, "r.yaml:12: model.base: .*holds its weights as pickles"),
    "weights cut in half": (
        half_of_the_weights,
        "r.yaml:12: model.base: .*is not a complete safetensors file",
    ),
    "an answer of a wrong type": (
        lambda folder: write(folder, "exam.jsonl", lines(ITEM | {"answer": "b"})),
        "r.yaml:9: benchmarks.exam.paths: .*record 0: .*answer must be an index .* found 'b'",
    ),
    "pieces under a wrong key": (
        lambda folder: write(folder, "pieces.jsonl", lines({"token": "ab"})),
        'r.yaml:11: tokenizer.expand.pieces: pieces.jsonl:1: no string under "piece"',
    ),
    "text in another field": (
        lambda folder: write(folder, "a.jsonl", lines({"meta": {"body": "b"}, "n": 1})),
        "r.yaml:6: sources.web.ingest.fields: .*none has text in 'meta.text'; they have "
        "meta.body, n. Name the field",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_stage_could_not_use_is_refused(recipe: Path, case: str) -> None:
    prepared = prepare(RunRequest.of(recipe))
    assert prepared.doubts == () and prepared.plan.to_run()
    spoil, message = CASES[case]
    spoil(recipe.parent)
    for _ in range(2):  # the second time from memory
        with pytest.raises(RecipeError, match=message) as refused:
            prepare(RunRequest.of(recipe))
        assert len(refused.value.problems) == 1  # what several stages find is told once


def test_a_first_record_that_is_lost_and_fields_that_none_has_are_warned_about(
    recipe: Path,
) -> None:
    good = (recipe.parent / "a.jsonl").read_text()
    write(recipe.parent, "a.jsonl", '{"meta": {"te\n' + good)
    fields = "sources.web.ingest.fields={text: [meta.text, pages.0.title], date: when}"
    broken, *absent = prepare(RunRequest.of(recipe, [fields])).doubts
    assert "sources.web.ingest.paths: the first record of " in broken and "is not JSON" in broken
    assert [sentence.partition(";")[0] for sentence in absent] == [
        "sources.web.ingest.fields: text: 'pages.0.title' is in none of 1 records looked at",
        "sources.web.ingest.fields: date: 'when' is in none of 1 records looked at",
    ]
    assert all("they have meta.text, meta.url, pages.n" in sentence for sentence in absent)


def test_a_file_that_vanishes_while_the_plan_is_made_is_named(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exam = recipe.parent / "exam.jsonl"

    def gone(stage: Any, parameters: Any, pins: Any, access: Any) -> list[Any]:
        exam.unlink(missing_ok=True)  # it has been pinned
        for found in pins.values():
            for pin in found:
                Path(pin.path).stat()
        return []

    monkeypatch.setattr("infra.stage.Stage.faults", gone)
    with pytest.raises(RecipeError, match=r"exam\.jsonl was there a moment ago, and is not now"):
        prepare(RunRequest.of(recipe))


def test_what_was_said_of_a_file_that_was_away_is_not_remembered(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pins are those of the whole file, and so is what is remembered by them."""
    exam, looks = recipe.parent / "exam.jsonl", Stage.faults
    whole = exam.read_bytes()

    def damaged_meanwhile(stage: Any, parameters: Any, pins: Any, access: Any) -> Any:
        exam.write_bytes(b"{")
        try:
            return looks(stage, parameters, pins, access)
        finally:
            exam.write_bytes(whole)

    with monkeypatch.context() as patched:
        patched.setattr(Stage, "faults", damaged_meanwhile)
        with pytest.raises(RecipeError, match="exam"):
            prepare(RunRequest.of(recipe))
    prepare(RunRequest.of(recipe))
