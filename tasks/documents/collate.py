"""Packed rows of `datasets.load_from_disk` as batches for a causal model of transformers.

The loss is exactly that of our own training: every target counts once, including the one after a
cut, which is in no row's `labels`; and documents do not see each other. Use `collate` with a
DataLoader, or with Trainer:

    Trainer(
        model,
        TrainingArguments(..., remove_unused_columns=False),
        train_dataset=rows,
        data_collator=collate,
    )
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from tasks.documents.rows import IGNORE_INDEX, positions


def collate(rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """B rows (or a slice of the data set) as int64 tensors (B, L), ready for `model(**batch)`.

    `shift_labels` are the targets, which transformers uses as they are; `labels` is needed because
    models compute no loss without it. `position_ids` restart at every document: with `use_cache`
    off and no attention mask, transformers 5 derives the document mask from them. Rows of version 1
    of binning, whose `labels` are already shifted, give the same result.

    Raises:
        ValueError: a row lacks a column (Trainer drops columns it does not know, unless told
            otherwise).
    """
    if isinstance(rows, Mapping):
        rows = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
    for name in ("input_ids", "labels", "documents"):
        if name not in rows[0]:
            raise ValueError(
                f"a row has {', '.join(rows[0])} but no {name}; keep all columns (for Trainer: "
                "TrainingArguments(remove_unused_columns=False))"
            )
    input_ids_BL = np.array([row["input_ids"] for row in rows], np.int64)
    labels_BL = np.array([row["labels"] for row in rows], np.int64)
    starts_of = [_starts(row["documents"]) for row in rows]
    if "next_label" in rows[0]:
        next_label_B = np.array([row["next_label"] for row in rows], np.int64)
        shift_labels_BL = np.concatenate([labels_BL[:, 1:], next_label_B[:, None]], axis=1)
    else:
        shift_labels_BL = labels_BL
        labels_BL = np.concatenate(
            [np.full((len(rows), 1), IGNORE_INDEX), labels_BL[:, :-1]], axis=1
        )
    position_ids_BL = np.stack([positions(*starts, input_ids_BL.shape[1]) for starts in starts_of])
    return {
        "input_ids": torch.from_numpy(input_ids_BL),
        "labels": torch.from_numpy(labels_BL),
        "shift_labels": torch.from_numpy(shift_labels_BL),
        "position_ids": torch.from_numpy(position_ids_BL),
        "use_cache": False,
    }


def _starts(documents: Any) -> tuple[np.ndarray[Any, np.dtype[np.int64]], int]:
    """Where the pieces of a row begin, and where the last one ends.

    `documents` is a list of rows, or a mapping of columns.
    """
    if isinstance(documents, Mapping):
        starts, lengths = list(documents["start"]), list(documents["length"])
    else:
        starts, lengths = (
            [piece["start"] for piece in documents],
            [piece["length"] for piece in documents],
        )
    return np.array(starts, np.int64), int(starts[-1] + lengths[-1]) if starts else 0
