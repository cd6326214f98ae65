"""GAOKAO-Bench: questions of China's university entrance examination, as published.

The text of a question lists its own options ("A．..."), and is asked as it stands. Only questions
with four options and one right answer are: others (several questions about one text, options up to
G, several right answers) are counted as not asked.
"""

from __future__ import annotations

import re

from tasks.benchmarks.parsed import ParsedRow, letter, text
from tasks.benchmarks.rows import Row

_OPTION = re.compile(r"(?<![A-Za-z])([A-G])\s?[．.、]")


def parse(row: Row) -> ParsedRow:
    """A row of `example`; its answer is in `standard_answer`, in earlier versions in `answer`."""
    question = text(row["question"]).strip()
    key = row["standard_answer"] if "standard_answer" in row else row["answer"]
    keys = key if isinstance(key, list) else [key]
    if len(keys) != 1 or not re.fullmatch(r"\s*[A-D]\s*", text(keys[0])):
        problem = "it has not one answer of A to D, so it is no four-choice question"
        return ParsedRow(question, problem=problem)
    choices = _options(question)
    if choices is None:
        return ParsedRow(question, problem="its text does not list four options A to D")
    return ParsedRow(question, choices, letter(keys[0]))


def _options(question: str) -> tuple[str, ...] | None:
    """The texts of the options A to D at the end of a question; None where it lists others."""
    found = list(_OPTION.finditer(question))
    starts: list[re.Match[str]] = []
    for name in "DCBA":
        before = starts[-1].start() if starts else len(question)
        last = next((m for m in reversed(found) if m[1] == name and m.start() < before), None)
        if last is None:
            return None
        starts.append(last)
    starts.reverse()
    if any(m[1] > "D" and m.start() > starts[-1].start() for m in found):
        return None
    ends = [*(m.start() for m in starts[1:]), len(question)]
    return tuple(question[m.end() : end].strip() for m, end in zip(starts, ends, strict=True))
