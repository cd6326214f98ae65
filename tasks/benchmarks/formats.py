"""Parse rows of publishers' files into questions, with one parser per format.

ARC, OpenBookQA, PIQA and BoolQ are read from their publishers' JSONL, from rows of the Hugging Face
hub and from MosaicML's llm-foundry conversion (`query`, `choices`, `gold`).

A row with the right fields that still cannot be asked, such as one whose answer is not among its
choices, gets a `problem` instead of an error: users cannot fix a publisher's file, and its other
items are fine. A row without the format's fields is an error.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.benchmarks.rows import Row

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class ParsedRow:
    """The contents of a row. `answer` indexes `choices`; `problem`: why it cannot be asked."""

    question: str
    choices: tuple[str, ...] = ()
    answer: int | None = None
    id: str = ""
    group: str = ""
    also_right: tuple[int, ...] = ()
    problem: str = ""


def _text(value: Any) -> str:
    """A field as text; "" for null."""
    return "" if value is None else str(value)


def _answered(
    question: str,
    choices: Sequence[str],
    key: Any,
    labels: Sequence[str],
    id: str = "",
    group: str = "",
) -> ParsedRow:
    """A question whose answer is named by `key`, one of `labels`, the names of its choices.

    Without a key, which some publishers withhold, the item has no answer. A key that names no
    choice is its `problem`.
    """
    choices, key = tuple(choices), _text(key).strip()
    if not key:
        return ParsedRow(question, choices, id=id, group=group)
    if key not in labels[: len(choices)]:
        return ParsedRow(
            question, choices, problem="the answer names none of its choices", id=id, group=group
        )
    return ParsedRow(question, choices, list(labels).index(key), id=id, group=group)


def _indexed(
    question: str, choices: Sequence[str], answer: Any, id: str = "", group: str = ""
) -> ParsedRow:
    """A question whose answer is an index from 0; -1, null or "" if the publisher withholds it."""
    withheld = answer is None or str(answer).strip() in ("", "-1")
    number = None if withheld else str(int(answer))
    return _answered(question, choices, number, [str(i) for i in range(len(choices))], id, group)


def _letter(value: Any) -> int:
    letter = unicodedata.normalize("NFKC", str(value)).strip().upper()  # also full-width ones
    if len(letter) != 1 or letter not in LETTERS:
        raise ValueError(f"answer {value!r} is not a letter from A to Z")
    return LETTERS.index(letter)


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"choices must be a list of strings, found {str(values)[:80]!r}")
    return tuple(values)


def _ours(row: Row) -> ParsedRow:
    if unknown := sorted(set(row) - {"id", "question", "choices", "answer", "group"}):
        raise ValueError(
            f"unknown fields {unknown}; allowed are id, question, choices, answer, group"
        )
    answer, choices = row["answer"], _texts(row["choices"])
    if not isinstance(row["question"], str):
        raise ValueError(f"question must be a string, found {row['question']!r}")
    if answer is not None and (not isinstance(answer, int) or isinstance(answer, bool)):
        raise ValueError(f"answer must be an index (a whole number from 0), found {answer!r}")
    return ParsedRow(
        row["question"],
        choices,
        answer,
        _text(row.get("id")),
        _text(row.get("group")),
    )


_PROMPT_WORDS = re.compile(r"\A\s*Question:\s*|\s*Answer:\s*\Z")


def _foundry(row: Row) -> ParsedRow | None:
    """A row of llm-foundry's `multiple_choice` data without its prompt words; None for others."""
    if "query" not in row or "gold" not in row:
        return None
    return _indexed(
        _PROMPT_WORDS.sub("", row["query"]).strip(), _texts(row["choices"]), row["gold"]
    )


def _labelled(row: Row) -> ParsedRow:
    """AI2's questions, from its files (`question.stem`) or the hub (`choices: {text, label}`)."""
    if (foundry := _foundry(row)) is not None:
        return foundry
    question: Any = row["question"] if "question" in row else row["question_stem"]
    choices: Any = row.get("choices")
    if isinstance(question, dict):
        question, choices = question["stem"], question["choices"]
    if isinstance(choices, dict):
        texts, labels = list(choices["text"]), list(choices["label"])
    else:
        texts, labels = [c["text"] for c in choices], [c["label"] for c in choices]
    return _answered(
        _text(question),
        _texts(texts),
        row.get("answerKey"),
        [_text(label).strip() for label in labels],
        id=_text(row.get("id")),
    )


def _piqa(row: Row) -> ParsedRow:
    if (foundry := _foundry(row)) is not None:
        return foundry
    choices = (_text(row["sol1"]), _text(row["sol2"]))
    return _indexed(_text(row["goal"]), choices, row.get("label"))


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
        return _indexed(
            _text(row["question"]).strip(),
            _texts(row["choices"]),
            row["answer"],
            group=_text(row.get("subject")),
        )
    question = row["Question"] if "Question" in row else row["question"]
    answer = row.get("Answer", row.get("answer"))
    choices = tuple(_text(row[letter]) for letter in "ABCD")
    key = LETTERS[_letter(answer)] if _text(answer).strip() else ""
    return _answered(_text(question).strip(), choices, key, LETTERS)


def _agieval(row: Row) -> ParsedRow:
    """A question of AGIEval; `label` is a letter or, for several right answers, a list or "AD"."""
    passage, question = row.get("passage") or "", _text(row["question"])
    options = tuple(re.sub(r"\A\s*\([A-Z]\)\s*", "", option) for option in row.get("options") or ())
    text = f"{passage}\n{question}" if passage else question
    letters = _letters(row.get("label")) if options else []
    if letters and letters[-1] >= len(options):
        return _answered(text.strip(), options, LETTERS[letters[-1]], LETTERS)
    answer, also_right = (letters[0], tuple(letters[1:])) if letters else (None, ())
    return ParsedRow(text.strip(), options, answer, also_right=also_right)


def _letters(value: Any) -> list[int]:
    """Ascending indices of a letter, of several ("AD", "A, D") or of a list; [] for null."""
    if value is None:
        return []
    parts = value if isinstance(value, list) else re.sub(r"[\s,;、，；()]", "", str(value))
    return sorted({_letter(part) for part in parts})


def _gsm8k(row: Row) -> ParsedRow:
    return ParsedRow(str(row["context"] if "context" in row else row["question"]))


def _truthfulqa(row: Row) -> ParsedRow:
    """The best answers serve as choices, with which decontamination finds even short questions."""
    right, wrong = (
        next((str(row[name]) for name in names if row.get(name)), None)
        for names in (("Best Answer", "best_answer", "answer"), ("Best Incorrect Answer",))
    )
    question = str(row["Question"] if "Question" in row else row["question"])
    return ParsedRow(question, (right, wrong), 0) if right and wrong else ParsedRow(question)


def _winogrande(row: Row) -> ParsedRow:
    """The sentence with the right word filled in, as a leaked page would have it."""
    if "context_options" in row:
        return ParsedRow(f"{row['context_options'][int(row['gold'])]} {row['continuation']}")
    return ParsedRow(str(row["sentence"]).replace("_", str(row[f"option{row['answer'] or 1}"])))


PARSERS: dict[str, Callable[[Row], ParsedRow]] = {
    "multiple-choice": _ours,
    "agieval": _agieval,
    "arc": _labelled,
    "boolq": _boolq,
    "ceval": _lettered,
    "cmmlu": _lettered,
    "gsm8k": _gsm8k,
    "mmlu": _lettered,
    "openbookqa": _labelled,
    "piqa": _piqa,
    "truthfulqa": _truthfulqa,
    "winogrande": _winogrande,
}
