"""What a reader must know before any number: said in words at the top of the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.quantities import counted
from tasks.report.notes import Inputs
from tasks.report.scores import LONG_TEXT, guessed


def warnings(inputs: Inputs, numbers: Mapping[str, Any]) -> list[str]:
    """One sentence each: refusals, divergence, too little held-out text, chance, contamination."""
    return [
        *_refused(inputs),
        *_diverged(inputs),
        *numbers["document_notes"],
        *_few(numbers),
        *_guessed(numbers),
        *(f"{note}." for note in numbers.get("leaks", ())),
        *_not_decontaminated(numbers),
    ]


def _refused(inputs: Inputs) -> Iterator[str]:
    for card in inputs.get("scorecard", ()):
        for reason in card.statistics.get("refused", ()):
            yield f"Not promoted: {reason}"


def _diverged(inputs: Inputs) -> Iterator[str]:
    for phase in inputs.get("training", ()):
        found = phase.statistics
        last, guessing = found.get("loss_last"), found.get("loss_of_guessing")
        if last is not None and guessing is not None and not last <= guessing:
            yield (
                f"Phase {phase.name} has diverged: its last loss is {last:.2f} nats a token, worse "
                f"than the {guessing:.2f} of guessing. Scores after it say nothing about the data."
            )
        else:
            for note in found.get("notes", ()):
                yield f"Phase {phase.name}: {note}"


def _few(numbers: Mapping[str, Any]) -> Iterator[str]:
    """Held-out text below the floor of the recipe."""
    counts: dict[str, Mapping[str, Any]] = {}
    for rows in numbers["scores"].values():
        counts |= {task: row for task, row in rows.items() if row.get("few")}
    for task, row in counts.items():
        yield (
            f"{task} is scored on {counted(row['n'], 'document')} with "
            f"{row['characters']:,} characters, too few to say much."
        )


def _guessed(numbers: Mapping[str, Any]) -> Iterator[str]:
    scores = numbers["scores"]
    for task, models in guessed(numbers).items():
        if "/" in task and any(task.rpartition("/")[0] in rows for rows in scores.values()):
            continue  # groups are marked in their table
        chance = next(iter(numbers["chance"][task].values()))
        if len(models) == len(scores) > 1:
            yield (
                f"No model answers {task} better than guessing ({chance:.3f}, by two standard "
                "errors): changes there say nothing."
            )
        else:
            answer = "answers" if len(models) == 1 else "answer"
            yield (
                f"{', '.join(models)} {answer} {task} no better than guessing ({chance:.3f}, by "
                "two standard errors)."
            )


def _not_decontaminated(numbers: Mapping[str, Any]) -> Iterator[str]:
    found = {row["benchmark"] for row in numbers.get("contaminated", ()) if row["items_hit"]}
    unsure = [name for name in numbers["not_decontaminated"] if name not in found]
    if tasks := [name for name in unsure if not name.startswith(LONG_TEXT)]:
        yield (
            f"The training data was not decontaminated against {', '.join(tasks)}: items of "
            f"{'it' if len(tasks) == 1 else 'them'} may have been trained on."
        )
