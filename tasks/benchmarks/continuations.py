"""Formats whose choices continue a text: HellaSwag, WinoGrande, SIQA, RACE, TruthfulQA's choices.

Read from their publishers' JSON and from rows of the Hugging Face hub; TruthfulQA also from its
table.
"""

from __future__ import annotations

import re

from tasks.benchmarks.parsed import Blank, ParsedRow, answered, indexed, text, texts
from tasks.benchmarks.rows import Row


def hellaswag(row: Row) -> ParsedRow:
    """The activity and the context, cleaned of WikiHow's brackets as the harness does it."""
    context = f"{row['ctx_a']} {text(row['ctx_b']).capitalize()}"
    question = _without_brackets(f"{row['activity_label']}: {context}")
    endings = [_without_brackets(ending) for ending in texts(row["endings"])]
    return indexed(question, endings, row.get("label"))


def _without_brackets(words: str) -> str:
    words = re.sub(r"\[.*?\]", "", words.strip().replace(" [title]", ". "))
    return words.replace("  ", " ")


def winogrande(row: Row) -> ParsedRow:
    """The question is the sentence with the right word filled in, as a leaked page would have it;
    what is asked is the sentence with its blank.
    """
    if "context_options" in row:
        beginnings, rest = texts(row["context_options"]), text(row["continuation"])
        blank = Blank(beginnings, rest, int(row["gold"]))
        return ParsedRow(f"{beginnings[int(row['gold'])]} {rest}", blank=blank)
    sentence = text(row["sentence"])
    before, sign, after = sentence.partition("_")
    words = (text(row["option1"]), text(row["option2"]))
    number = text(row["answer"]).strip()
    problem = "" if sign else "its sentence has no blank"
    if number not in ("", "1", "2"):
        problem = "the answer names none of its choices"
    answer = int(number) - 1 if number in ("1", "2") else None
    blank = Blank(tuple(before + word for word in words), after.strip(), answer)
    return ParsedRow(sentence.replace("_", words[answer or 0]), blank=blank, problem=problem)


def siqa(row: Row) -> ParsedRow:
    """A situation and a question about it. The publisher's own files have no labels in the rows;
    those of the hub do.
    """
    choices = [text(row[f"answer{letter}"]) for letter in "ABC"]
    question = f"{row['context']} {row['question']}"
    return answered(question, choices, row["label"], ["1", "2", "3"])


def race(row: Row) -> ParsedRow:
    """One question of a passage, as the hub has them (`example_id` names the passage)."""
    question = f"{text(row['article']).strip()}\nQ: {text(row['question']).strip()}"
    return answered(question, texts(list(row["options"])), row["answer"], "ABCD")


def truthfulqa_mc1(row: Row) -> ParsedRow:
    """The best answer among wrong ones."""
    return _truthfulqa(row, "mc1_targets")


def truthfulqa_mc2(row: Row) -> ParsedRow:
    """All right answers among wrong ones."""
    return _truthfulqa(row, "mc2_targets")


def _truthfulqa(row: Row, targets: str) -> ParsedRow:
    if targets in row:
        found = row[targets]
        if "labels" in found:
            choices, labels = list(found["choices"]), list(found["labels"])
        else:
            choices, labels = list(found), list(found.values())
        question = text(row["question"])
    else:
        known = {name.lower().replace("_", " "): value for name, value in row.items()}
        best = known.get("best answer") or known["answer"]
        only_best = targets == "mc1_targets"
        right = [text(best).strip()] if only_best else _split(known["correct answers"])
        wrong = _split(known["incorrect answers"])
        choices, labels = [*right, *wrong], [1] * len(right) + [0] * len(wrong)
        question = text(known["question"])
    rights = [index for index, label in enumerate(labels) if label]
    if not rights:
        return ParsedRow(question, texts(choices), problem="none of its choices is right")
    return ParsedRow(question, texts(choices), rights[0], also_right=tuple(rights[1:]))


def _split(answers: str) -> list[str]:
    return [answer.strip() for answer in answers.split(";") if answer.strip()]
