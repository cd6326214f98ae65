"""Counts the tokens of a sample, then writes the table of weighted token vectors."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tokenizers import Tokenizer

from infra.context import Context
from infra.stage import Outcome, StageError
from infra.store import Shard
from infra.store.exchange import Exchange
from tasks.checkpoints.base import folder_of, naming, open_base, read_base_tokenizer
from tasks.checkpoints.tokenizer_files import size_of
from tasks.checkpoints.weights import StoredTensor, read_tensors
from tasks.documents.annotate import AlignedPart, parts, through_edits
from tasks.documents.bags import Bags, add_tokens
from tasks.documents.edits import COLUMN as EDITS_COLUMN
from tasks.documents.footers import rows_of
from tasks.documents.ordering import drawn
from tasks.documents.records import records
from tasks.token_vectors.stage import TokenVectorsParameters
from tasks.token_vectors.table import first_direction, projected_rows, token_weights, without

_INPUT = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
"""How the names of input embeddings end, by family of models."""

_USE = b"puna-tokens"


@dataclass(frozen=True)
class Counted:
    """Tokenize the documents of a part that are in the sample, and keep their ids as `file`."""

    part: AlignedPart
    fraction: float
    tokenizer: Path
    files: Exchange
    file: str


def run(context: Context) -> Outcome:
    """See `tasks.token_vectors.stage`."""
    parameters: TokenVectorsParameters = context.parameters
    if (artifact := context.optional("base")) is not None:
        given, name = artifact.folder("checkpoint"), artifact.identity
    else:
        given, name = context.folder("model", folder_of), str(parameters.model)
    folder = open_base(given, context.scratch())
    with naming(given, folder):
        tokenizer = read_base_tokenizer(folder).tokenizer
        embeddings = _input_embeddings(folder)
    rows = size_of(tokenizer)
    if rows > embeddings.shape[0]:
        raise StageError(
            f"the tokenizer in {given} has {rows:,} tokens, but the input embeddings "
            f"{embeddings.shape[0]:,} rows; give a base whose tokenizer belongs to it"
        )
    files = context.exchange
    with files.create("tokenizer.json") as path:
        tokenizer.save(str(path))
    tokenizer_file = files.path("tokenizer.json")
    found = _parts(context)
    total = sum(rows_of([part.files[0][0] for part in found]))
    fraction = min(1.0, parameters.sample / max(total, 1))
    work = {
        f"count.{part.source}.{Path(part.name).stem}": Counted(
            part, fraction, tokenizer_file, files, f"{part.source}.{Path(part.name).stem}.npz"
        )
        for part in found
    }
    counted = context.map(count_tokens, work)
    samples = [files.path(item.file) for item in work.values()]
    write = functools.partial(write_table, parameters, embeddings, tokenizer_file, samples)
    written = context.map(write, {"table": None}, here=True)["table"]
    documents = sum(int(result["documents"]) for result in counted.values())
    tokens = sum(int(result["tokens"]) for result in counted.values())
    return Outcome({"base": name, "sample": {"documents": documents, "tokens": tokens}, **written})


def _parts(context: Context) -> list[AlignedPart]:
    edited = {artifact.name: artifact for artifact in context.many("line_dedup")}
    return [
        part
        for documents in sorted(context.many("documents"), key=lambda artifact: artifact.name)
        for part in parts(
            documents,
            ("id", "text", "prompt"),
            {"line_dedup": (edited[documents.name], (EDITS_COLUMN,))}
            if documents.name in edited
            else {},
        )
    ]


def count_tokens(work: Counted, shard: Shard) -> dict[str, Any]:
    """Write the sample's ids and where documents begin; returns how many of both."""
    tokenizer = Bags(np.empty((0, 0), np.float32), Tokenizer.from_file(str(work.tokenizer)))
    ids: list[npt.NDArray[np.int64]] = []
    for texts in _sampled(work):
        ids += tokenizer.tokens(texts)
    starts = np.cumsum([0, *map(len, ids)])
    with work.files.create(work.file) as path, path.open("wb") as stream:
        np.savez(stream, ids=np.concatenate([np.empty(0, np.int64), *ids]), starts=starts)
    return {"documents": len(ids), "tokens": int(starts[-1])}


def _sampled(work: Counted) -> Iterator[list[str]]:
    for table in work.part.tables():
        chosen = [drawn(id_, _USE, work.fraction) for id_ in table["id"].to_pylist()]
        if any(chosen):
            edited, _ = through_edits(table.filter(pa.array(chosen)))
            yield [text or "" for text in records(edited).to_pylist()]


def write_table(
    parameters: TokenVectorsParameters,
    embeddings: StoredTensor,
    tokenizer: Path,
    samples: list[Path],
    _: None,
    shard: Shard,
) -> dict[str, Any]:
    """Write the table and the tokenizer; returns what was counted."""
    counts = np.zeros(embeddings.shape[0], np.int64)
    for file in samples:
        with np.load(file, allow_pickle=False) as sample:
            counts += np.bincount(sample["ids"], minlength=len(counts))
    if not counts.any():
        raise StageError(
            "no source has a document with text, by which tokens could be weighted; add documents, "
            "or name an encoder as embeddings.model"
        )
    table = projected_rows(embeddings, parameters.dimensions)
    table *= token_weights(counts, parameters.smoothing)[:, None]
    special = [
        id_
        for id_, token in Tokenizer.from_file(str(tokenizer)).get_added_tokens_decoder().items()
        if token.special
    ]
    table[special] = 0
    direction = first_direction(_sums(table, samples), table.shape[1])
    table = without(table, direction)
    with shard.create("table.npy") as path, path.open("wb") as stream:
        np.save(stream, table)
    with shard.create("tokenizer.json") as path:
        path.write_bytes(tokenizer.read_bytes())
    return {"tokens_seen": int((counts > 0).sum()), "dimensions": table.shape[1]}


def _sums(table: npt.NDArray[np.float32], samples: list[Path]) -> Iterator[npt.NDArray[np.float64]]:
    """The mean token vector of every document of the sample, file by file, shape (N, D)."""
    for file in samples:
        with np.load(file, allow_pickle=False) as sample:
            ids, starts = sample["ids"], sample["starts"]
        sums = np.zeros((len(starts) - 1, table.shape[1]), np.float64)
        add_tokens(table, ids, starts, sums)
        yield sums / np.maximum(np.diff(starts), 1)[:, None]


def _input_embeddings(folder: Path) -> StoredTensor:
    tensors = read_tensors(folder)
    found = [tensor for name, tensor in tensors.items() if name.endswith(_INPUT)]
    if len(found) != 1 or len(found[0].shape) != 2:
        raise StageError(
            f"{folder} has {len(found)} matrices of input embeddings (named "
            f"{', '.join(f'*{name}' for name in _INPUT)}); one is needed. Name an encoder as "
            "embeddings.model instead"
        )
    return found[0]
