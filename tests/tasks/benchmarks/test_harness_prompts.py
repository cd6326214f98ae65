"""Prompts, answers and right answers equal lm-evaluation-harness's byte for byte.

With and without worked examples, for every format that both evaluate: ours is read in its
publisher's layout, the harness's task gets the same items in the hub's. Two known differences: the
harness draws the examples of ARC, PIQA, OpenBookQA and BoolQ at random from a training split, we
take the first of `dev`; and we add no descriptions (MMLU's can be set in `style`; CMMLU's and
C-Eval's name the subject in Chinese, which their files do not contain). AGIEval is left out,
because the harness takes whole prompts from the hub's data set.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks.benchmarks.model import Benchmark, Format
from tasks.benchmarks.prompts import answers, examples_for, prompt
from tasks.benchmarks.read import Item, read_items

Row = dict[str, Any]

ODD = [
    "Why is {{ question }} {options} asked?",
    " 一行\n两行： ",
    "He said: \"no\", and 'yes';  then",
    "Is 3 < 5 & 7 > 2\t?",
]
CHOICES = ["a  ", "{{ b }}", "丙，乙", "1.50"]


def tasks_folder() -> Path:
    import lm_eval

    return Path(lm_eval.__file__).parent / "tasks"


def harness_task(file: str, asked: Sequence[Row], dev: Sequence[Row], **changes: Any) -> Any:
    """A harness task on these rows, with the first of `dev` as worked examples."""
    import datasets
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    config: dict[str, Any] = load_yaml(tasks_folder() / file, resolve_func=True, recursive=True)
    for key in (
        "tag",
        "dataset_path",
        "dataset_name",
        "training_split",
        "validation_split",
        "test_split",
    ):
        config.pop(key, None)
    data = datasets.DatasetDict({"test": datasets.Dataset.from_list(list(asked))})
    if dev:
        data["dev"] = datasets.Dataset.from_list(list(dev))
        config |= {"fewshot_split": "dev", "fewshot_config": {"sampler": "first_n"}}
    else:
        config.pop("fewshot_split", None)
        config.pop("fewshot_config", None)
    config |= {"test_split": "test", "custom_dataset": lambda **_: data, **changes}
    return ConfigurableTask(config=config)


def theirs(task: Any, shots: int) -> list[tuple[str, list[str], int]]:
    """Per item: prompt, answers as scored (with the delimiter), and the right one."""
    scored = []
    for doc in task.test_docs():
        context = task.fewshot_context(doc, shots)
        requests = task.construct_requests(doc, context)
        scored.append((context, [request.args[1] for request in requests], task.doc_to_target(doc)))
    return scored


def ours(benchmark: Benchmark, items: Sequence[Item], dev: Sequence[Item], shots: int) -> list[Any]:
    style = benchmark.resolved_style()
    return [
        (
            prompt(item, style, examples_for(item, dev, shots) if shots else []),
            [style.delimiter + answer for answer in answers(item, style)],
            item.answer,
        )
        for item in items
    ]


def table(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def hub_rows(count: int, salt: str) -> list[Row]:
    """Items with every field that the harness's templates use."""
    rows = []
    for n in range(count):
        question, choices = f"{salt} {ODD[n % len(ODD)]}", [f"{choice}{n}" for choice in CHOICES]
        letter = "ABCD"[n % 4]
        rows.append(
            {
                "question": question,
                "question_stem": question,
                "goal": question,
                "passage": f"{salt} -- passage {n}.",
                "sol1": choices[0],
                "sol2": choices[1],
                "label": n % 2,
                "answerKey": letter,
                "choices": {"text": choices, "label": list("ABCD")},
            }
        )
    return rows


def lettered(row: Row, question: str, answer: str) -> Row:
    return {
        question: row["question"],
        **dict(zip("ABCD", row["choices"]["text"], strict=True)),
        answer: row["answerKey"],
    }


def _mmlu(row: Row) -> Row:
    return {
        "question": row["question"],
        "choices": row["choices"]["text"],
        "answer": "ABCD".index(row["answerKey"]),
    }


def stem(row: Row) -> Row:
    options = [
        {"text": text, "label": label} for text, label in zip(*row["choices"].values(), strict=True)
    ]
    return {
        "question": {"stem": row["question"], "choices": options},
        "answerKey": row["answerKey"],
    }


def google(row: Row) -> Row:
    title, _, passage = row["passage"].partition(" -- ")
    return {
        "question": row["question"],
        "title": title,
        "passage": passage,
        "answer": bool(row["label"]),
    }


def letters_csv(header: Sequence[str]) -> Callable[[Sequence[Row]], str]:
    def write(rows: Sequence[Row]) -> str:
        body = [
            [n, row["question"], *row["choices"]["text"], row["answerKey"]]
            for n, row in enumerate(rows)
        ]
        return table([header, *body] if header else [row[1:] for row in body])

    return write


