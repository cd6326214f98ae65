"""Runs stage quality: annotates every part, then counts failures per rule for the dashboard."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.context import Context
from infra.stage import Outcome
from tasks.documents.annotate import annotate, ledger_of
from tasks.documents.records import records
from tasks.quality.rules import Assessor
from tasks.quality.stage import QualityParameters

FAILED = pa.list_(pa.struct([("rule", pa.string()), ("value", pa.float64())]))
SCHEMA = pa.schema([("failed", FAILED)])


def run(context: Context) -> Outcome:
    """See `tasks.quality.stage`."""
    parameters: QualityParameters = context.parameters
    results = annotate(
        context,
        functools.partial(annotate_table, parameters=parameters),
        annotations={"langid": ("language",)},
    )
    written = [
        context.attempt.data.local(name) for name in context.input("documents").files("part-")
    ]
    return Outcome(statistics(parameters, written), ledger_of(results))


def annotate_table(table: pa.Table, *, parameters: QualityParameters) -> pa.Table:
    """N documents (columns text, prompt and, if known, language) -> N rows of SCHEMA."""
    assessor = Assessor(parameters.rules, parameters.settings)
    has_language = "language" in table.column_names
    languages = (
        table["language"].to_pylist() if has_language else itertools.repeat(None, table.num_rows)
    )
    failed_rules = [
        assessor.failures(text, language)
        for text, language in zip(records(table).to_pylist(), languages, strict=True)
    ]
    # The list column is built flat: row n holds entries offsets[n] to offsets[n + 1].
    offsets = [0, *itertools.accumulate(map(len, failed_rules))]
    flat = list(itertools.chain.from_iterable(failed_rules))
    rules = pa.array([failure.rule for failure in flat], pa.string())
    values = pa.array([failure.value for failure in flat], pa.float64())
    structs = pa.StructArray.from_arrays([rules, values], fields=list(FAILED.value_type))
    return pa.table(
        [pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs)], schema=SCHEMA
    )


def statistics(parameters: QualityParameters, files: Iterable[Path]) -> dict[str, Any]:
    """Rules applied, number of documents, how many pass every rule, how many fail each rule."""
    documents = passing = 0
    failing: Counter[str] = Counter()
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches():
            failed = batch["failed"]
            documents += len(failed)
            passing += pc.sum(pc.equal(pc.list_value_length(failed), 0)).as_py() or 0
            rules = pc.struct_field(pc.list_flatten(failed), "rule")
            failing.update(
                {entry["values"]: entry["counts"] for entry in rules.value_counts().to_pylist()}
            )
    return {
        "rules": list(parameters.rules),
        "documents": documents,
        "passing_all": passing,
        "failing": {rule: failing[rule] for rule in parameters.rules},
    }
