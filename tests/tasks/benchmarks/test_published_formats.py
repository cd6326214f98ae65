"""Rows of the publishers' layouts of suites' benchmarks, and of the hub's, are read alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.benchmarks.model import Benchmark, BenchmarkFiles, Format
from tasks.benchmarks.parsed import Blank
from tasks.benchmarks.prompts import prompt
from tasks.benchmarks.read import BenchmarkError, Item, read_items


def read(format: Format, path: Path) -> list[Item]:
    return read_items("b", BenchmarkFiles(format=format, paths=(str(path),)), [path])


def both(format: Format, row: dict[str, Any], folder: Path) -> Item:
    """The item of a row as JSON and as Parquet, which must be the same."""
    (folder / "q.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n")
    pq.write_table(pa.Table.from_pylist([row]), folder / "q.parquet")
    (item,), (of_parquet,) = read(format, folder / "q.jsonl"), read(format, folder / "q.parquet")
    assert item == of_parquet
    return item


def test_choices_that_continue_a_text(tmp_path: Path) -> None:
    row = {
        "activity_label": "Baking",
        "ctx_a": "[header] How to bake [title] Mix.",
        "ctx_b": "then YOU",
        "endings": ["rest.", "[step] go  on."],
        "label": "1",
    }
    item = both("hellaswag", row, tmp_path)
    assert item.question == "Baking: How to bake. Mix. Then you"
    assert (item.choices, item.answer) == (("rest.", " go on."), 1)

    row = {"sentence": "Ann saw _ go.", "option1": "Bob", "option2": "Eve", "answer": "2"}
    item = both("winogrande", row, tmp_path)
    assert item.question == "Ann saw Eve go." and item.choices == ()
    assert item.blank == Blank(("Ann saw Bob", "Ann saw Eve"), "go.", 1)

    row = {"context": "It rained.", "question": "Why?", "label": "3"}
    row |= {f"answer{letter}": letter.lower() for letter in "ABC"}
    item = both("siqa", row, tmp_path)
    assert (item.question, item.answer) == ("It rained. Why?", 2)

    row = {"article": "A text. ", "question": "What?", "options": ["a", "b", "c", "d"]}
    item = both("race", row | {"answer": "D", "example_id": "high1.txt"}, tmp_path)
    assert (item.question, item.answer) == ("A text.\nQ: What?", 3)


def test_truthfulqa_in_its_three_layouts(tmp_path: Path) -> None:
    hub = {
        "question": "Who?",
        "mc1_targets": {"choices": ["x", "y"], "labels": [1, 0]},
        "mc2_targets": {"choices": ["x", "z", "y"], "labels": [1, 1, 0]},
    }
    table = tmp_path / "TruthfulQA.csv"
    table.write_text(
        "Question,Best Answer,Best Incorrect Answer,Correct Answers,Incorrect Answers\n"
        "Who?,x,y,x; z,y\n"
    )
    published = tmp_path / "mc_task.json"
    published.write_text(
        json.dumps(
            [
                {
                    "question": "Who?",
                    "mc1_targets": {"x": 1, "y": 0},
                    "mc2_targets": {"x": 1, "z": 1, "y": 0},
                }
            ]
        )
    )
    for format, choices, right in (
        ("truthfulqa-mc1", ("x", "y"), (0,)),
        ("truthfulqa-mc2", ("x", "z", "y"), (0, 1)),
    ):
        for item in (
            both(format, hub, tmp_path),
            *read(format, table),
            *read(format, published),
        ):
            assert (item.choices, item.right) == (choices, right)


def test_answers_that_are_generated(tmp_path: Path) -> None:
    item = both("gsm8k", {"question": "1+1?", "answer": "It is 2.\n#### 1,002"}, tmp_path)
    assert item.accepted == ("1002",) and item.worked == "It is 2.\n#### 1,002"
    style = Benchmark(format="gsm8k", paths=("q",)).generation_style()
    asked = prompt(Item("b", "2", "2+2?"), style, [item])
    assert asked == ("Question: 1+1?\nAnswer: It is 2.\n#### 1,002\n\nQuestion: 2+2?\nAnswer:")
    foundry = {"context": "1+1?", "chain_of_thought": "It is 2.", "answer": "2"}
    assert both("gsm8k", foundry, tmp_path).worked == "It is 2.\n#### 2"

    answer = {"value": "Lima", "aliases": ["Lima", "City of Kings"]}
    item = both("triviaqa", {"question": "Capital?", "answer": answer}, tmp_path)
    assert (item.question, item.accepted) == ("Capital", ("Lima", "City of Kings"))
    published = {
        "Data": [{"Question": "Capital?", "QuestionId": "t1", "Answer": {"Value": "Lima"}}]
    }
    (tmp_path / "dev.json").write_text(json.dumps(published))
    assert read("triviaqa", tmp_path / "dev.json")[0].accepted == ("Lima",)

    item = both("natural-questions", {"question": "who is it", "answer": ["He", "him"]}, tmp_path)
    assert item.accepted == ("He", "him")

    problem = {"problem": "p", "solution": "so $\\boxed{\\frac{1}{2}}$.", "type": "Number Theory"}
    (tmp_path / "1.json").write_text(json.dumps(problem, indent=4))
    (item,) = read("math", tmp_path / "1.json")
    assert (item.accepted, item.group) == (("\\frac{1}{2}",), "number_theory")
    of_folders = []
    for folder in ("number_theory", "algebra"):
        for number in (7, 1):
            (tmp_path / folder).mkdir(exist_ok=True)
            kind = folder.replace("_", " ").title()
            of_folders.append(tmp_path / folder / f"{number}.json")
            of_folders[-1].write_text(json.dumps(problem | {"type": kind}, indent=4))
    files = BenchmarkFiles(format="math", paths=("math/test/*/*.json",))
    assert [item.id for item in read_items("math", files, of_folders)] == [
        "number_theory/7",
        "number_theory/1",
        "algebra/7",
        "algebra/1",
    ], "as published: a folder for each type, a file for each problem"
    (tmp_path / "2.json").write_text(json.dumps(problem | {"solution": "none"}))
    assert "no \\boxed{}" in read("math", tmp_path / "2.json")[0].problem


GAOKAO = [
    ("1．选一项（ ）\nA．甲丙  B. 乙\nC．丙丁A  D、丁", ["B"], ""),
    ("1．短文\nA．一 B．二 C．三 D．四 E．五", ["B"], "does not list four options"),
    ("1．选两项 A．一 B．二 C．三 D．四", ["A", "C"], "not one answer of A to D"),
    ("1．选两项 A．一 B．二 C．三 D．四", ["AC"], "not one answer of A to D"),
    ("1．填空", ["G"], "not one answer of A to D"),
    ("1．没有选项", ["A"], "does not list four options"),
]


@pytest.mark.parametrize("key", ["standard_answer", "answer"])
def test_gaokao_asks_four_choice_questions_as_they_stand(tmp_path: Path, key: str) -> None:
    path = tmp_path / "2010-2022_History_MCQs.json"
    rows = [
        {"question": f"{q}\n", key: answer, "index": n} for n, (q, answer, _) in enumerate(GAOKAO)
    ]
    path.write_text(json.dumps({"keywords": "x", "example": rows}, ensure_ascii=False, indent=1))
    items = read("gaokao", path)
    assert [bool(item.problem) for item in items] == [bool(p) for _, _, p in GAOKAO]
    for item, (_, _, problem) in zip(items, GAOKAO, strict=True):
        assert problem in item.problem
    first = items[0]
    assert first.choices == ("甲丙", "乙", "丙丁A", "丁") and first.answer == 1
    assert first.group == "2010-2022_History_MCQs"
    style = Benchmark(format="gaokao", paths=("q",), language="zh").letters_style()
    assert prompt(first, style) == f"{GAOKAO[0][0]}\n答案："


def test_agieval_has_its_examples_in_a_table_with_a_column_per_subject(tmp_path: Path) -> None:
    def cell(question: str, label: str) -> str:
        example = {"passage": "", "question": question, "options": ["(A)x", "(B)y"], "label": label}
        return str(example).replace('"', '""')

    path = tmp_path / "few_shot_prompts.csv"
    path.write_text(
        "law,art\n"
        f'"{cell("q1", "A")}","{cell("q2", "B")}"\n'
        "because,so\n"
        f'"{cell("q3", "B")}",\n'
        "because,\n"
    )
    items = read("agieval", path)
    assert [(i.group, i.question, i.answer) for i in items] == [
        ("law", "q1", 0),
        ("art", "q2", 1),
        ("law", "q3", 1),
    ]
    path.write_text("law\nno example\n")
    with pytest.raises(BenchmarkError, match="column law, example 0: not an example of AGIEval"):
        read("agieval", path)


def test_commonsenseqa_lists_its_choices(tmp_path: Path) -> None:
    row = {
        "question": "Where?",
        "choices": {"text": ["here", "there"], "label": ["A", "B"]},
        "answerKey": "B",
    }
    item = both("commonsenseqa", row, tmp_path)
    style = Benchmark(format="commonsenseqa", paths=("q",)).resolved_style()
    assert prompt(item, style) == "Question: Where?\nA. here\nB. there\nAnswer:"
    with pytest.raises(BenchmarkError, match="lacks the texts of the choices"):
        both("commonsenseqa", {"query": "q", "choices": ["A", "B"], "gold": 0}, tmp_path)


LABELLED: dict[Format, tuple[dict[str, str], str, int]] = {
    "piqa": ({"goal": "q", "sol1": "ice", "sol2": "fire"}, "0\n1\n", 1),
    "siqa": (
        {"context": "c", "question": "Why?", "answerA": "a", "answerB": "b", "answerC": "d"},
        "1\n3\n",
        2,
    ),
}


@pytest.mark.parametrize("format", LABELLED)
def test_answers_may_be_in_a_file_of_their_own(format: Format, tmp_path: Path) -> None:
    row, labels, second = LABELLED[format]
    questions, answers = tmp_path / "dev.jsonl", tmp_path / "dev-labels.lst"
    questions.write_text(f"{json.dumps(row)}\n" * 2)
    answers.write_text(labels)
    benchmark = Benchmark(format=format, paths=("q",))
    items = read_items("b", benchmark, [questions, answers])
    assert [(item.id, item.answer) for item in items] == [("0", 0), ("1", second)]
    answers.write_text(labels + "1\n")
    with pytest.raises(BenchmarkError, match=r"has 3 answers, and dev.jsonl has 2 questions"):
        read_items("b", benchmark, [questions, answers])
    with pytest.raises(BenchmarkError, match=r"answers to dev.jsonl, which is not among"):
        read_items("b", benchmark, [answers])


def test_races_own_files_have_several_questions_each(tmp_path: Path) -> None:
    passage = {
        "article": "It rained.",
        "questions": ["Did it?", "When?"],
        "options": [["yes", "no", "a", "b"], ["now", "then", "c", "d"]],
        "answers": ["A", "B"],
        "id": "high1.txt",
    }
    paths = [tmp_path / "1.txt", tmp_path / "2.txt"]
    for path in paths:
        path.write_text(json.dumps(passage))
    items = read_items("b", Benchmark(format="race", paths=("q",)), paths)
    assert [item.id for item in items] == ["1/0", "1/1", "2/0", "2/1"]
    assert [item.answer for item in items] == [0, 1, 0, 1]
    assert items[1].question == "It rained.\nQ: When?" and items[1].choices[0] == "now"
    paths[0].write_text(json.dumps(passage | {"answers": ["A"]}))
    with pytest.raises(BenchmarkError, match=r"1\.txt: 2 questions and 1 answers"):
        read_items("b", Benchmark(format="race", paths=("q",)), paths)
