"""Parse rows of publishers' files into questions, with one parser per format.

ARC, OpenBookQA, PIQA and BoolQ are read from their publishers' JSONL, from rows of the Hugging Face
hub and from MosaicML's llm-foundry conversion (`query`, `choices`, `gold`).

A row with the right fields that still cannot be asked, such as one whose answer is not among its
choices, gets a `problem` instead of an error: users cannot fix a publisher's file, and its other
items are fine. A row without the format's fields is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tasks.benchmarks import continuations, gaokao, open_answers
from tasks.benchmarks.parsed import LETTERS, ParsedRow, answered, indexed, letter, text, texts
from tasks.benchmarks.rows import Row


def _ours(row: Row) -> ParsedRow:
    if unknown := sorted(set(row) - {"id", "question", "choices", "answer", "group"}):
        raise ValueError(
            f"unknown fields {unknown}; allowed are id, question, choices, answer, group"
        )
    answer, choices = row["answer"], texts(row["choices"])
    if not isinstance(row["question"], str):
        raise ValueError(f"question must be a string, found {row['question']!r}")
    if answer is not None and (not isinstance(answer, int) or isinstance(answer, bool)):
        raise ValueError(f"answer must be an index (a whole number from 0), found {answer!r}")
    return ParsedRow(
        row["question"],
        choices,
        answer,
        text(row.get("id")),
        text(row.get("group")),
    )


_PROMPT_WORDS = re.compile(r"\A\s*Question:\s*|\s*Answer:\s*\Z")


def _foundry(row: Row) -> ParsedRow | None:
    """A row of llm-foundry's `multiple_choice` data without its prompt words; None for others."""
    if "query" not in row or "gold" not in row:
        return None
    return indexed(_PROMPT_WORDS.sub("", row["query"]).strip(), texts(row["choices"]), row["gold"])


def _labelled(row: Row) -> ParsedRow:
    """AI2's questions, from its files (`question.stem`) or the hub (`choices: {text, label}`)."""
    if (foundry := _foundry(row)) is not None:
        return foundry
    question: Any = row["question"] if "question" in row else row["question_stem"]
    choices: Any = row.get("choices")
    if isinstance(question, dict):
        question, choices = question["stem"], question["choices"]
    if isinstance(choices, dict):
        words, labels = list(choices["text"]), list(choices["label"])
    else:
        words, labels = [c["text"] for c in choices], [c["label"] for c in choices]
    return answered(
        text(question),
        texts(words),
        row.get("answerKey"),
        [text(label).strip() for label in labels],
        id=text(row.get("id")),
    )


def _commonsenseqa(row: Row) -> ParsedRow:
    if "query" in row:
        raise ValueError("llm-foundry's conversion lacks the texts of the choices; use another")
    return _labelled(row)


def _piqa(row: Row) -> ParsedRow:
    if (foundry := _foundry(row)) is not None:
        return foundry
    choices = (text(row["sol1"]), text(row["sol2"]))
    return indexed(text(row["goal"]), choices, row.get("label"))


def _boolq(row: Row) -> ParsedRow:
    if (foundry := _foundry(row)) is not None:
        passage, _, question = foundry.question.removeprefix("Passage: ").rpartition("\nQuestion: ")
        return ParsedRow(
            f"{passage}\nQuestion: {question.rstrip('?')}",
            foundry.choices,
            foundry.answer,
            problem=foundry.problem,
        )
    answer, passage = row["answer"] if "answer" in row else row["label"], str(row["passage"])
    if (title := row.get("title")) and not passage.startswith(f"{title} -- "):
        # The title is a separate field in the publisher's files. In SuperGLUE, which the harness
        # uses, the passage begins with it.
        passage = f"{title} -- {passage}"
    known = answer if answer in (0, 1) else None
    return ParsedRow(
        f"{passage}\nQuestion: {row['question']}",
        ("no", "yes"),
        None if known is None else int(known),
    )


def _lettered(row: Row) -> ParsedRow:
    """A row of CMMLU, C-Eval or MMLU.

    Tables have the columns `question, A, B, C, D, answer`, capitalised or not; the hub's MMLU has
    `choices`.
    """
    if isinstance(row.get("choices"), list):
        return indexed(
            text(row["question"]).strip(),
            texts(row["choices"]),
            row["answer"],
            group=text(row.get("subject")),
        )
    question = row["Question"] if "Question" in row else row["question"]
    answer = row.get("Answer", row.get("answer"))
    choices = tuple(text(row[letter]) for letter in "ABCD")
    key = LETTERS[letter(answer)] if text(answer).strip() else ""
    return answered(text(question).strip(), choices, key, LETTERS)


def _agieval(row: Row) -> ParsedRow:
    """A question of AGIEval; `label` is a letter or, for several right answers, a list or "AD"."""
    passage, question = row.get("passage") or "", text(row["question"])
    options = tuple(re.sub(r"\A\s*\([A-Z]\)\s*", "", option) for option in row.get("options") or ())
    asked = f"{passage}\n{question}" if passage else question
    letters = _letters(row.get("label")) if options else []
    if letters and letters[-1] >= len(options):
        return answered(asked.strip(), options, LETTERS[letters[-1]], LETTERS)
    answer, also_right = (letters[0], tuple(letters[1:])) if letters else (None, ())
    return ParsedRow(asked.strip(), options, answer, also_right=also_right)


def _letters(value: Any) -> list[int]:
    """Ascending indices of a letter, of several ("AD", "A, D") or of a list; [] for null."""
    if value is None:
        return []
    parts = value if isinstance(value, list) else re.sub(r"[\s,;、，；()]", "", str(value))
    return sorted({letter(part) for part in parts})


def _truthfulqa(row: Row) -> ParsedRow:
    """The best answers serve as choices, with which decontamination finds even short questions."""
    right, wrong = (
        next((str(row[name]) for name in names if row.get(name)), None)
        for names in (("Best Answer", "best_answer", "answer"), ("Best Incorrect Answer",))
    )
    question = str(row["Question"] if "Question" in row else row["question"])
    return ParsedRow(question, (right, wrong), 0) if right and wrong else ParsedRow(question)


PARSERS: dict[str, Callable[[Row], ParsedRow]] = {
    "multiple-choice": _ours,
    "agieval": _agieval,
    "arc": _labelled,
    "boolq": _boolq,
    "ceval": _lettered,
    "cmmlu": _lettered,
    "commonsenseqa": _commonsenseqa,
    "gaokao": gaokao.parse,
    "gsm8k": open_answers.gsm8k,
    "hellaswag": continuations.hellaswag,
    "math": open_answers.math,
    "mmlu": _lettered,
    "natural-questions": open_answers.natural_questions,
    "openbookqa": _labelled,
    "piqa": _piqa,
    "race": continuations.race,
    "siqa": continuations.siqa,
    "triviaqa": open_answers.triviaqa,
    "truthfulqa": _truthfulqa,
    "truthfulqa-mc1": continuations.truthfulqa_mc1,
    "truthfulqa-mc2": continuations.truthfulqa_mc2,
    "winogrande": continuations.winogrande,
}
