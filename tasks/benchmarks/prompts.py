"""Turn items into prompts, with worked examples.

Prompts are built here rather than by the harness's templates, so that every protocol uses the same
text. The layout (description, examples separated by blank lines, question) is that of
lm-evaluation-harness.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from infra.stage import StageError
from tasks.benchmarks.parsed import LETTERS
from tasks.benchmarks.read import Item
from tasks.benchmarks.styles import Style


def question_text(item: Item, style: Style) -> str:
    """The question as asked, with its options if the style lists them.

    Braces in the item itself are not interpreted.
    """
    options = "\n".join(
        f"{letter}. {choice}" for letter, choice in zip(LETTERS, item.choices, strict=False)
    )
    values = {"question": item.question, "options": options}
    return re.sub(r"\{(question|options)\}", lambda field: values[field[1]], style.question)


def answers(item: Item, style: Style) -> tuple[str, ...]:
    """What is scored after prompt and delimiter: letters (at most 26), the choices' text, or what
    follows a blank, once for each word that may fill it.
    """
    if style.score == "blank":
        return (item.blank.rest,) * len(item.blank.beginnings) if item.blank else ()
    return item.choices if style.score == "texts" else tuple(LETTERS[: len(item.choices)])


def right_answers(item: Item, style: Style) -> tuple[int, ...]:
    """Indices of the right ones of `answers`; none if the publisher withholds them."""
    if style.score == "blank":
        return () if item.blank is None or item.blank.answer is None else (item.blank.answer,)
    return item.right


def prompt(item: Item, style: Style, examples: Sequence[Item] = ()) -> str:
    """Description, worked examples with their answers, and the question (without what a blank's
    sentence begins with, see `beginnings`).

    `{subject}` in a description is replaced by the item's group in words (high school physics for
    `high_school_physics`).
    """
    subject = item.group.replace("_", " ")
    parts = [style.description.replace("{subject}", subject)]
    for example in examples:
        parts += [_worked(example, style), style.separator]
    question = "" if style.score == "blank" else question_text(item, style)
    return "".join([*parts, question])


def beginnings(item: Item, style: Style) -> tuple[str, ...]:
    """What follows the prompt and differs between the answers of a blank; else ()."""
    return item.blank.beginnings if style.score == "blank" and item.blank else ()


def _worked(example: Item, style: Style) -> str:
    """A worked example with its answer, the first if several are right."""
    right = right_answers(example, style)
    if example.problem or not (right or example.accepted):
        raise StageError(
            f"worked example {example.benchmark}/{example.id} cannot be shown "
            f"({example.problem or 'it has no answer'}); remove it from dev"
        )
    if not right:
        shown = example.worked or example.accepted[0]
        return question_text(example, style) + style.delimiter + shown
    begun = beginnings(example, style)
    question = begun[right[0]] if begun else question_text(example, style)
    return question + style.delimiter + answers(example, style)[right[0]]


def examples_for(item: Item, dev: Sequence[Item], shots: int) -> list[Item]:
    """The first `shots` worked examples, of the item's group if the examples have groups."""
    same = [example for example in dev if not example.group or example.group == item.group]
    if len(same) < shots:
        group = f" of group {item.group!r}" if item.group else " without a group"
        others = sorted({example.group for example in dev} - {item.group, ""})
        other_groups = (
            f" (it has {', '.join(others[:5])}{' ...' if len(others) > 5 else ''})"
            if others and not same
            else ""
        )
        raise StageError(
            f"{item.benchmark}: {shots} shots requested, but dev has {len(same)} "
            f"examples{group}{other_groups}; lower shots, or list files with more examples under "
            "dev"
        )
    return same[:shots]
