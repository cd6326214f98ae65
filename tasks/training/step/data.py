"""The packed rows of the categories that a phase reads, as batches of tensors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor

from tasks.documents.rows import IGNORE_INDEX, Rows
from tasks.training.planning.sampler import Row


class PackedRows:
    """The packed rows of all categories of a phase.

    `bins`: category -> folders of its bins, in order. Afterwards the attribute of that name holds
    the rows of each bin. Without `document_mask` a row is one sequence, whose positions are 0 to
    T - 1; targets stay as they are: no document's last token has the next one's first as target.

    Raises:
        ValueError: rows have another length than `sequence_length`.
    """

    def __init__(
        self, bins: Mapping[str, list[str]], sequence_length: int, *, document_mask: bool = True
    ) -> None:
        self._document_mask = document_mask
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
                parts.append(self._masked(len(rows)))
            else:
                arrays = self._rows[category].batch([row.number for row in rows if row])
                names = ("input_ids", "shift_labels", "position_ids")
                tensors = [torch.from_numpy(arrays[name]) for name in names]
                if not self._document_mask:
                    tensors[2] = torch.arange(self._length).repeat(len(rows), 1)
                parts.append(tensors)
        if len(parts) == 1:
            return parts[0][0], parts[0][1], parts[0][2]
        ids_BT, labels_BT, positions_BT = (
            torch.cat(tensors) for tensors in zip(*parts, strict=True)
        )
        return ids_BT, labels_BT, positions_BT

    def _masked(self, rows: int) -> list[Tensor]:
        """Rows without any target."""
        shape = (rows, self._length)
        return [
            torch.zeros(shape, dtype=torch.int64),
            torch.full(shape, IGNORE_INDEX),
            torch.arange(self._length).expand(shape),
        ]

    def documents(self, rows: list[Row], limit: int) -> list[str]:
        """`category:id` of the first `limit` distinct documents in `rows`."""
        names: dict[str, None] = {}  # a dict keeps the order
        for row in rows:
            for span in self._rows[row.category].provenance(row.number):
                names.setdefault(f"{row.category}:{span.id}")
        return list(names)[:limit]
