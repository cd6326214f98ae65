"""Generated corpora as artifacts: documents, cut and perplexity of given texts."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.context import Context
from infra.stage import Outcome, Parameters, Stage
from infra.store import Artifact, Shard
from tasks.documents.schema import DOCUMENTS
from tasks.signatures.stage import STAGE as SIGNATURES
from tasks.signatures.stage import SignaturesParameters
from tests.stage_harness import run_stage


class TableParameters(Parameters):
    """Rows per file name, as JSON (versions cannot contain NaN), with one of SCHEMAS."""

    schema_name: str
    files: str


SCHEMAS = {
    "documents": DOCUMENTS,
    "cut": pa.schema(
        [("reason", pa.string()), ("language", pa.string()), ("category", pa.string())]
    ),
    "perplexity": pa.schema([("perplexity", pa.float64())]),
}


def write_tables(context: Context) -> Outcome:
    """Write the given rows as Parquet files."""
    context.map(_write, {"tables": context.parameters}, here=True)
    return Outcome()


def _write(parameters: TableParameters, shard: Shard) -> dict[str, Any]:
    for name, rows in json.loads(parameters.files).items():
        with shard.create(name) as path:
            table = pa.Table.from_pylist(rows, SCHEMAS[parameters.schema_name])
            pq.write_table(table, path, row_group_size=100)
    return {}


def tables(
    role: str, name: str, files: Mapping[str, Sequence[Mapping[str, Any]]], tmp_path: Path
) -> Artifact:
    """An artifact that holds `files`, for the role of that name."""
    maker = "ingest" if role == "documents" else role
    stage = Stage(maker, 1, TableParameters, "tests.tasks.dedup.corpus:write_tables", "test tables")
    rows = json.dumps({file: [dict(row) for row in given] for file, given in files.items()})
    return run_stage(
        stage, TableParameters(schema_name=role, files=rows), name=name, tmp_path=tmp_path
    )


def document(text: str, source: str = "web", id: str | None = None) -> dict[str, Any]:
    """One document row; the id is derived from the text unless given."""
    digest = hashlib.blake2b(f"{source} {text}".encode(), digest_size=16).hexdigest()
    base = {"prompt": "", "url": "", "date": "", "file": "corpus.jsonl", "offset": 0}
    return base | {"id": id or digest, "text": text, "source": source}


def dedup_inputs(
    sources: Mapping[str, Sequence[Mapping[str, Any]]],
    tmp_path: Path,
    *,
    part_rows: int = 1_000,
    signatures: SignaturesParameters | None = None,
) -> dict[str, Artifact | Sequence[Artifact]]:
    """All inputs of dedup. Rows are documents with optional extra keys `reason`, `language`,
    `perplexity`.
    """
    cut: dict[str, list[dict[str, Any]]] = {}
    documents, signed, perplexity = [], [], []
    for source, rows in sources.items():
        parts = {
            f"part-{number:05d}.parquet": rows[start : start + part_rows]
            for number, start in enumerate(range(0, max(len(rows), 1), part_rows))
        }
        columns = {
            role: {
                name: [{key: row.get(key) for key in SCHEMAS[role].names} for row in part]
                for name, part in parts.items()
            }
            for role in SCHEMAS
        }
        documents.append(tables("documents", source, columns["documents"], tmp_path))
        cut |= {f"{source}/{name}": part for name, part in columns["cut"].items()}
        if any("perplexity" in row for row in rows):
            perplexity.append(tables("perplexity", source, columns["perplexity"], tmp_path))
        parameters = signatures or SignaturesParameters()
        signed.append(
            run_stage(
                SIGNATURES, parameters, {"documents": documents[-1]}, source, tmp_path=tmp_path
            )
        )
    return {
        "cut": tables("cut", "main", cut, tmp_path),
        "documents": documents,
        "signatures": signed,
        "perplexity": perplexity,
    }


def outcomes(dedup: Artifact, inputs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Document id -> its row of the dedup artifact."""
    fates = {}
    for artifact in inputs["documents"]:
        for name in artifact.files("part-"):
            ids = pq.read_table(artifact.path(name), columns=["id"])["id"].to_pylist()
            rows = pq.read_table(dedup.path(f"{artifact.name}/{name}")).to_pylist()
            fates.update(zip(ids, rows, strict=True))
    return fates


def prose(rng: random.Random, words: int) -> list[str]:
    """Random words with hardly a repeated shingle: the sets of different draws are disjoint."""
    return ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(3, 9))) for _ in range(words)]


def edited(rng: random.Random, words: Sequence[str], edits: int) -> list[str]:
    """`words` with `edits` of them replaced."""
    result = list(words)
    for position in rng.sample(range(len(words)), edits):
        result[position] = "x" + "".join(rng.choices("qrstuvwxyz", k=8))
    return result


def jaccard(one: Iterable[int], other: Iterable[int]) -> float:
    """Jaccard similarity, by its definition, of two sets that are not both empty."""
    one, other = set(one), set(other)
    return len(one & other) / len(one | other)