CASES: list[tuple[str, Format, str, Callable[[Row], Row], str, Callable[[Sequence[Row]], str]]] = [
    ("mmlu", "mmlu", "mmlu/default/mmlu_abstract_algebra.yaml", _mmlu, "csv", letters_csv([])),
    (
        "cmmlu",
        "cmmlu",
        "cmmlu/cmmlu_agronomy.yaml",
        lambda row: lettered(row, "Question", "Answer"),
        "csv",
        letters_csv(["", "Question", "A", "B", "C", "D", "Answer"]),
    ),
    (
        "ceval",
        "ceval",
        "ceval/ceval-valid_accountant.yaml",
        lambda row: lettered(row, "question", "answer"),
        "csv",
        letters_csv(["id", "question", "A", "B", "C", "D", "answer"]),
    ),
    (
        "arc",
        "arc",
        "arc/arc_challenge.yaml",
        dict,
        "jsonl",
        lambda rows: lines([stem(row) for row in rows]),
    ),
    ("arc-hub", "arc", "arc/arc_easy.yaml", dict, "jsonl", lines),
    ("piqa", "piqa", "piqa/piqa.yaml", dict, "jsonl", lines),
    (
        "openbookqa",
        "openbookqa",
        "openbookqa/openbookqa.yaml",
        dict,
        "jsonl",
        lambda rows: lines([stem(row) for row in rows]),
    ),
    (
        "boolq",
        "boolq",
        "super_glue/boolq/default.yaml",
        dict,
        "jsonl",
        lambda rows: lines([google(row) for row in rows]),
    ),
    ("boolq-superglue", "boolq", "super_glue/boolq/default.yaml", dict, "jsonl", lines),
]


@pytest.mark.parametrize(
    ("format", "file", "to_hub", "ending", "write"),
    [c[1:] for c in CASES],
    ids=[c[0] for c in CASES],
)
def test_prompts_answers_and_examples_equal_the_harness(
    tmp_path: Path, format: Format, file: str, to_hub: Any, ending: str, write: Any
) -> None:
    asked, dev = hub_rows(6, "asked"), hub_rows(4, "shown")
    for name, rows in (("test", asked), ("dev", dev)):
        (tmp_path / f"law_{name}.{ending}").write_text(write(rows), encoding="utf-8")
    benchmark = Benchmark(format=format, paths=("q",))
    items, examples = (
        read_items("b", benchmark, [tmp_path / f"law_{name}.{ending}"]) for name in ("test", "dev")
    )
    for shots in (0, 3):
        task = harness_task(
            file, [to_hub(row) for row in asked], [to_hub(row) for row in dev], description=""
        )
        assert ours(benchmark, items, examples, shots) == theirs(task, shots)


def test_a_style_can_give_the_description_of_every_mmlu_subject() -> None:
    from lm_eval.tasks._yaml_loader import load_yaml

    subjects = 0
    style = Benchmark(format="mmlu", paths=("q",)).resolved_style()
    words = "The following are multiple choice questions (with answers) about {subject}.\n\n"
    described = style.model_copy(update={"description": words})
    for file in sorted((tasks_folder() / "mmlu/default").glob("mmlu_*.yaml")):
        config = load_yaml(file, resolve_func=False, recursive=False)
        item = Item("b", "0", "q", ("a", "b", "c", "d"), 0, config["dataset_name"])
        assert prompt(item, described) == config["description"] + prompt(item, style)
        subjects += 1
    assert subjects == 57


def agieval(row: Row) -> Row:
    options = [
        f"({letter}){text}" for letter, text in zip("ABCD", row["choices"]["text"], strict=True)
    ]
    return {
        "passage": None,
        "question": row["question"],
        "options": options,
        "label": row["answerKey"],
    }


SUBJECTS = ("abstract_algebra", "college_medicine", "virology")
FILES: dict[Format, tuple[Sequence[str], str, str, Callable[[Sequence[Row]], str]]] = {
    "agieval": (SUBJECTS, ".jsonl", ".jsonl", lambda rows: lines([agieval(row) for row in rows])),
    "arc": (
        ("ARC-Easy", "ARC-Challenge"),
        "-Test.jsonl",
        "-Train.jsonl",
        lambda rows: lines([stem(row) for row in rows]),
    ),
    "ceval": (SUBJECTS, "_val.csv", "_dev.csv", letters_csv(["id", "question", *"ABCD", "answer"])),
    "cmmlu": (SUBJECTS, ".csv", ".csv", letters_csv(["", "Question", *"ABCD", "Answer"])),
    "mmlu": (SUBJECTS, "_test.csv", "_dev.csv", letters_csv([])),
}
"""Format -> (subjects or tasks, endings of the publisher's test and dev files, their writer)."""


