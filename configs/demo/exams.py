"""Write the benchmarks of the small twins of the recipes: `python configs/demo/exams.py OUT_FOLDER
[--seed N]`.

The demo's country asked in the layout of every data set that a suite reads (docs/suites.md), so
that `evaluation: {suite: ..., data: OUT_FOLDER}` asks a small model what the published table asked
a large one: options by letters, endings, blanks, passages, answers that are written out. Chinese
exams ask the same in Chinese.

Questions are about towns and people that the crawl tells of, unless they need a passage or a sum.
The bytes are a function of the seed (of Parquet also of pyarrow's version).
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent))

from generate import jsonl
from phrases import TEMPLATES
from world import Entity, Item, World

ITEMS = 40
"""Of each file of questions."""

EXAMPLES = 25
"""Worked examples; the most that a suite wants."""

Row = dict[str, Any]
LETTERS = "ABCD"


class Asked:
    """What exams ask of a world, in an order of their own."""

    def __init__(self, world: World, seed: str) -> None:
        self.world, self.rng = world, random.Random(seed)

    def items(self, language: str, kind: str | None = None) -> list[Item]:
        """Four-choice questions about known towns or people; examples at the end."""
        kinds = {"town": ("town",), "person": ("person",), None: ("town", "person")}[kind]
        attributes = {a for e in self.world.of("known") if e.kind in kinds for a in e.facts}
        found = [
            item
            for item in self.world.items[language]
            if item.group == "known" and item.id.split("-")[2] in attributes
        ]
        self.rng.shuffle(found)
        return found

    def facts(self) -> Iterator[tuple[Entity, str, str, list[str]]]:
        """(entity, attribute, its value, other values of the attribute), endlessly."""
        known = self.world.of("known")
        while True:
            entity = self.rng.choice(known)
            attribute = self.rng.choice(sorted(entity.facts))
            value = entity.facts[attribute]["en"]
            others = sorted({e.facts[attribute]["en"] for e in known if attribute in e.facts})
            others.remove(value)
            yield entity, attribute, value, self.rng.sample(others, min(3, len(others)))

    def sentences(self) -> Iterator[tuple[str, str, str, list[str]]]:
        """(what comes before the value, the value, what comes after, other values)."""
        for entity, attribute, value, others in self.facts():
            template = self.rng.choice(TEMPLATES["en"][attribute]["facts"])
            before, _, after = template.partition("{v}")
            name = entity.names["en"]
            if before.strip() and len(others) == 3:
                yield before.format(e=name), value, after.format(e=name), others

    def questions(self) -> Iterator[tuple[str, str, list[str], str]]:
        """(a question in the crawl's words, its answer, wrong ones, a sentence that says it)."""
        for entity, attribute, value, others in self.facts():
            if len(others) == 3:
                forms, name = TEMPLATES["en"][attribute], entity.names["en"]
                asked = self.rng.choice(forms["faq"]).format(e=name)
                yield asked, value, others, self.rng.choice(forms["facts"]).format(e=name, v=value)

    def mixed(self, right: str, wrong: Sequence[str]) -> tuple[list[str], int]:
        """The answers in some order, and where the right one is."""
        options = [right, *wrong]
        self.rng.shuffle(options)
        return options, options.index(right)


def take(rows: Iterator[Row], count: int = ITEMS + EXAMPLES) -> list[Row]:
    """The first of them; examples are the last `EXAMPLES`."""
    return [row for _, row in zip(range(count), rows, strict=False)]


# -- rows of each layout


def labelled(asked: Asked) -> list[Row]:
    """AI2's: ARC, OpenBookQA, CommonsenseQA."""
    return [
        {
            "id": item.id,
            "question": {
                "stem": item.question,
                "choices": [
                    {"text": choice, "label": letter}
                    for letter, choice in zip(LETTERS, item.choices, strict=True)
                ],
            },
            "answerKey": LETTERS[item.answer],
        }
        for item in asked.items("en")
    ]


def hellaswag(asked: Asked) -> Iterator[Row]:
    for before, value, after, others in asked.sentences():
        endings, label = asked.mixed(value + after, [other + after for other in others])
        yield {
            "activity_label": "Travelling",
            "ctx_a": before.strip(),
            "ctx_b": "",
            "endings": endings,
            "label": label,
        }


def winogrande(asked: Asked) -> Iterator[Row]:
    """The blank is who it is about: what decides between two names is what comes after it."""
    known = asked.world.of("known")
    for entity, attribute, value, _ in asked.facts():
        template = asked.rng.choice(TEMPLATES["en"][attribute]["facts"])
        others = [
            e for e in known if e.facts.get(attribute, entity.facts[attribute])["en"] != value
        ]
        if template.find("{e}") < template.find("{v}") and others:
            other = asked.rng.choice(others)
            options, at = asked.mixed(entity.names["en"], [other.names["en"]])
            yield {
                "sentence": template.format(e="_", v=value),
                "option1": options[0],
                "option2": options[1],
                "answer": str(at + 1),
            }


def boolq(asked: Asked) -> Iterator[Row]:
    for before, value, after, others in asked.sentences():
        said = asked.rng.choice([value, others[0]])
        yield {
            "title": "The country",
            "passage": f"{before}{value}{after}",
            "question": f"is it true that {before}{said}{after}".rstrip("."),
            "answer": said == value,
        }


def piqa(asked: Asked) -> Iterator[Row]:
    for question, right, wrong, _ in asked.questions():
        options, label = asked.mixed(right, wrong[:1])
        yield {"goal": question, "sol1": options[0], "sol2": options[1], "label": label}


def siqa(asked: Asked) -> Iterator[Row]:
    for question, right, wrong, told in asked.questions():
        options, at = asked.mixed(right, wrong[:2])
        answers = {f"answer{letter}": o for letter, o in zip("ABC", options, strict=True)}
        yield {"context": told, "question": question, **answers, "label": str(at + 1)}


def race(asked: Asked) -> Iterator[Row]:
    pairs = asked.questions()
    for question, right, wrong, told in pairs:
        _, _, _, more = next(pairs)
        options, at = asked.mixed(right, wrong)
        yield {
            "example_id": "high1.txt",
            "article": f"{told} {more}",
            "question": question,
            "options": options,
            "answer": LETTERS[at],
        }


def truthfulqa(asked: Asked) -> Iterator[Row]:
    for question, right, wrong, told in asked.questions():
        yield {
            "question": question,
            "mc1_targets": {right: 1, **dict.fromkeys(wrong, 0)},
            "mc2_targets": {right: 1, told: 1, **dict.fromkeys(wrong, 0)},
        }


def gsm8k(asked: Asked) -> Iterator[Row]:
    for entity, *_ in asked.facts():
        rooms, pictures = asked.rng.randint(2, 9), asked.rng.randint(2, 9)
        total, name = rooms * pictures, entity.names["en"]
        yield {
            "question": f"A house of {name} has {rooms} rooms with {pictures} pictures in each. "
            "How many pictures are there?",
            "answer": f"There are {rooms} * {pictures} = {total} pictures.\n#### {total}",
        }


def math(asked: Asked) -> Iterator[Row]:
    """The sums of the corpus of proofs."""
    while True:
        first, step, count = (asked.rng.randint(*pair) for pair in ((1, 40), (2, 12), (5, 40)))
        last = first + step * (count - 1)
        total = count * (first + last) // 2
        yield {
            "problem": f"What is the sum of the {count} numbers ${first}, {first + step}, \\dots, "
            f"{last}$?",
            "level": "Level 1",
            "type": "Algebra",
            "solution": f"It is ${count} \\cdot {first + last} / 2 = \\boxed{{{total}}}$.",
        }


def natural_questions(asked: Asked) -> Iterator[Row]:
    for question, right, _, _ in asked.questions():
        yield {"question": question.rstrip("?").lower(), "answer": [right]}


def triviaqa(asked: Asked) -> Iterator[Row]:
    for number, (question, right, _, _) in enumerate(asked.questions()):
        answer = {"value": right, "aliases": [right, right.capitalize()]}
        yield {"question_id": f"q{number}", "question": question, "answer": answer}


# -- files


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> bytes:
    """CSV, with a header if there is one."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows] if header else rows)
    return text.getvalue().encode()


def parquet(rows: list[Row]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def lettered(items: Sequence[Item]) -> list[list[str]]:
    """question, A, B, C, D, letter of the answer."""
    return [[item.question, *item.choices, LETTERS[item.answer]] for item in items]


def by_letters(world: World, seed: int) -> Iterator[tuple[str, bytes]]:
    """MMLU, CMMLU and C-Eval: a file for each subject."""
    for kind, subject in (("town", "towns"), ("person", "people")):
        for language, folders in (
            ("en", (("mmlu/test", "_test", 0), ("mmlu/dev", "_dev", 0))),
            ("zh", (("cmmlu/test", "", 1), ("cmmlu/dev", "", 1))),
            ("zh", (("ceval/val", "_val", 2), ("ceval/dev", "_dev", 2))),
        ):
            items = Asked(world, f"{seed}/{folders[0][0]}/{kind}").items(language, kind)
            for (folder, suffix, layout), some in zip(
                folders, (items[:ITEMS], items[-5:]), strict=True
            ):
                rows = lettered(some)
                header: tuple[str, ...] = ()
                if layout:
                    rows = [[str(number), *row] for number, row in enumerate(rows)]
                    header = ("", "Question", *LETTERS, "Answer")
                    header = header if layout == 1 else ("id", "question", *LETTERS, "answer")
                yield f"{folder}/{subject}{suffix}.csv", table(rows, header)


AGIEVAL = {
    "lsat-ar": "en",
    "logiqa-en": "en",
    "logiqa-zh": "zh",
    "sat-en": "en",
    "aqua-rat": "en",
    "gaokao-geography": "zh",
}
"""Subject -> its language; those that a suite asks are named by pattern."""


def agieval(world: World, seed: int) -> Iterator[tuple[str, bytes]]:
    examples: dict[str, list[Row]] = {}
    for subject, language in AGIEVAL.items():
        rows = [
            {
                "passage": None,
                "question": item.question,
                "options": [
                    f"({letter}){choice}"
                    for letter, choice in zip(LETTERS, item.choices, strict=True)
                ],
                "label": LETTERS[item.answer],
                "answer": None,
            }
            for item in Asked(world, f"{seed}/{subject}").items(language)
        ]
        yield f"agieval/v1_1/{subject}.jsonl", jsonl(rows[:ITEMS])
        examples[subject] = rows[-5:]
    cells = [[str(examples[subject][n]) for subject in AGIEVAL] for n in range(5)]
    explained = [cell for row in cells for cell in (row, ["" for _ in AGIEVAL])]
    yield "agieval/few_shot_prompts.csv", table(explained, tuple(AGIEVAL))


def gaokao(world: World, seed: int) -> bytes:
    rows = [
        {
            "year": "2022",
            "question": f"{number}．{item.question}（ ）\n"
            + "  ".join(f"{a}．{c}" for a, c in zip(LETTERS, item.choices, strict=True)),
            "answer": [LETTERS[item.answer]],
            "index": number,
        }
        for number, item in enumerate(Asked(world, f"{seed}/gaokao").items("zh")[:ITEMS])
    ]
    return json.dumps({"keywords": "country", "example": rows}, ensure_ascii=False).encode()


Layout = Callable[[Asked], "list[Row] | Iterator[Row]"]

JSON_LINES: dict[str, tuple[Layout, str, str]] = {
    "arc-challenge": (
        labelled,
        "arc/ARC-Challenge/ARC-Challenge-Test.jsonl",
        "arc/ARC-Challenge/ARC-Challenge-Train.jsonl",
    ),
    "arc-easy": (
        labelled,
        "arc/ARC-Easy/ARC-Easy-Test.jsonl",
        "arc/ARC-Easy/ARC-Easy-Train.jsonl",
    ),
    "openbookqa": (labelled, "openbookqa/Main/test.jsonl", "openbookqa/Main/train.jsonl"),
    "commonsenseqa": (
        labelled,
        "commonsenseqa/dev_rand_split.jsonl",
        "commonsenseqa/train_rand_split.jsonl",
    ),
    "hellaswag": (hellaswag, "hellaswag/hellaswag_val.jsonl", "hellaswag/hellaswag_train.jsonl"),
    "winogrande": (winogrande, "winogrande/dev.jsonl", "winogrande/train_xl.jsonl"),
    "boolq": (boolq, "boolq/dev.jsonl", "boolq/train.jsonl"),
    "gsm8k": (gsm8k, "gsm8k/test.jsonl", "gsm8k/train.jsonl"),
    "natural-questions": (
        natural_questions,
        "natural-questions/NQ-open.dev.jsonl",
        "natural-questions/NQ-open.train.jsonl",
    ),
}
"""Data set -> (its rows, file of questions, file of worked examples)."""

PARQUET: dict[str, tuple[Layout, str, str]] = {
    "piqa": (piqa, "piqa/validation", "piqa/train"),
    "siqa": (siqa, "siqa/validation", ""),
    "race-middle": (race, "race/middle/test", ""),
    "race-high": (race, "race/high/test", ""),
    "triviaqa": (triviaqa, "triviaqa/rc.nocontext/validation", "triviaqa/rc.nocontext/train"),
    "triviaqa-wiki": (
        triviaqa,
        "triviaqa/rc.wikipedia.nocontext/validation",
        "triviaqa/rc.wikipedia.nocontext/train",
    ),
}


def exams(seed: int) -> dict[str, bytes]:
    """Every file by its path below the folder that `evaluation.data` names."""
    world = World(seed)
    files = {**dict(by_letters(world, seed)), **dict(agieval(world, seed))}
    files["gaokao-bench/Data/Objective_Questions/2022_Country_MCQs.json"] = gaokao(world, seed)
    for name, (layout, test, train) in (JSON_LINES | PARQUET).items():
        rows = take(iter(layout(Asked(world, f"{seed}/{name}"))))
        for file, some in ((test, rows[:ITEMS]), (train, rows[-EXAMPLES:])):
            if file and name in PARQUET:
                files[f"{file}-00000-of-00001.parquet"] = parquet(some)
            elif file:
                files[file] = jsonl(some)
    rows = take(truthfulqa(Asked(world, f"{seed}/truthfulqa")), ITEMS)
    files["truthfulqa/mc_task.json"] = json.dumps(rows).encode()
    rows = take(math(Asked(world, f"{seed}/math")), ITEMS + 8)
    for number, row in enumerate(rows):
        part = "test" if number < ITEMS else "train"
        files[f"math/{part}/algebra/{number}.json"] = json.dumps(row).encode()
    return files


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write the benchmarks of the recipes' small twins."
    )
    parser.add_argument("out", type=Path, metavar="OUT_FOLDER")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    files = exams(arguments.seed)
    for name, data in files.items():
        path = arguments.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != data:  # an equal file keeps its cached hash
            path.write_bytes(data)
    print(f"{sum(map(len, files.values())):>10,} bytes in {len(files)} files of {arguments.out}")


if __name__ == "__main__":
    main()
