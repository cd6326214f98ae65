"""Annotates the documents of one source with unit vectors, column `vector`."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.context import Context
from infra.io.files import sha256_file
from infra.stage import Outcome, StageError
from infra.store import Artifact
from tasks.checkpoints.base import folder_of
from tasks.documents.annotate import Annotate, annotate, ledger_of
from tasks.documents.records import records
from tasks.documents.vectors import COLUMN, MADE_WITH, to_column
from tasks.embeddings.folder import EncoderFolder
from tasks.embeddings.stage import STAGE, EmbeddingsParameters

_READ = (".json", ".safetensors", ".model", ".txt")
"""How the names of files end that decide what an encoder computes."""


def run(context: Context) -> Outcome:
    """Annotate the documents of one source."""
    parameters: EmbeddingsParameters = context.parameters
    tokens = context.optional("tokens")
    function, made = _by_tokens(tokens) if tokens is not None else _by_encoder(context, parameters)
    results = annotate(context, function)
    files = [context.attempt.data.local(name) for name in context.input("documents").files("part-")]
    dimensions = {pq.read_schema(file).field(COLUMN).type.list_size for file in files}
    made |= {"dimensions": max(dimensions, default=0), "version": STAGE.version}
    return Outcome(
        {
            "documents": sum(result["rows"] for result in results.values()),
            "without_vector": sum(map(_nulls, files)),
            MADE_WITH: made,
        },
        ledger_of(results),
    )


def _by_encoder(
    context: Context, parameters: EmbeddingsParameters
) -> tuple[Annotate, dict[str, Any]]:
    if not context.pins.get("model"):
        raise StageError(
            "embeddings has neither a model nor token vectors; name a folder or a model of the hub "
            "as embeddings.model, or write embeddings: {model: base}"
        )
    folder = context.folder("model", folder_of)
    used = EncoderFolder.read(folder, parameters)
    how = (used.pooling, used.max_tokens, used.lower, parameters.prefix, parameters.windows)
    fingerprint = hashlib.sha256(repr(how).encode() + _digest(folder).encode()).hexdigest()[:16]
    return functools.partial(embed, used, parameters), {
        "model": parameters.model,
        "fingerprint": fingerprint,
        "pooling": used.pooling,
        "max_tokens": used.max_tokens,
    }


def _by_tokens(tokens: Artifact) -> tuple[Annotate, dict[str, Any]]:
    table, tokenizer = tokens.path("table.npy"), tokens.path("tokenizer.json")
    return functools.partial(embed_by_tokens, table, tokenizer), {
        "model": f"{tokens.statistics['base']} (input embeddings)",
        "fingerprint": tokens.digest[:16],
    }


def embed(used: EncoderFolder, parameters: EmbeddingsParameters, table: pa.Table) -> pa.Table:
    """Column `vector` for a table with `text` and `prompt`, by an encoder."""
    from tasks.embeddings.encoder import encoder  # torch and transformers: in workers alone

    texts = [text or "" for text in records(table).to_pylist()]
    made = encoder(used, parameters.prefix, parameters.windows).vectors(texts)
    return pa.table({COLUMN: to_column(*made)})


def embed_by_tokens(table_file: Path, tokenizer_file: Path, table: pa.Table) -> pa.Table:
    """Column `vector` for a table with `text` and `prompt`, by sums of token vectors."""
    from tasks.documents.bags import bags

    texts = [text or "" for text in records(table).to_pylist()]
    return pa.table({COLUMN: to_column(*bags(table_file, tokenizer_file).vectors(texts))})


def _digest(folder: Path) -> str:
    """Digest of the files that decide what the model computes, wherever they came from."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.name.endswith(_READ) and path.is_file():
            digest.update(f"{path.relative_to(folder)} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


def _nulls(file: Path) -> int:
    column = pq.read_table(file, columns=[COLUMN])[COLUMN]
    return int(column.null_count)
