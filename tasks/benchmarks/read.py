"""Publishers' files to items.

Our own format, one JSON object a line: `{"id": "q1", "question": "...", "choices": ["...", ...],
"answer": 2, "group": "control"}` (`id` and `group` optional). ARC, OpenBookQA, PIQA and BoolQ are
read from their publishers' JSONL, from rows of the Hugging Face hub and from MosaicML's llm-foundry
conversion (`query`, `choices`, `gold`).
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.stage import StageError
from tasks.benchmarks.model import BenchmarkFiles

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


GROUP_A_FILE = frozenset({"agieval", "ceval", "cmmlu", "mmlu"})
"""Formats whose publishers give each subject a file, named after it."""

TASK_A_FILE = frozenset({"arc"})
"""Formats of which several files are several tasks (ARC-Easy and ARC-Challenge), each with its own
worked examples.
"""


class BenchmarkError(StageError):
    """A benchmark's file cannot be read: names the file, the line, what is wrong and what is
    expected.
    """


@dataclass(frozen=True)
class Item:
    """One question. `answer` indexes `choices` (None where the publisher keeps it); `group` is a
    subject or a split.

    `also_right`: further indices, of a question with several right answers.
    """

    benchmark: str
    id: str
    question: str
    choices: tuple[str, ...] = ()
    answer: int | None = None
    group: str = ""
    also_right: tuple[int, ...] = ()

    @property
    def right(self) -> tuple[int, ...]:
        """Indices of all right answers; none where the publisher keeps them."""
        return () if self.answer is None else (self.answer, *self.also_right)


@dataclass(frozen=True)
class _Parsed:
    question: str
    choices: tuple[str, ...] = ()
    answer: int | None = None
    id: str = ""
    group: str = ""
    also_right: tuple[int, ...] = ()


Row = Mapping[str, Any]


def read_items(
    name: str, benchmark: BenchmarkFiles, paths: Sequence[Path], limit: int | None = None
) -> list[Item]:
    """All items (the first `limit`) of a benchmark, in the order of `paths` and of their lines.

    Raises `BenchmarkError` for unreadable lines, for answers out of range, and for two items with
    one id.
    """
    items: list[Item] = []
    seen: dict[str, str] = {}
    parse = _PARSERS[benchmark.format]
    several = len(paths) > 1
    by_file = benchmark.format in GROUP_A_FILE or (benchmark.format in TASK_A_FILE and several)
    for path in paths:
        for file, number, row in _readable_rows(path, benchmark):
            where = f"{path}{'' if file == path.name else f' ({file})'}, record {number}"
            stem = Path(file).stem
            try:
                parsed = parse(row)
            except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
                shown = json.dumps(row, ensure_ascii=False, default=str)[:200]
                problem = f"no field {error}" if isinstance(error, KeyError) else str(error)
                expected = f"not an item of format {benchmark.format!r}"
                raise BenchmarkError(f"{where}: {expected}: {problem}: {shown}") from error
            _check(where, parsed)
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
                )
            )
            if limit is not None and len(items) == limit:
                return items
    if not items:
        raise BenchmarkError(
            f"benchmark {name!r}: no items in {', '.join(map(str, paths)) or 'no files'}"
        )
    return items


def _check(where: str, parsed: _Parsed) -> None:
    if not parsed.question.strip():
        raise BenchmarkError(f"{where}: the question is empty")
    for answer in () if parsed.answer is None else (parsed.answer, *parsed.also_right):
        if not 0 <= answer < len(parsed.choices):
            raise BenchmarkError(
                f"{where}: answer {answer} is not an index into {len(parsed.choices)} choices"
            )
    if parsed.choices and len(parsed.choices) < 2:
        raise BenchmarkError(f"{where}: one choice; a question needs two or more")


def _readable_rows(path: Path, benchmark: BenchmarkFiles) -> Iterator[tuple[str, int, Row]]:
    """`_rows`, with what its libraries raise on damaged files told as an error of the file."""
    try:
        yield from _rows(path, benchmark)
    except (
        zipfile.BadZipFile,
        csv.Error,
        ValueError,
        OSError,
    ) as error:  # pyarrow's are ValueErrors
        raise BenchmarkError(
            f"{path}: cannot be read as {path.suffix}: {error}; download it again, or mend it"
        ) from error


def _rows(path: Path, benchmark: BenchmarkFiles) -> Iterator[tuple[str, int, Row]]:
    """(file inside an archive or own name, number of the record from 0, row)."""
    suffix = path.suffix.lower()
    if suffix == ".zip":
        folder = benchmark.split
        with zipfile.ZipFile(path) as archive:
            members = sorted(
                n
                for n in archive.namelist()
                if n.split("/")[-2:-1] == [folder] and n.endswith(".csv")
            )
            if not members:
                raise BenchmarkError(
                    f"{path}: no {folder}/*.csv in the archive; set split to one of its folders"
                )
            for member in members:
                for number, row in _csv_rows(
                    archive.read(member), f"{path} ({member})", header=True
                ):
                    yield member.rsplit("/", 1)[-1], number, row
    elif suffix == ".arrow":
        import pyarrow as pa

        with pa.memory_map(str(path)) as source:
            for number, row in enumerate(pa.ipc.open_stream(source).read_all().to_pylist()):
                yield path.name, number, row
    elif suffix == ".csv":
        for number, row in _csv_rows(
            path.read_bytes(), str(path), header=benchmark.format != "mmlu"
        ):
            yield path.name, number, row
    elif suffix in (".jsonl", ".json", ".ndjson"):
        for number, row in _json_rows(path):
            yield path.name, number, row
    else:
        raise BenchmarkError(
            f"{path}: benchmarks are read from .jsonl, .json, .csv, .zip and .arrow files"
        )


_NOT_UTF8 = re.compile(rb"\0|\x1b[$(]")


def _json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """One object a line, or one list of objects."""
    text = _decode(path.read_bytes(), str(path))
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except json.JSONDecodeError as error:
            raise BenchmarkError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from error
        yield from enumerate(rows)
        return
    number = 0
    for line_number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BenchmarkError(
                f"{path}, line {line_number}: not JSON: {error.msg}: {line[:120]!r}"
            ) from error
        if not isinstance(row, dict):
            raise BenchmarkError(
                f"{path}, line {line_number}: expected a JSON object, found {line[:120]!r}"
            )
        yield number, row
        number += 1


def _csv_rows(data: bytes, where: str, *, header: bool) -> Iterator[tuple[int, Row]]:
    lines = csv.reader(io.StringIO(_decode(data, where), newline=""))
    names = next(lines, []) if header else ["question", "A", "B", "C", "D", "answer"]
    for number, values in enumerate(line for line in lines if line):
        if len(values) != len(names):
            shown = str(values)[:200]
            raise BenchmarkError(
                f"{where}, record {number}: {len(values)} columns, expected {len(names)}: {shown}"
            )
        yield number, dict(zip(names, values, strict=True))


def _decode(data: bytes, where: str) -> str:
    """UTF-8 alone: valid UTF-8 with NUL bytes or with escapes of ISO-2022-JP is text in another
    encoding.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchmarkError(
            f"{where}: not UTF-8 at byte {error.start}; convert it with iconv"
        ) from error
    if at := _NOT_UTF8.search(data):
        found = "UTF-16 or UTF-32 (a NUL byte)" if at[0] == b"\0" else "ISO-2022 (an escape)"
        raise BenchmarkError(
            f"{where}: looks like {found} at byte {at.start()}, not UTF-8; convert it with iconv"
        )
    return text


