"""Artifacts with given statistics and files, for tests of the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.context import Context
from infra.stage import EVERY_STAGE, Outcome, Parameters, Role, Stage
from infra.store import Artifact
from infra.store.attempt import Shard
from tests.stage_harness import run_stage

MEMBER = pa.struct(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("kind", pa.string()),
        ("similarity", pa.float32()),
    ]
)
CLUSTERS = pa.schema(
    [
        *((name, pa.string()) for name in ("representative", "source", "crawl")),
        *((name, pa.int64()) for name in ("size", "exact", "near")),
        ("members", pa.list_(MEMBER)),
    ]
)
"""As dedup writes them."""


class MadeParameters(Parameters):
    """JSON texts: statistics; file name -> content (a list of rows for Parquet)."""

    statistics: str
    files: str = "{}"
    ledger: str = "null"
    records: str = "{}"


def make(context: Context) -> Outcome:
    """Write the statistics and files that the parameters give."""
    context.map(_write, {"files": json.loads(context.parameters.files)})
    for name, rows in json.loads(context.parameters.records).items():
        with context.record(name) as path:
            path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return Outcome(json.loads(context.parameters.statistics), json.loads(context.parameters.ledger))


def _write(files: dict[str, Any], shard: Shard) -> dict[str, Any]:
    for name, content in files.items():
        with shard.create(name) as path:
            if name.endswith(".parquet"):
                pq.write_table(pa.Table.from_pylist(content, schema=CLUSTERS), path)
            else:
                rows = content if name.endswith(".jsonl") else [content]
                lines = (json.dumps(row, ensure_ascii=False) for row in rows)
                path.write_text("\n".join(lines), encoding="utf-8")
    return {}


def made(
    stage: str,
    statistics: dict[str, Any],
    files: dict[str, Any],
    tmp_path: Path,
    ledger: dict[str, Any] | None = None,
    *,
    name: str = "main",
    records: dict[str, Any] | None = None,
    parameters: dict[str, Any] | None = None,
    inputs: Mapping[str, Sequence[Artifact]] | None = None,
) -> Artifact:
    """An artifact of a stage called `stage`; `parameters`: what its manifest is to hold."""
    given = MadeParameters(
        statistics=json.dumps(statistics),
        files=json.dumps(files),
        ledger=json.dumps(ledger),
        records=json.dumps(records or {}),
    )
    roles = (Role(EVERY_STAGE, many=True, optional=True),)
    one = Stage(stage, 1, MadeParameters, "tests.tasks.report.made:make", "as given", inputs=roles)
    artifact = run_stage(one, given, inputs, name, tmp_path=tmp_path)
    artifact.manifest.data["parameters"] |= parameters or {}
    return artifact
