"""Publishers' files to items.

Our own format, one JSON object a line: `{"id": "q1", "question": "...", "choices": ["...", ...],
"answer": 2, "group": "control"}` (`id` and `group` optional). For the others see `formats`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.benchmarks.formats import PARSERS, Parsed
from tasks.benchmarks.model import BenchmarkFiles
from tasks.benchmarks.rows import BenchmarkError, readable_rows

GROUP_A_FILE = frozenset({"agieval", "ceval", "cmmlu", "mmlu"})
"""Formats whose publishers give each subject a file, named after it."""

TASK_A_FILE = frozenset({"arc"})
"""Formats of which several files are several tasks (ARC-Easy and ARC-Challenge), each with its own
worked examples.
"""


@dataclass(frozen=True)
class Item:
    """One question. `answer` indexes `choices` (None where the publisher keeps it); `group` is a
    subject or a split.

    `also_right`: further indices, of a question with several right answers. `problem`: why it
    cannot be asked, where the file itself has it wrong.
    """

    benchmark: str
    id: str
    question: str
    choices: tuple[str, ...] = ()
    answer: int | None = None
    group: str = ""
    also_right: tuple[int, ...] = ()
    problem: str = ""

    @property
    def right(self) -> tuple[int, ...]:
        """Indices of all right answers; none where the publisher keeps them."""
        return () if self.answer is None else (self.answer, *self.also_right)


def read_items(
    name: str,
    benchmark: BenchmarkFiles,
    paths: Sequence[Path],
    limit: int | None = None,
    *,
    tasks_apart: bool = False,
) -> list[Item]:
    """All items (the first `limit`) of a benchmark, in the order of `paths` and of their lines.

    An item that nobody can be asked stays, with its `problem`: decontamination looks for its words.

    Args:
        tasks_apart: of a format whose files are tasks, also one file alone is a group.

    Raises:
        BenchmarkError: lines that are not items of the format, or two items with one id.
    """
    items: list[Item] = []
    seen: dict[str, str] = {}
    parse = PARSERS[benchmark.format]
    several = len(paths) > 1
    apart = benchmark.format in TASK_A_FILE and (several or tasks_apart)
    by_file = benchmark.format in GROUP_A_FILE or apart
    stems = _stems(paths)
    for path in paths:
        for file, number, row in readable_rows(path, benchmark):
            where = f"{path}{'' if file == path.name else f' ({file})'}, record {number}"
            stem = stems[path] if file == path.name else Path(file).stem
            try:
                parsed = _checked(parse(row))
            except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
                shown = json.dumps(row, ensure_ascii=False, default=str)[:200]
                problem = f"no field {error}" if isinstance(error, KeyError) else str(error)
                expected = f"not an item of format {benchmark.format!r}"
                raise BenchmarkError(_clean(f"{where}: {expected}: {problem}: {shown}")) from error
            if parsed.answer is not None and not 0 <= parsed.answer < len(parsed.choices):
                # Of our own format: most likely the file counts from 1, and all others are wrong.
                raise BenchmarkError(
                    f"{where}: answer {parsed.answer} is not an index into "
                    f"{len(parsed.choices)} choices"
                )
            group = parsed.group or (_subject(stem) if by_file else "")
            prefix = f"{group or stem}/" if several or file != path.name else ""
            item_id = parsed.id or f"{prefix}{number}"
            if item_id in seen:
                raise BenchmarkError(
                    f"{where}: id {item_id!r} was already used in {seen[item_id]}; ids must differ"
                )
            seen[item_id] = where
            items.append(
                Item(
                    name,
                    item_id,
                    parsed.question,
                    parsed.choices,
                    parsed.answer,
                    group,
                    parsed.also_right,
                    parsed.problem,
                )
            )
            if limit is not None and len(items) == limit:
                return items
    if not items:
        raise BenchmarkError(
            f"benchmark {name!r}: no items in {', '.join(map(str, paths)) or 'no files'}"
        )
    return items


def _checked(parsed: Parsed) -> Parsed:
    """The same with what else makes it impossible to ask; of text that is none, U+FFFD stands for
    what no encoding has.
    """
    problem = parsed.problem
    if len(parsed.choices) == 1:
        problem = "only one choice"
    elif not parsed.question.strip():
        problem = "an empty question"
    words = [parsed.id, parsed.group, parsed.question, *parsed.choices]
    cleaned = [_clean(word) for word in words]
    if cleaned != words:
        problem = "half a surrogate pair, which is no character"
    id, group, question, *choices = cleaned
    answer = parsed.answer if parsed.choices else None
    return replace(
        parsed,
        id=id,
        group=group,
        question=question,
        choices=tuple(choices),
        answer=answer,
        problem=problem,
    )


def _clean(text: str) -> str:
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _stems(paths: Sequence[Path]) -> dict[Path, str]:
    """What each file is called: its name, or its folder's where that tells more.

    The hub has `ARC-Easy/test-00000-of-00001.jsonl`; names that several files share take their
    folders' before them.
    """
    names = {}
    for path in paths:
        stem = re.sub(r"-\d{5}-of-\d{5}$", "", path.stem)
        names[path] = path.absolute().parent.name if _SPLIT.fullmatch(f"-{stem}") else stem
    shared = Counter(names.values())
    return {
        path: f"{path.absolute().parent.name}/{name}" if shared[name] > 1 else name
        for path, name in names.items()
    }


_SPLIT = re.compile(r"[_-](train|dev|val|validation|test)$", re.IGNORECASE)


def _subject(stem: str) -> str:
    """`accountant_val` -> `accountant` (C-Eval's and MMLU's file names), `ARC-Easy-Test` ->
    `ARC-Easy`; CMMLU's and AGIEval's are the subject already.
    """
    return _SPLIT.sub("", stem)