def _subject(stem: str) -> str:
    """`accountant_val` -> `accountant` (C-Eval's and MMLU's file names), `ARC-Easy-Test` ->
    `ARC-Easy`; CMMLU's and AGIEval's are the subject already.
    """
    return re.sub(r"[_-](train|dev|val|validation|test)$", "", stem, flags=re.IGNORECASE)


def _letter(value: Any) -> int:
    letter = str(value).strip().upper()
    if len(letter) != 1 or letter not in LETTERS:
        raise ValueError(f"answer {value!r} is not a letter from A to Z")
    return LETTERS.index(letter)


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"choices must be a list of strings, found {str(values)[:80]!r}")
    return tuple(values)


def _ours(row: Row) -> _Parsed:
    if unknown := sorted(set(row) - {"id", "question", "choices", "answer", "group"}):
        raise ValueError(
            f"unknown fields {unknown}; allowed are id, question, choices, answer, group"
        )
    answer = row["answer"]
    if not isinstance(answer, int) or isinstance(answer, bool):
        raise ValueError(f"answer must be an index (a whole number from 0), found {answer!r}")
    return _Parsed(
        str(row["question"]),
        _texts(row["choices"]),
        answer,
        str(row.get("id", "")),
        str(row.get("group") or ""),
    )


_PROMPT_WORDS = re.compile(r"\A\s*Question:\s*|\s*Answer:\s*\Z")


