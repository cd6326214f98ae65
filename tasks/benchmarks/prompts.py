"""Items to prompts: the words a model sees before it chooses, worked examples included.

Built here rather than in the harness's templates so that every protocol asks the same words; the
layout (description, examples parted by blank lines, the question) is that of lm-evaluation-harness.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from infra.stage import StageError
from tasks.benchmarks.formats import LETTERS
from tasks.benchmarks.model import Style
from tasks.benchmarks.read import Item

EXAMPLE_DELIMITER = "\n\n"


def question_text(item: Item, style: Style) -> str:
    """The question as asked, options listed where the style wants them; braces in the item are left
    alone.
    """
    options = "\n".join(
        f"{letter}. {choice}" for letter, choice in zip(LETTERS, item.choices, strict=False)
    )
    pieces = {"question": item.question, "options": options}
    return re.sub(r"\{(question|options)\}", lambda field: pieces[field[1]], style.question)


def answers(item: Item, style: Style) -> tuple[str, ...]:
    """What is scored after the prompt and the delimiter: the letters (of the first 26), or the
    choices' own words.
    """
    return tuple(LETTERS[: len(item.choices)]) if style.score == "letters" else item.choices


def prompt(item: Item, style: Style, examples: Sequence[Item] = ()) -> str:
    """Description, worked examples with their answers, and the question; of several answers an
    example shows the first.

    `{subject}` of a description is the item's group in words (`high_school_physics` is high school
    physics).
    """
    parts = (
        [style.description.replace("{subject}", item.group.replace("_", " "))]
        if style.description
        else []
    )
    for example in examples:
        if example.problem or example.answer is None:
            raise StageError(
                f"worked example {example.benchmark}/{example.id} cannot be shown "
                f"({example.problem or 'it has no answer'}); take it out of dev"
            )
        parts.append(
            question_text(example, style)
            + style.delimiter
            + answers(example, style)[example.answer]
        )
        parts.append(EXAMPLE_DELIMITER)
    return "".join([*parts, question_text(item, style)])


def examples_for(item: Item, dev: Sequence[Item], shots: int) -> list[Item]:
    """The first `shots` worked examples, of the item's own group where the examples have groups."""
    same = [example for example in dev if not example.group or example.group == item.group]
    if len(same) < shots:
        group = f" of group {item.group!r}" if item.group else " without a group"
        others = sorted({example.group for example in dev} - {item.group, ""})
        there = (
            f" (it has {', '.join(others[:5])}{' ...' if len(others) > 5 else ''})"
            if others and not same
            else ""
        )
        raise StageError(
            f"{item.benchmark}: {shots} shots asked but dev has {len(same)} "
            f"examples{group}{there}; lower shots, or name the files that have them under dev"
        )
    return same[:shots]