@pytest.mark.parametrize("format", FILES)
def test_items_get_the_examples_of_their_own_subject(tmp_path: Path, format: Format) -> None:
    subjects, test_ending, dev_ending, write = FILES[format]
    paths: dict[str, list[Path]] = {}
    for side, ending, count in (("test", test_ending, 2), ("dev", dev_ending, 3)):
        (tmp_path / side).mkdir()
        for name in subjects:
            paths.setdefault(side, []).append(tmp_path / side / f"{name}{ending}")
            paths[side][-1].write_text(
                write(hub_rows(count, f"{side} of {name}")), encoding="utf-8"
            )
    benchmark = Benchmark(format=format, paths=("q",))
    items, dev = (read_items("b", benchmark, paths[side]) for side in ("test", "dev"))
    assert [item.group for item in items] == [name for name in subjects for _ in range(2)]
    for item in items:
        asked = prompt(item, benchmark.resolved_style(), examples_for(item, dev, 2))
        assert (
            asked.count(f"dev of {item.group} ") == 2 and asked.count(f"test of {item.group} ") == 1
        )
        assert asked.count("dev of ") == 2
    with pytest.raises(
        Exception, match=r"2 shots requested, but dev has 0 examples of group .* \(it has "
    ):
        examples_for(items[0], [example for example in dev if example.group != items[0].group], 2)


FIRST = 4
"""Items compared per subject. All 13,599 were compared once and agree; it takes three minutes."""


@pytest.mark.real
def test_real_items_are_asked_as_the_harness_asks_them(real_data: Path) -> None:
    """The first items, with five examples, of every C-Eval and MMLU subject in the test data, and
    of some of CMMLU's.
    """
    import pyarrow as pa

    folder = real_data / "benchmarks"
    compared = 0

    def compare(
        benchmark: Benchmark, items: list[Item], dev: list[Item], rows: dict[str, Any], file: str
    ) -> None:
        nonlocal compared
        by_group: dict[str, list[Item]] = {}
        for item in items:
            by_group.setdefault(item.group, []).append(item)
        assert set(by_group) == set(rows)
        for group, (asked, shown) in rows.items():
            task = harness_task(file, asked[:FIRST], shown, description="")
            assert ours(benchmark, by_group[group][:FIRST], dev, 5) == theirs(task, 5), group
            compared += len(task.test_docs())

    def rows_of(text: str) -> list[Row]:
        return list(csv.DictReader(io.StringIO(text, newline="")))

    cmmlu = Benchmark(format="cmmlu", paths=("q",))
    tests, devs = (
        sorted((folder / "cmmlu" / side).glob("*.csv"))[::16] for side in ("test", "dev")
    )
    hub = {
        test.stem: tuple(rows_of(path.read_text(encoding="utf-8-sig")) for path in (test, dev))
        for test, dev in zip(tests, devs, strict=True)
    }
    compare(
        cmmlu,
        read_items("b", cmmlu, tests),
        read_items("b", cmmlu, devs),
        hub,
        "cmmlu/cmmlu_agronomy.yaml",
    )

    ceval, archive = (
        Benchmark(format="ceval", paths=("q",)),
        folder / "ceval-official/ceval-exam.zip",
    )
    hub = {}
    with zipfile.ZipFile(archive) as members:
        for name in sorted(
            name for name in members.namelist() if name.startswith("val/") and name.endswith(".csv")
        ):
            subject = name.removeprefix("val/").removesuffix("_val.csv")
            texts = (
                members.read(f"{side}/{subject}_{side}.csv").decode("utf-8-sig")
                for side in ("val", "dev")
            )
            hub[subject] = tuple(rows_of(text) for text in texts)
    dev = read_items("b", ceval.model_copy(update={"split": "dev"}), [archive])
    compare(ceval, read_items("b", ceval, [archive]), dev, hub, "ceval/ceval-valid_accountant.yaml")

    mmlu, root = (
        Benchmark(format="mmlu", paths=("q",)),
        folder / "olmo-hf-arrow/hails/mmlu_no_train",
    )
    files = {side: sorted(root.glob(f"*/{side}/*.arrow")) for side in ("test", "dev")}

    def arrow(path: Path) -> list[Row]:
        with pa.memory_map(str(path)) as source:
            rows: list[Row] = pa.ipc.open_stream(source).read_all().to_pylist()
        return rows

    hub = {
        test.parts[-3]: (arrow(test), arrow(dev)) for test, dev in zip(*files.values(), strict=True)
    }
    read = [read_items("b", mmlu, files[side]) for side in ("test", "dev")]
    compare(mmlu, *read, hub, "mmlu/default/mmlu_abstract_algebra.yaml")  # type: ignore[arg-type]
    assert compared == FIRST * (5 + 52 + 5)
