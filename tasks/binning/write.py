"""Packed rows as Arrow streams in the layout of `datasets.save_to_disk`; see `tasks.documents.rows` for the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.binning.pack import Piece
from tasks.documents.rows import IGNORE_INDEX, schema
from tasks.documents.tokenize import Tokens

BATCH_BYTES = 8 << 20
"""Tokens and labels of one Arrow record batch."""


def write_rows(
    path: Path,
    ids: Sequence[str],
    documents: Sequence[Tokens],
    rows: Sequence[Sequence[Piece]],
    *,
    sequence_length: int,
    padding: int,
    loss_on_source: bool,
) -> int:
    """Write one Arrow file of `rows` (of indices into `documents` and `ids`); returns the positions with a loss."""
    batch_rows = max(1, BATCH_BYTES // (8 * sequence_length))
    loss_tokens = 0
    layout = schema(sequence_length)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, layout) as writer:
        for first in range(0, len(rows), batch_rows):
            batch = rows[first : first + batch_rows]
            shape = (len(batch), sequence_length)
            input_ids_RL = np.full(shape, padding, np.uint32)
            labels_RL = np.full(shape, IGNORE_INDEX, np.int32)
            for row, start, piece in _places(batch):
                span = slice(start, start + piece.length)
                tokens = documents[piece.document]
                input_ids_RL[row, span] = tokens.ids[piece.offset : piece.offset + piece.length]
                labels_RL[row, span] = labels(tokens, piece, loss_on_source)
            loss_tokens += int(np.count_nonzero(labels_RL != IGNORE_INDEX))
            columns = [_fixed(input_ids_RL), _fixed(labels_RL), _spans(batch, ids, layout.field("documents").type)]
            writer.write_batch(pa.record_batch(columns, schema=layout))
    return loss_tokens


def labels(tokens: Tokens, piece: Piece, loss_on_source: bool) -> npt.NDArray[np.int32]:
    """Targets of a piece's positions: the token after each, also over a cut; none in the prompt and at the end."""
    found = np.full(piece.length, IGNORE_INDEX, np.int32)
    targets = tokens.ids[piece.offset + 1 : piece.offset + piece.length + 1]
    found[: len(targets)] = targets
    if not loss_on_source:
        found[: max(tokens.prompt - 1 - piece.offset, 0)] = IGNORE_INDEX
    return found


def _places(batch: Sequence[Sequence[Piece]]) -> Iterator[tuple[int, int, Piece]]:
    """(row, start in the row, piece) of every piece."""
    for row, pieces in enumerate(batch):
        start = 0
        for piece in pieces:
            yield row, start, piece
            start += piece.length


def _fixed(values_RL: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values_RL.reshape(-1)), values_RL.shape[1])


def _spans(batch: Sequence[Sequence[Piece]], ids: Sequence[str], layout: pa.DataType) -> pa.ListArray:
    placed = list(_places(batch))
    columns = [
        pa.array([ids[piece.document] for _, _, piece in placed], pa.string()),
        pa.array([start for _, start, _ in placed], pa.int32()),
        pa.array([piece.length for _, _, piece in placed], pa.int32()),
        pa.array([piece.offset for _, _, piece in placed], pa.int64()),
    ]
    edges = np.cumsum([0, *(len(pieces) for pieces in batch)], dtype=np.int32)
    struct = pa.StructArray.from_arrays(columns, fields=list(layout.value_type))
    return pa.ListArray.from_arrays(pa.array(edges), struct, type=layout)


def write_layout(folder: Path, files: Sequence[str], sequence_length: int, fingerprint: str) -> None:
    """Write the `dataset_info.json` and `state.json` that make a folder of `files` a saved `datasets.Dataset`."""
    fixed = [
        (name, {"feature": {"dtype": dtype, "_type": "Value"}, "length": sequence_length, "_type": "List"})
        for name, dtype in (("input_ids", "uint32"), ("labels", "int32"))
    ]
    span = {"id": "string", "start": "int32", "length": "int32", "offset": "int64"}
    feature = {name: {"dtype": dtype, "_type": "Value"} for name, dtype in span.items()}
    features = {**dict(fixed), "documents": {"feature": feature, "_type": "List"}}
    info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in files],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    for name, content in (("dataset_info.json", info), ("state.json", state)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
