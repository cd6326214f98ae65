"""Write packed rows as `datasets.save_to_disk` lays them out; schema: `tasks.documents.rows`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.binning.kernels import fill_rows
from tasks.binning.pack import Pieces
from tasks.documents.rows import IGNORE_INDEX, schema

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


@dataclass(frozen=True)
class Documents:
    """N documents of one bin, as places in an array of tokens.

    `ids`: their names (N strings). `tokens`: uint32, of these and of other documents. `starts`,
    `lengths`, `prompts`: int64 of shape (N,); the first `prompts` tokens are not learned.
    """

    ids: pa.Array
    tokens: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    prompts: npt.NDArray[np.int64]


def write_rows(
    path: Path,
    documents: Documents,
    pieces: Pieces,
    *,
    sequence_length: int,
    padding: int,
    loss_on_source: bool,
) -> int:
    """Write one Arrow file; returns the number of positions that have a target.

    Raises:
        ValueError: a piece goes on in another row but does not end its own.
    """
    batch_rows = max(1, BATCH_BYTES // (8 * sequence_length))
    edges = np.searchsorted(pieces.row, np.arange(pieces.rows + 1))
    table_NC = np.stack([documents.starts, documents.lengths, documents.prompts], axis=1)
    loss_tokens = 0
    layout = schema(sequence_length)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, layout) as writer:
        for first in range(0, pieces.rows, batch_rows):
            last = min(first + batch_rows, pieces.rows)
            within = slice(int(edges[first]), int(edges[last]))
            batch_PC = np.stack(
                [
                    pieces.row[within] - first,
                    pieces.start[within],
                    pieces.document[within],
                    pieces.offset[within],
                    pieces.length[within],
                ],
                axis=1,
            )
            shape = (last - first, sequence_length)
            input_ids_RL = np.full(shape, padding, np.uint32)
            labels_RL = np.full(shape, IGNORE_INDEX, np.int32)
            next_label_R = np.full(last - first, IGNORE_INDEX, np.int32)
            found = fill_rows(
                documents.tokens, table_NC, batch_PC, loss_on_source,
                input_ids_RL, labels_RL, next_label_R,
            )  # fmt: skip
            if found < 0:
                raise ValueError(
                    "a piece continues in another row but ends before its own row does "
                    f"(row, start, document, offset, length: {batch_PC[-1 - found].tolist()}); "
                    "this is a defect of packing"
                )
            loss_tokens += found
            columns = [
                _fixed(input_ids_RL),
                _fixed(labels_RL),
                pa.array(next_label_R),
                _spans(documents.ids, batch_PC, edges[first : last + 1] - edges[first], layout),
            ]
            writer.write_batch(pa.record_batch(columns, schema=layout))
    return loss_tokens


def _fixed(values_RL: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values_RL.reshape(-1)), values_RL.shape[1])


def _spans(
    ids: pa.Array, pieces_PC: npt.NDArray[np.int64], edges: npt.NDArray[np.int64], layout: pa.Schema
) -> pa.ListArray:
    """The document boundaries of every row: column `documents`, a list of the pieces in it."""
    _, start, document, offset, length = pieces_PC.T
    columns = [
        ids.take(pa.array(document)),
        pa.array(start, pa.int32()),
        pa.array(length, pa.int32()),
        pa.array(offset, pa.int64()),
    ]
    type_ = layout.field("documents").type
    struct = pa.StructArray.from_arrays(columns, fields=list(type_.value_type))
    return pa.ListArray.from_arrays(pa.array(edges, pa.int32()), struct, type=type_)


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
