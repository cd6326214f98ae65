"""Turn items into prompts, with worked examples.

Prompts are built here rather than by the harness's templates, so that every protocol uses the same
text. The layout (description, examples separated by blank lines, question) is that of
lm-evaluation-harness.
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
    """The question as asked, with its options if the style lists them.

    Braces in the item itself are not interpreted.
    """
    options = "\n".join(
        f"{letter}. {choice}" for letter, choice in zip(LETTERS, item.choices, strict=False)
    )
    values = {"question": item.question, "options": options}
    return re.sub(r"\{(question|options)\}", lambda field: values[field[1]], style.question)


def answers(item: Item, style: Style) -> tuple[str, ...]:
    """What is scored after prompt and delimiter: letters (at most 26), or the choices' text."""
    return tuple(LETTERS[: len(item.choices)]) if style.score == "letters" else item.choices


def prompt(item: Item, style: Style, examples: Sequence[Item] = ()) -> str:
    """Description, worked examples with their answers, and the question.

    An example with several right answers shows the first. `{subject}` in a description is replaced
    by the item's group in words (high school physics for `high_school_physics`).
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
                f"({example.problem or 'it has no answer'}); remove it from dev"
            )
        parts.append(
            question_text(example, style)
            + style.delimiter
            + answers(example, style)[example.answer]
        )
        parts.append(EXAMPLE_DELIMITER)
    return "".join([*parts, question_text(item, style)])


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
