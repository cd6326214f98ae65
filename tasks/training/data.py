"""The packed rows of all categories that a phase reads, as batches of tensors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor

from tasks.documents.rows import IGNORE_INDEX, Rows
from tasks.training.sampler import Row


class Data:
    """The packed rows of all categories."""

    def __init__(self, bins: Mapping[str, list[str]], sequence_length: int) -> None:
        self._rows = {category: Rows(folders) for category, folders in sorted(bins.items())}
        self.bins = {category: list(rows.lengths) for category, rows in self._rows.items()}
        self._length = sequence_length
        for category, rows in self._rows.items():
            if rows.sequence_length != sequence_length:
                raise ValueError(
                    f"bins of {category!r} have rows of {rows.sequence_length} tokens, but "
                    f"training asks for {sequence_length}; make them equal"
                )

    def batch(self, wanted: list[Row | None]) -> tuple[Tensor, Tensor, Tensor]:
        """input_ids, targets and position_ids (B, T), int64; None gives a fully masked row."""
        parts: list[list[Tensor]] = []
        for category, group in itertools.groupby(
            wanted, key=lambda row: row.category if row else None
        ):
            rows = list(group)
            if category is None:
                shape = (len(rows), self._length)
                positions = torch.arange(self._length).expand(shape)
                parts.append(
                    [
                        torch.zeros(shape, dtype=torch.int64),
                        torch.full(shape, IGNORE_INDEX),
                        positions,
                    ]
                )
            else:
                read = self._rows[category].batch([row.number for row in rows if row])
                parts.append(
                    [
                        torch.from_numpy(read[name])
                        for name in ("input_ids", "shift_labels", "position_ids")
                    ]
                )
        if len(parts) == 1:
            return parts[0][0], parts[0][1], parts[0][2]
        ids_BT, labels_BT, positions_BT = (
            torch.cat(tensors) for tensors in zip(*parts, strict=True)
        )
        return ids_BT, labels_BT, positions_BT

    def documents(self, rows: list[Row], limit: int) -> list[str]:
        """`category:id` of the first `limit` distinct documents in `rows`."""
        found: dict[str, None] = {}
        for row in rows:
            for span in self._rows[row.category].provenance(row.number):
                found.setdefault(f"{row.category}:{span.id}")
        return list(found)[:limit]
