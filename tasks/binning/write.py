"""Write packed rows as `datasets.save_to_disk` lays them out; schema: `tasks.documents.rows`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.binning.pack import DocumentSlice
from tasks.documents.rows import IGNORE_INDEX, schema
from tasks.documents.tokenize import Tokens

BATCH_BYTES = 8 << 20
"""Tokens and labels of one Arrow record batch."""

DESCRIPTION = """\
Packed rows of tokens, written by Puna's binning. Documents stand one after the other; the tail of \
a row that none fills
holds padding.
input_ids: the tokens.
labels: as transformers means them, not shifted: the token itself where it is learned, else -100 \
(the first position of
every piece of a document, the prompt, padding). `model(input_ids=..., labels=...)` and Trainer \
with its defaults train
each document on its own next tokens; attention then still reaches into the documents before it in \
the row.
next_label: the target of the row's last position where its document goes on in another row, else \
-100. Labels that are
shifted already (`shift_labels`) are `labels[1:]` followed by it.
documents: which tokens of which documents the row holds; position_ids restart at every `start`.
Puna's `tasks.documents.collate.collate` makes input_ids, labels, shift_labels and position_ids \
from these: every target
counts once and documents do not see each other, as in Puna's own training. Trainer takes it as \
`data_collator` with
`remove_unused_columns=False`.
"""
"""Description in `dataset_info.json`: part of the output's bytes, so a change needs a new version.
"""


def write_rows(
    path: Path,
    ids: Sequence[str],
    documents: Sequence[Tokens],
    rows: Sequence[Sequence[DocumentSlice]],
    *,
    sequence_length: int,
    padding: int,
    loss_on_source: bool,
) -> int:
    """Write one Arrow file; returns the number of positions that have a target.

    Pieces in `rows` number their documents by index into `documents` and `ids`.
    """
    batch_rows = max(1, BATCH_BYTES // (8 * sequence_length))
    loss_tokens = 0
    layout = schema(sequence_length)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, layout) as writer:
        for first in range(0, len(rows), batch_rows):
            batch = rows[first : first + batch_rows]
            shape = (len(batch), sequence_length)
            input_ids_RL = np.full(shape, padding, np.uint32)
            labels_RL = np.full(shape, IGNORE_INDEX, np.int32)
            next_label_R = np.full(len(batch), IGNORE_INDEX, np.int32)
            for row, start, piece in _places(batch):
                end = start + piece.length
                tokens = documents[piece.document]
                piece_ids = tokens.ids[piece.offset : piece.offset + piece.length]
                input_ids_RL[row, start:end] = piece_ids
                learned = _first_learned(tokens, piece, loss_on_source)
                labels_RL[row, start + learned : end] = piece_ids[learned:]
                next_label_R[row] = _next_label(
                    tokens, piece, end == sequence_length, loss_on_source
                )
            loss_tokens += int(np.count_nonzero(labels_RL != IGNORE_INDEX))
            loss_tokens += int(np.count_nonzero(next_label_R != IGNORE_INDEX))
            columns = [
                _fixed(input_ids_RL),
                _fixed(labels_RL),
                pa.array(next_label_R),
                _spans(batch, ids, layout.field("documents").type),
            ]
            writer.write_batch(pa.record_batch(columns, schema=layout))
    return loss_tokens


def _first_learned(tokens: Tokens, piece: DocumentSlice, loss_on_source: bool) -> int:
    """Position in a piece of its first target: after the piece's first token and any prompt."""
    prompt = 0 if loss_on_source else tokens.prompt - piece.offset
    return min(max(1, prompt), piece.length)


def _next_label(tokens: Tokens, piece: DocumentSlice, ends_row: bool, loss_on_source: bool) -> int:
    """The target after a piece's last token if it lies in another row; -100 if none or a prompt."""
    following = piece.offset + piece.length
    if following == len(tokens.ids):
        return IGNORE_INDEX
    if not ends_row:
        raise ValueError(
            f"a piece continues in another row but ends before its own row does ({piece}); this is "
            "a defect of packing"
        )
    return (
        int(tokens.ids[following]) if loss_on_source or following >= tokens.prompt else IGNORE_INDEX
    )


def _places(batch: Sequence[Sequence[DocumentSlice]]) -> Iterator[tuple[int, int, DocumentSlice]]:
    """(row, start in the row, piece) of every piece: where documents begin in packed rows."""
    for row, pieces in enumerate(batch):
        start = 0
        for piece in pieces:
            yield row, start, piece
            start += piece.length


def _fixed(values_RL: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values_RL.reshape(-1)), values_RL.shape[1])


def _spans(
    batch: Sequence[Sequence[DocumentSlice]], ids: Sequence[str], layout: pa.DataType
) -> pa.ListArray:
    """The document boundaries of every row: column `documents`, a list of the pieces in it."""
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


def write_layout(
    folder: Path, files: Sequence[str], sequence_length: int, fingerprint: str
) -> None:
    """Write `dataset_info.json` and `state.json`: a folder of `files` becomes a saved `Dataset`."""
    fixed = [
        (
            name,
            {
                "feature": {"dtype": dtype, "_type": "Value"},
                "length": sequence_length,
                "_type": "List",
            },
        )
        for name, dtype in (("input_ids", "uint32"), ("labels", "int32"))
    ]
    span = {"id": "string", "start": "int32", "length": "int32", "offset": "int64"}
    feature = {name: {"dtype": dtype, "_type": "Value"} for name, dtype in span.items()}
    features = {
        **dict(fixed),
        "next_label": {"dtype": "int32", "_type": "Value"},
        "documents": {"feature": feature, "_type": "List"},
    }
    info = {
        "citation": "",
        "description": DESCRIPTION,
        "features": features,
        "homepage": "",
        "license": "",
    }
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