def _foundry(row: Row) -> _Parsed | None:
    """A row of llm-foundry's `multiple_choice` data, prompt words taken off; None for other
    rows.
    """
    if "query" not in row or "gold" not in row:
        return None
    return _Parsed(
        _PROMPT_WORDS.sub("", row["query"]).strip(), _texts(row["choices"]), int(row["gold"])
    )


def _labelled(row: Row) -> _Parsed:
    """AI2's questions, from their own files (`question.stem`) or from the hub (`choices: {text,
    label}`).
    """
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
    key = str(row.get("answerKey") or "").strip()
    return _Parsed(
        str(question), _texts(texts), labels.index(key) if key else None, str(row.get("id", ""))
    )


def _piqa(row: Row) -> _Parsed:
    if (foundry := _foundry(row)) is not None:
        return foundry
    label = row.get("label")
    return _Parsed(
        str(row["goal"]),
        (str(row["sol1"]), str(row["sol2"])),
        None if label in (None, -1) else int(label),
    )


def _boolq(row: Row) -> _Parsed:
    if (foundry := _foundry(row)) is not None:
        passage, _, question = foundry.question.removeprefix("Passage: ").rpartition("\nQuestion: ")
        return _Parsed(
            f"{passage}\nQuestion: {question.rstrip('?')}", foundry.choices, foundry.answer
        )
    answer, passage = row["answer"] if "answer" in row else row["label"], str(row["passage"])
    if (title := row.get("title")) and not passage.startswith(f"{title} -- "):
        # the publisher's own files have it apart, SuperGLUE's (the harness's) not
        passage = f"{title} -- {passage}"
    known = answer if answer in (0, 1) else None
    return _Parsed(
        f"{passage}\nQuestion: {row['question']}",
        ("no", "yes"),
        None if known is None else int(known),
    )


def _lettered(row: Row) -> _Parsed:
    """A table row `question, A, B, C, D, answer` of CMMLU, C-Eval or MMLU (capitalised or not), or
    the hub's MMLU.
    """
    if isinstance(row.get("choices"), list):
        given = None if row["answer"] in (None, -1) else int(row["answer"])
        return _Parsed(
            str(row["question"]).strip(), _texts(row["choices"]), given, group=row["subject"]
        )
    question = row["Question"] if "Question" in row else row["question"]
    answer = row.get("Answer", row.get("answer"))
    choices = tuple(str(row[letter]) for letter in "ABCD")
    return _Parsed(
        str(question).strip(), choices, None if answer in (None, "") else _letter(answer)
    )


def _agieval(row: Row) -> _Parsed:
    """A question of AGIEval; where an exam has several right answers, `label` is a list of letters
    or "AD".
    """
    passage, question = row.get("passage") or "", str(row["question"])
    options = tuple(re.sub(r"\A\s*\([A-Z]\)\s*", "", option) for option in row.get("options") or ())
    text = f"{passage}\n{question}" if passage else question
    letters = _letters(row.get("label")) if options else []
    answer, also_right = (letters[0], tuple(letters[1:])) if letters else (None, ())
    return _Parsed(text.strip(), options, answer, also_right=also_right)


def _letters(value: Any) -> list[int]:
    """Indices of one letter, of several ("AD", "A, D"), or of a list of them, in order; none for
    nothing.
    """
    if value is None:
        return []
    parts = value if isinstance(value, list) else re.sub(r"[\s,;、，；()]", "", str(value))
    return sorted({_letter(part) for part in parts})


def _gsm8k(row: Row) -> _Parsed:
    return _Parsed(str(row["context"] if "context" in row else row["question"]))


def _truthfulqa(row: Row) -> _Parsed:
    """The best answers stand in for choices: with them decontamination also finds the shortest
    questions.
    """
    right, wrong = (
        next((str(row[name]) for name in names if row.get(name)), None)
        for names in (("Best Answer", "best_answer", "answer"), ("Best Incorrect Answer",))
    )
    question = str(row["Question"] if "Question" in row else row["question"])
    return _Parsed(question, (right, wrong), 0) if right and wrong else _Parsed(question)


def _winogrande(row: Row) -> _Parsed:
    """The sentence with its right word filled in: what a leaked page would hold."""
    if "context_options" in row:
        return _Parsed(f"{row['context_options'][int(row['gold'])]} {row['continuation']}")
    return _Parsed(str(row["sentence"]).replace("_", str(row[f"option{row['answer'] or 1}"])))


_PARSERS: dict[str, Callable[[Row], _Parsed]] = {
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
