"""Read publishers' files into items.

Puna's own format has one JSON object per line: `{"id": "q1", "question": "...", "choices": ["...",
...], "answer": 2, "group": "control"}` (`id` and `group` are optional). For the other formats see
`tasks.benchmarks.formats`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.benchmarks.formats import PARSERS
from tasks.benchmarks.model import BenchmarkFiles, Format
from tasks.benchmarks.parsed import Blank, ParsedRow
from tasks.benchmarks.rows import BenchmarkError, Row, labels_of, readable_rows, with_labels

FILE_PER_SUBJECT = frozenset({"agieval", "ceval", "cmmlu", "gaokao", "mmlu"})
"""Formats whose publishers put each subject into a file named after it."""

WITHOUT_GROUPS = frozenset(
    {"boolq", "commonsenseqa", "gsm8k", "hellaswag", "natural-questions", "openbookqa", "piqa"}
    | {"siqa", "triviaqa", "winogrande"}
)
"""Formats in which no item has a group."""

FILE_PER_ITEM = frozenset({"math"})  # in the publisher's JSON, whose folders are the groups
FILE_PER_TASK = frozenset({"arc"})
"""Formats whose files are separate tasks (ARC-Easy, ARC-Challenge) with their own examples."""


@dataclass(frozen=True)
class Item:
    """One question.

    `answer` indexes `choices` (None if the publisher withholds it). `also_right`: the other
    indices, if a question has several right answers. `group`: a subject or a task. `problem`: what
    is wrong with it in the file, so that it cannot be asked. `accepted`, `worked`, `blank`: see
    `tasks.benchmarks.parsed`.
    """

    benchmark: str
    id: str
    question: str
    choices: tuple[str, ...] = ()
    answer: int | None = None
    group: str = ""
    also_right: tuple[int, ...] = ()
    problem: str = ""
    accepted: tuple[str, ...] = ()
    worked: str = ""
    blank: Blank | None = None

    @property
    def right(self) -> tuple[int, ...]:
        """Indices of all right answers; none if the publisher withholds them."""
        return () if self.answer is None else (self.answer, *self.also_right)


def read_items(
    name: str,
    benchmark: BenchmarkFiles,
    paths: Sequence[Path],
    limit: int | None = None,
    *,
    group_by_task: bool = False,
) -> list[Item]:
    """All items (the first `limit`) of a benchmark, in the order of `paths` and of their lines.

    Items that cannot be asked are included, with a `problem`: decontamination searches for them.

    Args:
        group_by_task: if the format's files are tasks, make even a single file a group.

    Raises:
        BenchmarkError: lines that are not items of the format, or two items with one id.
    """
    items: list[Item] = []
    seen: dict[str, str] = {}
    labels = labels_of(paths)
    paths = [path for path in paths if path not in labels.values()]
    several = len(paths) > 1
    by_task = benchmark.format in FILE_PER_TASK and (several or group_by_task)
    group_by_file = by_task or benchmark.format in FILE_PER_SUBJECT
    stems = _stems(paths)
    for path in paths:
        rows = readable_rows(path, benchmark)
        if path in labels:
            rows = with_labels(rows, path, labels[path])
        for file, record, row in rows:
            number: int | str = record
            where = f"{path}{'' if file == path.name else f' ({file})'}, record {number}"
            stem = stems[path] if file == path.name else Path(file).stem
            parsed = _parsed(row, benchmark.format, where)
            group = parsed.group or (_subject(stem) if group_by_file else "")
            prefix = f"{group or stem}/" if several or file != path.name else ""
            if several and benchmark.format in FILE_PER_ITEM and path.suffix == ".json":
                number = path.stem
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
                    parsed.accepted,
                    parsed.worked,
                    parsed.blank,
                )
            )
            if limit is not None and len(items) == limit:
                return items
    if not items:
        raise BenchmarkError(
            f"benchmark {name!r}: no items in {', '.join(map(str, paths)) or 'no files'}"
        )
    return items


def _parsed(row: Row, format: Format, where: str) -> ParsedRow:
    """A row in the format, with its `problem`; `BenchmarkError` if it is not such a row."""
    try:
        parsed = _with_problem(PARSERS[format](row))
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        shown = json.dumps(row, ensure_ascii=False, default=str)[:200]
        problem = f"no field {error}" if isinstance(error, KeyError) else str(error)
        expected = f"not an item of format {format!r}"
        raise BenchmarkError(_clean(f"{where}: {expected}: {problem}: {shown}")) from error
    if parsed.answer is not None and not 0 <= parsed.answer < len(parsed.choices):
        # Only in our own format, and most likely the file counts from 1: then the answers that are
        # in range are wrong as well.
        raise BenchmarkError(
            f"{where}: answer {parsed.answer} is not an index into {len(parsed.choices)} choices"
        )
    return parsed


def _with_problem(parsed: ParsedRow) -> ParsedRow:
    """The row, with its `problem` if it cannot be asked, and surrogates replaced by U+FFFD."""
    problem = parsed.problem
    if len(parsed.choices) == 1:
        problem = "only one choice"
    elif not parsed.question.strip():
        problem = "an empty question"
    texts = [parsed.id, parsed.group, parsed.question, *parsed.choices]
    cleaned = [_clean(text) for text in texts]
    if cleaned != texts:
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
    """The text with unpaired surrogates, which cannot be encoded, replaced by U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _stems(paths: Sequence[Path]) -> dict[Path, str]:
    """A short name for each file.

    This is its stem, or its folder's name if the stem is just that of a split, as in the hub's
    `ARC-Easy/test-00000-of-00001.jsonl`. A name shared by several files is prefixed with the
    folder's.
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
    """A file's stem without its split.

    `accountant_val` -> `accountant` (C-Eval, MMLU), `ARC-Easy-Test` -> `ARC-Easy`. CMMLU's and
    AGIEval's stems are subjects already.
    """
    return _SPLIT.sub("", stem)
