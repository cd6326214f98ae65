"""Artifacts with given statistics and files, for tests of the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.context import Context
from infra.stage import Outcome, Parameters, Stage
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


def make(context: Context) -> Outcome:
    """Write the statistics and files that the parameters give."""
    context.map(_write, {"files": json.loads(context.parameters.files)})
    return Outcome(json.loads(context.parameters.statistics), json.loads(context.parameters.ledger))


def _write(files: dict[str, Any], shard: Shard) -> dict[str, Any]:
    for name, content in files.items():
        with shard.create(name) as path:
            if name.endswith(".parquet"):
                pq.write_table(pa.Table.from_pylist(content, schema=CLUSTERS), path)
            else:
                path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return {}


def made(
    stage: str,
    statistics: dict[str, Any],
    files: dict[str, Any],
    tmp_path: Path,
    ledger: dict[str, Any] | None = None,
) -> Artifact:
    """An artifact of a stage called `stage`."""
    parameters = MadeParameters(
        statistics=json.dumps(statistics), files=json.dumps(files), ledger=json.dumps(ledger)
    )
    return run_stage(
        Stage(stage, 1, MadeParameters, "tests.tasks.report.made:make", "as given"),
        parameters,
        tmp_path=tmp_path,
    )
