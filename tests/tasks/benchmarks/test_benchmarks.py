"""Publishers' files are read into items, and errors in them name the file and the record."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pydantic
import pytest

from tasks.benchmarks.model import Benchmark, BenchmarkFiles, Format
from tasks.benchmarks.prompts import answers, examples_for, prompt
from tasks.benchmarks.read import BenchmarkError, Item, read_items
from tasks.benchmarks.styles import Style


def read(format: Format, path: Path, **more: str) -> list[Item]:
    return read_items("b", BenchmarkFiles(format=format, paths=(str(path),), **more), [path])


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def test_our_own_format_keeps_ids_groups_and_order(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "q.jsonl",
        {
            "id": "k1",
            "question": "一加一等于几？",
            "choices": ["二", "三"],
            "answer": 0,
            "group": "known",
        },
        {"question": "q", "choices": ["a", "b", "c"], "answer": 2},
    )
    assert read("multiple-choice", path) == [
        Item("b", "k1", "一加一等于几？", ("二", "三"), 0, "known"),
        Item("b", "1", "q", ("a", "b", "c"), 2, ""),
    ]
    benchmark = BenchmarkFiles(format="multiple-choice", paths=(str(path),))
    assert len(read_items("b", benchmark, [path], limit=1)) == 1


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"question": "q", "choices": ["a", "b"], "answer": 2},
            "answer 2 is not an index into 2 choices",
        ),
        ({"question": "q", "choices": ["a", "b"], "answer": "A"}, "answer must be an index"),
        ({"question": "q", "choices": "ab", "answer": 0}, "choices must be a list of strings"),
        ({"question": None, "choices": ["a", "b"], "answer": 0}, "question must be a string"),
        ({"question": "q", "answer": 0}, "no field 'choices'"),
        (
            {"question": "q", "choices": ["a", "b"], "answer": 0, "grup": "x"},
            "unknown fields ['grup']",
        ),
    ],
)
def test_a_bad_record_is_named_with_its_file_and_number(
    tmp_path: Path, row: object, words: str
) -> None:
    path = lines(tmp_path / "q.jsonl", {"question": "q", "choices": ["a", "b"], "answer": 1}, row)
    with pytest.raises(BenchmarkError) as caught:
        read("multiple-choice", path)
    assert words in str(caught.value)
    assert "q.jsonl, record 1" in str(caught.value)


def test_lines_that_are_not_json_repeated_ids_and_empty_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"question": "q", "choices": ["a", "b"], "answer": 1}\n\n{"question": \n'
    )
    with pytest.raises(BenchmarkError, match=r"a.jsonl, line 3: not JSON"):
        read("multiple-choice", tmp_path / "a.jsonl")
    row = {"id": "same", "question": "q", "choices": ["a", "b"], "answer": 1}
    with pytest.raises(BenchmarkError, match="id 'same' was already used"):
        read("multiple-choice", lines(tmp_path / "b.jsonl", row, row))
    with pytest.raises(BenchmarkError, match="no items"):
        read("multiple-choice", lines(tmp_path / "c.jsonl"))
    for codec in ("gbk", "utf-16", "utf-16-le", "utf-32-be", "iso2022_jp"):
        (tmp_path / "d.jsonl").write_bytes('{"question": "図"}'.encode(codec))
        with pytest.raises(BenchmarkError, match=r"not UTF-8.*iconv"):
            read("multiple-choice", tmp_path / "d.jsonl")


def test_arc_is_read_in_all_three_layouts(tmp_path: Path) -> None:
    expected = ("Which is hot?", ("ice", "fire"), 1)
    options = [{"text": "ice", "label": "1"}, {"text": "fire", "label": "2"}]
    layouts = [
        {"id": "x", "question": {"stem": "Which is hot?", "choices": options}, "answerKey": "2"},
        {
            "question": "Which is hot?",
            "choices": {"text": ["ice", "fire"], "label": ["A", "B"]},
            "answerKey": "B",
        },
        {"query": "Question: Which is hot?", "choices": ["ice", "fire"], "gold": 1},
    ]
    items = read("arc", lines(tmp_path / "arc.jsonl", *layouts))
    assert [(item.question, item.choices, item.answer) for item in items] == [expected] * 3


def test_tables_take_their_subject_from_the_file_and_zip_archives_their_split(
    tmp_path: Path,
) -> None:
    (tmp_path / "anatomy.csv").write_text(
        '\ufeff,Question,A,B,C,D,Answer\n0,"甲,乙？",一,二,三,四,C\n'
    )
    assert read("cmmlu", tmp_path / "anatomy.csv") == [
        Item("b", "0", "甲,乙？", ("一", "二", "三", "四"), 2, "anatomy")
    ]
    with zipfile.ZipFile(tmp_path / "exam.zip", "w") as archive:
        archive.writestr("val/law_val.csv", "id,question,A,B,C,D,answer\n0,q,1,2,3,4,D\n")
        archive.writestr("test/law_test.csv", "id,question,A,B,C,D\n0,q,1,2,3,4\n")
    assert read("ceval", tmp_path / "exam.zip") == [
        Item("b", "law/0", "q", ("1", "2", "3", "4"), 3, "law")
    ]
    assert read("ceval", tmp_path / "exam.zip", split="test")[0].answer is None
    with pytest.raises(BenchmarkError, match="set split"):
        read("ceval", tmp_path / "exam.zip", split="train")
    (tmp_path / "short.csv").write_text("id,question,A,B,C,D,answer\n0,q,1,2\n")
    with pytest.raises(BenchmarkError, match=r"short.csv, record 0: 4 columns, expected 7"):
        read("ceval", tmp_path / "short.csv")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    for name, data in (
        ("a.zip", b"PK no zip"),
        ("b.arrow", b"no arrow at all"),
        ("c.csv", b"x," + b"y" * 200_000),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(
            BenchmarkError, match=rf"{name}: cannot be read as \.\w+: .*; download it again"
        ):
            read("ceval", tmp_path / name)


def test_items_whose_answer_the_publisher_withholds_have_none(tmp_path: Path) -> None:
    options = {"text": ["ice", "fire"], "label": ["A", "B"]}
    rows: dict[Format, dict[str, object]] = {
        "arc": {"question": "q", "choices": options, "answerKey": ""},
        "mmlu": {"question": "q", "choices": ["ice", "fire"], "answer": -1, "subject": "law"},
        "boolq": {"question": "q", "passage": "p", "label": -1},
        "piqa": {"goal": "q", "sol1": "ice", "sol2": "fire", "label": -1},
        "agieval": {"question": "q", "options": ["(A)ice", "(B)fire"], "label": None},
    }
    for format, row in rows.items():
        (item,) = read(format, lines(tmp_path / f"{format}.jsonl", row))
        assert item.answer is None and item.right == () and len(item.choices) == 2, format


@pytest.mark.parametrize(
    ("label", "right"),
    [("C", (2,)), ("AD", (0, 3)), ("D, A", (0, 3)), (["B", "A"], (0, 1)), (["C"], (2,)), ([], ())],
)
def test_agieval_has_one_right_answer_or_several(
    tmp_path: Path, label: object, right: tuple[int, ...]
) -> None:
    row = {
        "passage": None,
        "question": "q",
        "options": [f"({letter})x" for letter in "ABCD"],
        "label": label,
    }
    (item,) = read("agieval", lines(tmp_path / "law.jsonl", row))
    assert item.right == right and item.group == "law"
    with pytest.raises(BenchmarkError, match="answer '1' is not a letter from A to Z"):
        read("agieval", lines(tmp_path / "bad.jsonl", row | {"label": ["A", "1"]}))
    with pytest.raises(BenchmarkError, match="answer '1' is not a letter from A to Z"):
        read("agieval", lines(tmp_path / "bad.jsonl", row | {"label": "1"}))


def test_agieval_is_asked_in_the_language_set_in_the_recipe() -> None:
    item = Item("b", "1", "q", ("x", "y"), 0)
    for language, ending in (("", "答案："), ("zh", "答案："), ("en", "Answer:")):
        benchmark = Benchmark(format="agieval", paths=("q",), language=language)
        assert prompt(item, benchmark.resolved_style()) == f"q\nA. x\nB. y\n{ending}"


@pytest.mark.real
def test_every_real_benchmark_is_read_completely(real_data: Path) -> None:
    folder = real_data / "benchmarks"
    foundry = folder / "llm-foundry"
    expected: list[tuple[Format, list[Path], int]] = [
        ("arc", [foundry / "world_knowledge/arc_easy.jsonl"], 2376),
        ("openbookqa", [foundry / "commonsense_reasoning/openbook_qa.jsonl"], 500),
        ("piqa", [foundry / "commonsense_reasoning/piqa.jsonl"], 1838),
        ("boolq", [foundry / "reading_comprehension/boolq.jsonl"], 3270),
        ("gsm8k", [foundry / "symbolic_problem_solving/gsm8k.jsonl"], 1319),
        ("winogrande", [foundry / "language_understanding/winogrande.jsonl"], 1267),
        ("truthfulqa", [folder / "truthfulqa/TruthfulQA.csv"], 790),
        ("cmmlu", sorted((folder / "cmmlu/test").glob("*.csv")), 11582),
        ("ceval", [folder / "ceval-official/ceval-exam.zip"], 1346),
        ("agieval", sorted((folder / "agieval/v1").glob("*.jsonl")), 445),
        ("mmlu", sorted((folder / "olmo-hf-arrow").glob("**/test/*.arrow")), 671),
    ]
    for format, paths, count in expected:
        items = read_items("b", BenchmarkFiles(format=format, paths=tuple(map(str, paths))), paths)
        assert len(items) == count, format
        assert all(item.answer is not None for item in items if item.choices), format


@pytest.mark.real
def test_cmmlu_is_the_same_from_the_hubs_archive(real_data: Path, tmp_path: Path) -> None:
    folder, packed = real_data / "benchmarks/cmmlu", tmp_path / "cmmlu_v1_0_1.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.glob("*/*.csv")):
            archive.write(path, path.relative_to(folder))
    for split in ("test", "dev"):
        stated = {} if split == "test" else {"split": split}
        loose = sorted((folder / split).glob("*.csv"))
        files = BenchmarkFiles(format="cmmlu", paths=("q",), **stated)
        assert read_items("b", files, [packed]) == read_items("b", files, loose)


def test_prompts_have_the_harness_layout_and_leave_braces_alone() -> None:
    zh = Benchmark(format="multiple-choice", paths=("q",), language="zh")
    item = Item("b", "1", "{options}是？", ("甲", "乙"), 1)
    assert prompt(item, zh.resolved_style()) == "问题：{options}是？\n答案："
    assert answers(item, zh.resolved_style()) == ("甲", "乙")
    assert prompt(item, zh.letters_style()) == "{options}是？\nA. 甲\nB. 乙\n答案："
    assert answers(item, zh.letters_style()) == ("A", "B")
    arc = Benchmark(format="arc", paths=("q",))
    shot = Item("b", "0", "Why?", ("so", "not"), 0)
    style = arc.resolved_style().model_copy(update={"description": "About {subject}.\n\n"})
    asked = prompt(Item("b", "2", "How?", ("x", "y"), 1, "law"), style, [shot])
    assert asked == "About law.\n\nQuestion: Why?\nAnswer: so\n\nQuestion: How?\nAnswer:"


def test_worked_examples_come_from_the_items_own_group() -> None:
    dev = [Item("b", "1", "q1", ("a", "b"), 0, "law"), Item("b", "2", "q2", ("a", "b"), 0, "art")]
    asked = Item("b", "3", "q3", ("a", "b"), 0, "art")
    assert examples_for(asked, dev, 1) == [dev[1]]
    with pytest.raises(Exception, match="2 shots requested, but dev has 1 examples of group 'art'"):
        examples_for(asked, dev, 2)


def test_prompts_and_shots_never_change_what_decontamination_depends_on() -> None:
    files = BenchmarkFiles(format="arc", paths=("q.jsonl",))
    asked = Benchmark(
        format="arc",
        paths=("q.jsonl",),
        limit=5,
        style=Style(question="Q: {question}", delimiter=" ", score="texts"),
    )
    assert asked.files().identity() == files.identity()
    assert asked.identity() != files.identity()
    with pytest.raises(pydantic.ValidationError, match=r"lacks \{options\}"):
        Style(question="Q: {question}", delimiter=" ", score="letters")
    with pytest.raises(pydantic.ValidationError, match="needs worked examples"):
        Benchmark(format="arc", paths=("q.jsonl",), shots=5)
