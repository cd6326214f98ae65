"""Runs stage labels: sample, ask, read scores, report how far the model agrees with itself."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.context import Context
from infra.stage import Outcome, StageError
from infra.store import Shard
from tasks.documents.sampling import (
    SampleWork,
    Wanted,
    edited_and_identified,
    limits,
    read_sample,
    sample_parts,
    smallest,
    write_sample,
)
from tasks.documents.schema import COMPRESSION
from tasks.labels.ask import SHOWN, Account, Question, ask_all, questions
from tasks.labels.rubric import agreement
from tasks.labels.stage import LabelsParameters

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("language", pa.string()),
        ("score", pa.float64()),
        ("repeated", pa.float64()),
        ("answer", pa.string()),
        ("asked", pa.int32()),
    ]
)

EXAMPLES = 5
"""Malformed answers in the statistics."""


def run(context: Context) -> Outcome:
    """See `tasks.labels.stage`."""
    parameters: LabelsParameters = context.parameters
    documents = _sample(context)
    asked = questions(parameters, model_name(context), documents)
    account = ask_all(context, asked)
    rows = rows_of(documents, asked)
    statistics = statistics_of(parameters, rows, account, asked)
    _refuse_malformed(context.name, parameters, rows, statistics["malformed"]["examples"])

    def write(table: pa.Table, shard: Shard) -> dict[str, Any]:
        with shard.create("labels.parquet") as path:
            pq.write_table(table, path, compression=COMPRESSION)
        return {}

    context.map(write, {"labels": pa.Table.from_pylist(rows, schema=SCHEMA)}, here=True)
    return Outcome(statistics)


def model_name(context: Context) -> str:
    """What tells the model from others: its name at an endpoint, or a digest of its files."""
    parameters: LabelsParameters = context.parameters
    if parameters.endpoint is not None:
        return parameters.endpoint.model
    files = sorted((pin.name, pin.identity) for pin in context.pins.get("model", ()))
    return f"sha256:{hashlib.sha256(repr(files).encode()).hexdigest()}"


def _sample(context: Context) -> list[dict[str, Any]]:
    parameters: LabelsParameters = context.parameters
    columns = edited_and_identified(context.many("langid"), context.many("line_dedup"))
    wanted = Wanted(parameters.sample, parameters.seed, parameters.languages)
    work = {
        f"smallest.{key}": SampleWork(part, wanted, parameters.max_characters)
        for key, part in sample_parts(context.many("documents"), columns).items()
    }
    largest = limits(context.map(smallest, work), work)
    chosen = {
        key.replace("smallest", "sample", 1): replace(one, limit=largest[one.part.source])
        for key, one in work.items()
        if one.part.source in largest
    }
    written = context.map(write_sample, chosen)
    names = [result["file"] for result in written.values() if result["file"]]
    found: list[dict[str, Any]] = read_sample(map(context.attempt.data.local, names)).to_pylist()
    return found


def rows_of(documents: Sequence[dict[str, Any]], asked: Sequence[Question]) -> list[dict[str, Any]]:
    """A row of `SCHEMA` for each document, from its questions."""
    rows = [{name: document[name] for name in SCHEMA.names[:3]} for document in documents]
    for row in rows:
        row |= {"score": None, "repeated": None, "answer": "", "asked": 0}
    for question in asked:
        row = rows[question.row]
        row["asked"] += question.asked
        if question.request.number:
            row["repeated"] = question.score
        else:
            row["score"], row["answer"] = question.score, question.answer
    return rows


def statistics_of(
    parameters: LabelsParameters,
    rows: Sequence[dict[str, Any]],
    account: Account,
    asked: Sequence[Question],
) -> dict[str, Any]:
    """For the manifest; see `tasks.labels.stage`."""
    by_source: dict[str, Counter[str]] = {}
    for row in rows:
        if row["score"] is not None:
            by_source.setdefault(row["source"], Counter())[f"{row['score']:g}"] += 1
    pairs = [
        (row["score"], row["repeated"])
        for row in rows
        if row["score"] is not None and row["repeated"] is not None
    ]
    failed = [question for question in asked if question.score is None]
    price = parameters.endpoint.price if parameters.endpoint else None
    tokens = {"input": account.input_tokens, "output": account.output_tokens}
    return {
        "documents": len(rows),
        "scored": sum(row["score"] is not None for row in rows),
        "requests": {
            "asked": account.asked,
            "cached": account.cached,
            "again": account.again,
            "refused": len(account.problems),
        },
        "malformed": {
            "answers": account.malformed,
            "documents": sum(row["score"] is None for row in rows),
            "examples": [question.answer[:SHOWN] for question in failed[:EXAMPLES]],
        },
        "scores": {
            source: dict(sorted(counts.items(), key=lambda entry: float(entry[0])))
            for source, counts in sorted(by_source.items())
        },
        "agreement": agreement(pairs, parameters.score),
        "tokens": tokens,
        "dollars": None
        if price is None
        else (tokens["input"] * price.input + tokens["output"] * price.output) / 1e6,
        "answers_per_s": account.asked / account.wall_s if account.asked else None,
    }


def _refuse_malformed(
    name: str, parameters: LabelsParameters, rows: Sequence[dict[str, Any]], examples: list[str]
) -> None:
    missing = sum(row["score"] is None for row in rows)
    if missing > parameters.most_malformed * len(rows):
        shown = f": {examples[0]!r}" if examples else ""
        raise StageError(
            f"labels/{name}: {missing:,} of {len(rows):,} documents have no score from "
            f"{parameters.score.low:g} to {parameters.score.high:g}, more than most_malformed "
            f"({parameters.most_malformed:g}); the first such answer is{shown}. Change "
            "score.pattern or the prompt (answers that are there are not asked for again), or "
            "raise max_tokens"
        )
