"""Packed rows of fixed length: what binning writes and training reads, by memory map.

A bin is a folder in the layout of `datasets.save_to_disk`: `data-00000-of-0000N.arrow` (Arrow IPC
streams, read in name order), `dataset_info.json`, `state.json`; `datasets.load_from_disk` opens it
too. Schema of a row, with L the sequence length (`schema(L)`):

    input_ids   fixed_size_list<uint32>[L]
                tokens; the padding id in the tail of a row that no document fills
    labels      fixed_size_list<int32>[L]
                what transformers means by labels, NOT SHIFTED: labels[i] is input_ids[i] where that
                token is learned, else -100: at every piece's first position (a model that shifts
                labels must not learn it from the document before), in `source`, and in padding
    next_label  int32
                the target of the row's last position, which no label of the row can hold: the next
                token of a document that a cut continues in another row, else -100
    documents   list<struct<id: string, start: int32, length: int32, offset: int64>>
                the pieces of documents in the row, in order of `start`, without gaps from position
                0 on: input_ids[start : start + length] are the tokens [offset, offset + length) of
                document `id` (its ids with begin and end tokens). Positions from the last piece's
                end to L are padding.

Derived, not stored: position ids, which restart at 0 at every `start` and at the first padding
position; and the exact targets (`shift_labels`, transformers' name for labels that are already
shifted): shift_labels[i] = labels[i + 1], and the last is `next_label`. `Rows.batch` and
`tasks.documents.collate` compute both.

Version 1 of binning wrote `shift_labels` under the name `labels`, and no `next_label`; such bins
can be read as well. Needs only numpy and pyarrow, so that it imports on a bare training node.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

IGNORE_INDEX = -100
"""Label of a position without loss (PyTorch's default `ignore_index`)."""


class Span(NamedTuple):
    """A piece of a document in a row.

    Tokens [offset, offset + length) of document `id` are at the row's positions from `start` on.
    """

    id: str
    start: int
    length: int
    offset: int


def schema(sequence_length: int) -> pa.Schema:
    """Arrow schema of rows of `sequence_length` tokens; see the module's docstring."""
    span = pa.struct(
        [("id", pa.string()), ("start", pa.int32()), ("length", pa.int32()), ("offset", pa.int64())]
    )
    return pa.schema(
        [
            ("input_ids", pa.list_(pa.uint32(), sequence_length)),
            ("labels", pa.list_(pa.int32(), sequence_length)),
            ("next_label", pa.int32()),
            ("documents", pa.list_(span)),
        ]
    )


def first_schema(sequence_length: int) -> pa.Schema:
    """Schema of version 1 of binning: `labels` holds the shifted targets, without `next_label`."""
    current = schema(sequence_length)
    return current.remove(current.get_field_index("next_label"))


def positions(
    starts: npt.NDArray[np.integer[Any]], filled: int, sequence_length: int
) -> npt.NDArray[np.int64]:
    """Position ids (L,) of a row whose pieces begin at `starts` and end at `filled`.

    The rest is padding, with positions of its own; `filled` is 0 for a row of padding only.
    """
    edges = np.append(starts, [filled, sequence_length])
    result: npt.NDArray[np.int64] = np.arange(sequence_length) - np.repeat(
        edges[:-1], np.diff(edges)
    )
    return result


class _Batch:
    """Zero-copy views of one Arrow record batch of R rows."""

    def __init__(self, batch: pa.RecordBatch, sequence_length: int) -> None:
        self.input_ids_RL = _flat(batch.column("input_ids")).reshape(-1, sequence_length)
        self.labels_RL = _flat(batch.column("labels")).reshape(-1, sequence_length)
        # Absent in version 1, where `labels` are the targets.
        self.next_label_R = (
            batch.column("next_label").to_numpy() if "next_label" in batch.schema.names else None
        )
        documents = batch.column("documents")
        self.edges = documents.offsets.to_numpy()
        self.spans = documents.values
        self.starts = self.spans.field("start").to_numpy()
        self.lengths = self.spans.field("length").to_numpy()


def _flat(column: Any) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = column.flatten().to_numpy(zero_copy_only=True)
    return values


class Rows(Sequence[int]):
    """The rows of one or more bins, one after the other, as a sequence that is read on demand.

    `folders` are bins, in the order wanted; all must have the same sequence length. Raises
    ValueError if a folder is incomplete, has another schema, or another sequence length.
    `sequence_length` is L; `lengths` the number of rows of each folder. Picklable (a worker process
    maps the files again).
    """

    def __init__(self, folders: Iterable[Path | str]) -> None:
        self.folders = [Path(folder) for folder in folders]
        self.lengths: list[int] = []
        self.sequence_length = 0
        self._batches: list[pa.RecordBatch] = []
        self._ends: list[int] = []
        self._views: dict[int, _Batch] = {}
        if not self.folders:
            raise ValueError(
                "no bin was given: name at least one folder that binning wrote (data/bin-00)"
            )
        for folder in self.folders:
            before = len(self)
            for file in _arrow_files(folder):
                self._map(file)
            self.lengths.append(len(self) - before)

    def _map(self, file: Path) -> None:
        with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as reader:
            try:
                length = int(reader.schema.field("input_ids").type.list_size)
            except (KeyError, AttributeError) as error:
                raise ValueError(
                    f"{file} does not hold packed rows (its schema is {reader.schema}); name a "
                    "folder that binning wrote (data/bin-00)"
                ) from error
            if not any(
                reader.schema.equals(known) for known in (schema(length), first_schema(length))
            ):
                raise ValueError(
                    f"{file} has schema {reader.schema}, expected {schema(length)}; run binning "
                    "again"
                )
            if self.sequence_length not in (0, length):
                raise ValueError(
                    f"{file} has rows of {length} tokens, but the bins before it have rows of "
                    f"{self.sequence_length}: use bins of the same sequence_length"
                )
            self.sequence_length = length
            for batch in reader:
                if batch.num_rows:
                    self._batches.append(batch)
                    self._ends.append(len(self) + batch.num_rows)

    def __reduce__(self) -> tuple[type[Rows], tuple[list[Path]]]:
        return Rows, (self.folders,)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: Any) -> Any:
        """`rows[i]`: as `batch([i])`, without the leading dimension."""
        return {name: values[0] for name, values in self.batch([index]).items()}

    def _find(self, index: int) -> tuple[_Batch, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"there is no row {index}; the bins have {len(self)}, from 0")
        number = bisect.bisect_right(self._ends, index)
        if number not in self._views:
            self._views[number] = _Batch(self._batches[number], self.sequence_length)
        first = self._ends[number] - self._batches[number].num_rows
        return self._views[number], index - first

    def batch(self, indices: Iterable[int]) -> dict[str, npt.NDArray[np.int64]]:
        """B rows by number: input_ids, shift_labels and position_ids, int64 of shape (B, L).

        In the order of `indices`. `shift_labels` are the targets, for a loss that does not shift.
        The arrays are copies: they may be changed, and passed to `torch.from_numpy`.
        """
        wanted = [int(index) for index in indices]
        shape = (len(wanted), self.sequence_length)
        input_ids_BL = np.empty(shape, np.int64)
        targets_BL = np.empty(shape, np.int64)
        position_ids_BL = np.empty(shape, np.int64)
        for line, index in enumerate(wanted):
            view, row = self._find(index)
            input_ids_BL[line] = view.input_ids_RL[row]
            if view.next_label_R is None:
                targets_BL[line] = view.labels_RL[row]
            else:
                targets_BL[line, :-1] = view.labels_RL[row, 1:]
                targets_BL[line, -1] = view.next_label_R[row]
            first, last = view.edges[row], view.edges[row + 1]
            starts = view.starts[first:last]
            filled = int(starts[-1] + view.lengths[last - 1]) if last > first else 0
            position_ids_BL[line] = positions(starts, filled, self.sequence_length)
        return {
            "input_ids": input_ids_BL,
            "shift_labels": targets_BL,
            "position_ids": position_ids_BL,
        }

    def provenance(self, index: int) -> list[Span]:
        """The pieces of documents in a row, in order of their position."""
        view, row = self._find(index)
        first, last = int(view.edges[row]), int(view.edges[row + 1])
        return [Span(**span) for span in view.spans[first:last].to_pylist()]


def _arrow_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("data-*-of-*.arrow"))
    if not files:
        raise ValueError(
            f"{folder} holds no data-*-of-*.arrow: name a bin that binning wrote (data/bin-00)"
        )
    expected = [f"data-{index:05d}-of-{len(files):05d}.arrow" for index in range(len(files))]
    if [file.name for file in files] != expected:
        raise ValueError(
            f"{folder} holds {len(files)} Arrow files, but the name {files[0].name} states another "
            "total, or numbers are missing; copy the whole folder again"
        )
    return files
