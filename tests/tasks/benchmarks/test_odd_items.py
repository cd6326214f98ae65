"""An item that cannot be asked is reported, and does not affect the other items of its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.stage import StageError
from tasks.benchmarks.model import Benchmark, Format
from tasks.benchmarks.read import BenchmarkError, Item, read_items
from tasks.decontaminate.grams import build_index
from tasks.decontaminate.stage import DecontaminateParameters
from tasks.evaluation.items import questions

KEY = "the answer names none of its choices"
HALF = "half a surrogate pair, which is no character"
MC: dict[str, Any] = {"question": "Which one?", "choices": ["a", "b"], "answer": 0}
ARC: dict[str, Any] = {
    "question": "Which one?",
    "choices": {"text": ["a", "b"], "label": ["A", "B"]},
    "answerKey": "B",
}
PIQA: dict[str, Any] = {"goal": "Which one?", "sol1": "a", "sol2": "b", "label": 1}
AGI: dict[str, Any] = {"question": "Which one?", "options": ["(A)a", "(B)b"], "label": "B"}
HUB: dict[str, Any] = {"question": "Which one?", "choices": ["a", "b"], "answer": 1}
FOUNDRY: dict[str, Any] = {"query": "Which one?", "choices": ["a", "b"], "gold": 1}

ODD: list[tuple[Format, dict[str, Any], dict[str, Any], str]] = [
    ("multiple-choice", MC, {"choices": []}, "no choices"),
    ("multiple-choice", MC, {"choices": ["a"]}, "only one choice"),
    ("multiple-choice", MC, {"answer": None}, "no right answer is given"),
    ("multiple-choice", MC, {"question": " "}, "an empty question"),
    ("multiple-choice", MC, {"question": "Which \ud83d?"}, HALF),
    ("multiple-choice", MC, {"choices": ["a\udc00", "b"]}, HALF),
    ("arc", ARC, {"answerKey": "E"}, KEY),
    ("arc", ARC, {"answerKey": "2"}, KEY),
    ("arc", ARC, {"answerKey": None}, "no right answer is given"),
    ("arc", ARC, {"choices": {"text": ["a"], "label": ["A"]}, "answerKey": "A"}, "only one choice"),
    ("arc", FOUNDRY, {"gold": 5}, KEY),
    ("piqa", PIQA, {"label": 2}, KEY),
    ("piqa", PIQA, {"label": ""}, "no right answer is given"),
    ("piqa", PIQA, {"goal": None}, "an empty question"),
    ("piqa", PIQA, {"sol1": None}, "an empty choice"),
    ("agieval", AGI, {"label": "C"}, KEY),
    ("agieval", AGI, {"label": ["A", "C"]}, KEY),
    ("agieval", AGI, {"options": ["(A)a"], "label": "A"}, "only one choice"),
    ("mmlu", HUB, {"answer": 4}, KEY),
    ("mmlu", HUB, {"answer": -1}, "no right answer is given"),
]


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def items_of(format: Format, *paths: Path) -> list[Item]:
    return read_items("b", Benchmark(format=format, paths=tuple(map(str, paths))), paths)


@pytest.mark.parametrize(("format", "good", "change", "problem"), ODD)
def test_an_item_that_cannot_be_asked_does_not_affect_the_others(
    tmp_path: Path, format: Format, good: dict[str, Any], change: dict[str, Any], problem: str
) -> None:
    path = lines(tmp_path / "b.jsonl", good, good | change, good)
    benchmark = Benchmark(format=format, paths=(str(path),))
    style = benchmark.resolved_style()
    if problem == "an empty choice":
        style = style.model_copy(update={"score": "texts"})
    asked = questions("b", benchmark, style, [path], [], shots=0, limit=None)
    assert [question.problem for question in asked] == ["", problem, ""]
    for question in asked:
        question.prompt.encode()
    # Decontamination reads the whole file too, and never takes choices without a question for a
    # leak.
    items = items_of(format, path)
    index = build_index({"b": items}, DecontaminateParameters(against={}, minimum_words=1))
    assert len(index.items) == 3
    assert index.unmatchable["b"] == (problem == "an empty question")


def test_an_answer_index_out_of_range_in_our_own_format_is_an_error(tmp_path: Path) -> None:
    """Only there does a file that counts from 1 show; its other items would be scored wrongly."""
    path = lines(tmp_path / "b.jsonl", MC, MC | {"answer": 2})
    with pytest.raises(
        BenchmarkError, match=r"record 1: .*answer 2 is not an index into 2 choices"
    ):
        items_of("multiple-choice", path)


def test_null_never_becomes_the_text_none(tmp_path: Path) -> None:
    path = lines(tmp_path / "b.jsonl", MC | {"id": None, "group": 0}, MC | {"id": None})
    names = [(item.id, item.group) for item in items_of("multiple-choice", path)]
    assert names == [("0", "0"), ("1", "")]
    with pytest.raises(BenchmarkError, match="question must be a string, found None"):
        items_of("multiple-choice", lines(tmp_path / "c.jsonl", MC | {"question": None}))
    (tmp_path / "d.json").write_text('["x"]')
    with pytest.raises(BenchmarkError, match="record 0: expected a JSON object, found 'x'"):
        items_of("multiple-choice", tmp_path / "d.json")


def test_rows_of_only_commas_are_skipped_and_full_width_letters_accepted(tmp_path: Path) -> None:
    path = tmp_path / "law.csv"
    path.write_text(",Question,A,B,C,D,Answer\r\n0,问,甲,乙,丙,丁,Ｂ\r\n,,,,,,\r\n \r\n")
    assert items_of("cmmlu", path) == [Item("b", "0", "问", ("甲", "乙", "丙", "丁"), 1, "law")]


def test_a_worked_example_that_cannot_be_shown_is_named(tmp_path: Path) -> None:
    path, dev = (
        lines(tmp_path / "b.jsonl", ARC),
        lines(tmp_path / "d.jsonl", ARC | {"answerKey": "E"}),
    )
    benchmark = Benchmark(format="arc", paths=(str(path),), dev=(str(dev),), shots=1)
    with pytest.raises(StageError, match=rf"worked example b/0 cannot be shown \({KEY}\)"):
        questions("b", benchmark, benchmark.resolved_style(), [path], [dev], shots=1, limit=None)


@pytest.mark.parametrize(
    ("tests", "devs", "shown"),
    [
        (["ARC-Easy-Test", "ARC-Challenge-Test"], ["ARC-Easy-Dev"], None),
        (["ARC-Easy-Test"], ["ARC-Challenge-Dev", "ARC-Easy-Dev"], ["ARC-Easy-Dev"]),
        (
            ["ARC-Easy/test-00000-of-00001", "ARC-Challenge/test-00000-of-00001"],
            ["ARC-Challenge/train", "ARC-Easy/train"],
            ["ARC-Easy/train", "ARC-Challenge/train"],
        ),
        (["ARC-Easy-Test"], ["ARC-Easy-Train"], ["ARC-Easy-Train"]),
    ],
)
def test_an_arc_task_never_gets_the_other_tasks_examples(
    tmp_path: Path, tests: list[str], devs: list[str], shown: list[str] | None
) -> None:
    def made(names: list[str]) -> list[Path]:
        paths = [tmp_path / f"{name}.jsonl" for name in names]
        for name, path in zip(names, paths, strict=True):
            path.parent.mkdir(exist_ok=True)
            lines(path, ARC | {"id": name, "question": f"From {name}."})
        return paths

    paths, dev = made(tests), made(devs)
    benchmark = Benchmark(
        format="arc", paths=tuple(map(str, paths)), dev=tuple(map(str, dev)), shots=1
    )
    asked = (benchmark.resolved_style(), paths, dev)
    if shown is None:
        with pytest.raises(StageError, match="0 examples of group 'ARC-Challenge'"):
            questions("b", benchmark, *asked, shots=1, limit=None)
        return
    built = questions("b", benchmark, *asked, shots=1, limit=None)
    assert len(built) == len(shown)
    for name, question in zip(shown, built, strict=True):
        assert f"From {name}." in question.prompt


def test_files_with_the_same_name_are_distinguished_by_their_folders(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "items.jsonl" for folder in ("one", "two")]
    for path in paths:
        path.parent.mkdir()
        lines(path, MC)
    assert [item.id for item in items_of("multiple-choice", *paths)] == [
        "one/items/0",
        "two/items/0",
    ]
