"""Read rows from publishers' files: JSON Lines, other JSON, CSV, zips of CSV, Arrow, Parquet."""

from __future__ import annotations

import ast
import contextlib
import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.io.foreign import foreign_json
from infra.stage import StageError
from tasks.benchmarks.model import BenchmarkFiles

Row = Mapping[str, Any]


class BenchmarkError(StageError):
    """A benchmark's file cannot be read. The message names the file, the line and what to do."""


def readable_rows(path: Path, benchmark: BenchmarkFiles) -> Iterator[tuple[str, int, Row]]:
    """`_rows`, with the libraries' errors on damaged files raised as `BenchmarkError`."""
    try:
        yield from _rows(path, benchmark)
    except (zipfile.BadZipFile, csv.Error, ValueError, OSError) as error:
        # pyarrow's errors are ValueErrors.
        raise BenchmarkError(
            f"{path}: cannot be read as {path.suffix}: {error}; download it again, or repair it"
        ) from error


LABELS = "-labels.lst"
"""End of the name of a file of answers, a line for each row of the file that it is named after, as
PIQA and SIQA are published (`valid.jsonl`, `valid-labels.lst`).
"""


def labels_of(paths: Sequence[Path]) -> dict[Path, Path]:
    """File with rows -> file with their answers; `BenchmarkError` for answers without rows."""
    found = {}
    for path in paths:
        if path.name.endswith(LABELS):
            rows = path.with_name(f"{path.name.removesuffix(LABELS)}.jsonl")
            if rows not in paths:
                raise BenchmarkError(
                    f"{path} has answers to {rows.name}, which is not among the benchmark's files; "
                    "name both in paths"
                )
            found[rows] = path
    return found


def with_labels(
    rows: Iterator[tuple[str, int, Row]], path: Path, labels: Path
) -> Iterator[tuple[str, int, Row]]:
    """The rows of `path`, each with its line of `labels` as the field `label`."""
    found = list(rows)
    lines = _decode(labels.read_bytes(), str(labels)).split()
    if len(lines) != len(found):
        raise BenchmarkError(
            f"{labels} has {len(lines):,} answers, and {path.name} has {len(found):,} questions: "
            "they are of two versions; download both again"
        )
    for (file, number, row), line in zip(found, lines, strict=True):
        yield file, number, {**row, "label": line}


def _rows(path: Path, benchmark: BenchmarkFiles) -> Iterator[tuple[str, int, Row]]:
    """Yield (file name, in the archive if there is one; number of the record, from 0; row)."""
    suffix = path.suffix.lower()
    if suffix == ".zip":
        folder = benchmark.split
        if benchmark.format == "cmmlu" and folder == "val":  # the default; CMMLU has test and dev
            folder = "test"
        with zipfile.ZipFile(path) as archive:
            members = sorted(
                name
                for name in archive.namelist()
                if name.split("/")[-2:-1] == [folder] and name.endswith(".csv")
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
    elif suffix == ".parquet":
        import pyarrow.parquet as pq

        number = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    yield path.name, number, row
                    number += 1
    elif suffix == ".csv" and benchmark.format == "agieval":
        yield from _agieval_examples(path)
    elif suffix == ".csv":
        for number, row in _csv_rows(
            path.read_bytes(), str(path), header=benchmark.format != "mmlu"
        ):
            yield path.name, number, row
    elif suffix == ".txt" and benchmark.format == "race":
        for number, row in enumerate(_race_rows(path)):
            yield path.name, number, row
    elif suffix in (".jsonl", ".json", ".ndjson"):
        for number, row in _json_rows(path):
            yield path.name, number, row
    else:
        raise BenchmarkError(
            f"{path}: benchmarks are read from .jsonl, .json, .csv, .zip, .arrow and .parquet files"
        )


_NOT_UTF8 = re.compile(rb"\0|\x1b[$(]")


_LISTS = ("example", "Data")
"""Where GAOKAO-Bench and TriviaQA have the list of their questions."""


def _json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Rows of a file with one object per line, with one list of objects (by itself, or in an object
    that names it), or with one object.
    """
    text = _decode(path.read_bytes(), str(path))
    rows = None
    if text.lstrip().startswith("["):
        try:
            rows = foreign_json(text)
        except json.JSONDecodeError as error:
            raise BenchmarkError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from error
    elif text.lstrip().startswith("{"):
        with contextlib.suppress(json.JSONDecodeError):  # several objects, one per line
            whole = foreign_json(text)
            rows = next((whole[key] for key in _LISTS if isinstance(whole.get(key), list)), [whole])
    if rows is not None:
        for number, row in enumerate(rows):
            if not isinstance(row, dict):
                raise BenchmarkError(
                    f"{path}, record {number}: expected a JSON object, found {str(row)[:120]!r}"
                )
            yield number, row
        return
    number = 0
    for line_number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = foreign_json(line)
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


def _race_rows(path: Path) -> Iterator[Row]:
    """RACE's own files: a passage with the lists of its questions, options and answers."""
    (_, passage), *others = _json_rows(path)
    if others:
        raise BenchmarkError(f"{path}: expected one passage of RACE, found {1 + len(others)}")
    lists = ("questions", "options", "answers")
    if absent := [name for name in ("article", *lists) if name not in passage]:
        raise BenchmarkError(f"{path}: not a passage of RACE: no field {absent[0]!r}")
    questions, options, answers = (list(passage[name]) for name in lists)
    if not len(questions) == len(options) == len(answers):
        raise BenchmarkError(
            f"{path}: {len(questions)} questions and {len(answers)} answers; download it again"
        )
    for question, choices, answer in zip(questions, options, answers, strict=True):
        yield {
            "article": passage["article"],
            "question": question,
            "options": choices,
            "answer": answer,
        }


def _agieval_examples(path: Path) -> Iterator[tuple[str, int, Row]]:
    """Worked examples of AGIEval's `few_shot_prompts.csv`: a column per subject, in which rows of
    examples (as Python writes them) and of explanations alternate; yields (subject's file, ...).
    """
    table = csv.DictReader(io.StringIO(_decode(path.read_bytes(), str(path)), newline=""))
    for number, row in enumerate(list(table)[::2]):
        for subject, cell in row.items():
            if not subject or not isinstance(cell, str) or not cell.strip():
                continue
            try:
                example = ast.literal_eval(cell)
            except (ValueError, SyntaxError) as error:
                raise BenchmarkError(
                    f"{path}, column {subject}, example {number}: not an example of AGIEval: "
                    f"{cell[:120]!r}; use few_shot_prompts.csv as published"
                ) from error
            yield f"{subject}.csv", number, example


def _csv_rows(data: bytes, where: str, *, header: bool) -> Iterator[tuple[int, Row]]:
    lines = csv.reader(io.StringIO(_decode(data, where), newline=""))
    names = next(lines, []) if header else ["question", "A", "B", "C", "D", "answer"]
    # Spreadsheets end a file with rows of nothing but commas.
    filled = (line for line in lines if any(value.strip() for value in line))
    for number, values in enumerate(filled):
        if len(values) != len(names):
            shown = str(values)[:200]
            raise BenchmarkError(
                f"{where}, record {number}: {len(values)} columns, expected {len(names)}: {shown}"
            )
        yield number, dict(zip(names, values, strict=True))


def _decode(data: bytes, where: str) -> str:
    """Decode UTF-8; raise `BenchmarkError` for any other encoding.

    Bytes that are valid UTF-8, but with NUL bytes or the escapes of ISO-2022, are refused as well.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchmarkError(
            f"{where}: not UTF-8 at byte {error.start}; convert it with iconv"
        ) from error
    if sign := _NOT_UTF8.search(data):
        encoding = "UTF-16 or UTF-32 (a NUL byte)" if sign[0] == b"\0" else "ISO-2022 (an escape)"
        raise BenchmarkError(
            f"{where}: looks like {encoding} at byte {sign.start()}, not UTF-8; convert it with "
            "iconv"
        )
    return text
