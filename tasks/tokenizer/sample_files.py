"""Samples to compare tokenizers on: JSONL, Parquet or plain text."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from infra.stage import StageError

FIELDS = ("text", "target")
"""Fields that hold the sample's text; the first that a JSONL line or Parquet file has is taken."""
PROMPT = "source"
"""Put in front of `target`, as training tokenizes the two as one string."""
_HALF = re.compile(r"[\ud800-\udfff]")


def read_texts(paths: Sequence[Path]) -> list[str]:
    """The samples of files, in order.

    One sample per line of JSONL, row of Parquet (`text`, else `source` and `target` joined) or line
    of plain text; blank lines are left out, and `.gz` files are decompressed.

    Raises:
        StageError: a file is missing, damaged or without text.
    """
    if missing := [path for path in paths if not path.is_file()]:
        raise StageError(
            f"no such file: {', '.join(map(str, missing))}; give JSONL or Parquet with a field "
            "`text` or `target`, or plain text"
        )
    texts = [text for path in paths for text in _samples(path) if text.strip()]
    if not texts:
        raise StageError(
            f"no text in {', '.join(map(str, paths)) or 'no files'}; give at least one file with "
            "text"
        )
    return texts


def _samples(path: Path) -> Iterator[str]:
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        return _parquet_samples(path)
    return (
        _jsonl_samples(path) if kind in ("jsonl", "ndjson") else (line for _, line in _lines(path))
    )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines, cut at line feeds only."""
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8", newline="\n") as lines:
        try:
            for number, line in enumerate(lines, 1):
                yield number, line.removesuffix("\n").removesuffix("\r")
        except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
            raise StageError(
                f"{path} is not UTF-8 text, or is cut short: {error}; convert or download it again"
            ) from error


def _jsonl_samples(path: Path) -> Iterator[str]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise StageError(
                f"{path}, line {number}: not JSON ({error}); if it is plain text, name it .txt"
            ) from error
        field = next(
            (name for name in FIELDS if isinstance(row, dict) and isinstance(row.get(name), str)),
            None,
        )
        if field is None:
            has = list(row)[:8] if isinstance(row, dict) else type(row).__name__
            raise StageError(
                f"{path}, line {number}: no string field `text` or `target`; it has {has}"
            )
        prompt = row.get(PROMPT) if field == "target" else None
        text = (prompt if isinstance(prompt, str) else "") + row[field]
        if _HALF.search(text):
            raise StageError(
                f"{path}, line {number}: half of a surrogate pair (such as \\ud800), which is not "
                "text; remove it"
            )
        yield text


def _parquet_samples(path: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise StageError(f"{path} is not a Parquet file: {error}") from error
    field = next((name for name in FIELDS if name in file.schema_arrow.names), None)
    if field is None:
        raise StageError(
            f"{path}: no column `text` or `target`; it has {file.schema_arrow.names[:8]}"
        )
    if not _holds_strings(kind := file.schema_arrow.field(field).type):
        raise StageError(
            f"{path}: column `{field}` holds {kind}, not strings; give the column that holds the "
            "text this name"
        )
    prompted = field == "target" and PROMPT in file.schema_arrow.names
    prompted = prompted and _holds_strings(file.schema_arrow.field(PROMPT).type)
    for batch in file.iter_batches(columns=[field, PROMPT] if prompted else [field]):
        prompts = batch[PROMPT].to_pylist() if prompted else [""] * batch.num_rows
        for prompt, text in zip(prompts, batch[field].to_pylist(), strict=True):
            if text is not None:
                yield (prompt or "") + text


def _holds_strings(kind: Any) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )
