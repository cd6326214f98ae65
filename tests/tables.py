"""Committed artifacts made of plain tables, as inputs for tests of stages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.io.files import sha256_file
from infra.store import Artifact
from infra.store.backends import open_directory
from infra.store.identity import outputs_digest
from infra.store.manifest import Manifest
from tasks.documents.schema import DOCUMENTS

ROW_GROUP_DOCUMENTS = 7
"""Small, so that a few dozen documents already span row groups."""


def artifact(
    folder: Path,
    stage: str,
    name: str,
    files: Mapping[str, pa.Table],
    statistics: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    version: str = "000000000001",
    **options: Any,
) -> Artifact:
    """An artifact below `folder` whose data files are `files` (name -> table, written as Parquet
    with `options`).
    """
    options = {"row_group_size": ROW_GROUP_DOCUMENTS, "compression": "zstd", **options}
    home = folder / stage / name / version
    outputs = []
    for file, table in sorted(files.items()):
        path = home / "a" / "data" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, **options)
        outputs.append({"path": file, "bytes": path.stat().st_size, "sha256": sha256_file(path)})
    manifest = {
        "attempt": "a",
        "outputs": outputs,
        "digest": outputs_digest(outputs),
        "statistics": dict(statistics or {}),
        "inputs": dict(inputs or {}),
        "ledger": None,
    }
    return Artifact(stage, name, version, open_directory(str(home)), Manifest(manifest))


def documents(
    folder: Path, source: str, parts: Sequence[Sequence[str | Mapping[str, Any]]]
) -> Artifact:
    """An ingest artifact: every document is its text, or a mapping of columns; ids count
    upwards.
    """
    files: dict[str, pa.Table] = {}
    number = 0
    for index, part in enumerate(parts):
        rows = []
        for document in part:
            given = {"text": document} if isinstance(document, str) else dict(document)
            defaults = {
                "id": f"{number:032x}",
                "prompt": "",
                "url": f"http://{source}.test/{number}",
                "date": "",
                "source": source,
                "file": f"{source}.jsonl",
                "offset": number * 100,
            }
            rows.append({**defaults, **given})
            number += 1
        files[f"part-{index:05d}.parquet"] = pa.Table.from_pylist(rows, schema=DOCUMENTS)
    return artifact(folder, "ingest", source, files)


def column(given: Artifact, name: str, prefix: str = "") -> list[Any]:
    """One column over all Parquet files of an artifact, in file order."""
    found: list[Any] = []
    for file in given.files(prefix):
        found.extend(pq.read_table(given.path(file), columns=[name])[name].to_pylist())
    return found


def content_digest(given: Artifact) -> str:
    """First 16 hex digits of sha256 over names, schemas and values of all data files; floats at 4
    significant digits.

    Unlike the artifact's own digest it does not change with the version of pyarrow or of a
    compiler.
    """
    digest = hashlib.sha256()
    for file in given.files():
        if file.endswith(".parquet"):
            table = pq.read_table(given.path(file))
            content = (
                f"{table.schema.to_string()}\n{json.dumps(_rounded(table.to_pylist()))}".encode()
            )
        else:
            content = given.path(file).read_bytes()
        digest.update(f"{file}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value
