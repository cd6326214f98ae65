"""Packed rows are read back by number, positions restart, and damaged folders are errors."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks.documents.rows import Rows, Span, schema

LENGTH = 8


Row = tuple[list[int], list[int], list[Span]]


def write(folder: Path, rows: list[Row], files: int = 1, length: int = LENGTH) -> Path:
    folder.mkdir(parents=True)
    share = -(-len(rows) // files)
    for index in range(files):
        part = [
            {
                "input_ids": ids,
                "labels": labels,
                "next_label": -100,
                "documents": [span._asdict() for span in spans],
            }
            for ids, labels, spans in rows[index * share : (index + 1) * share]
        ]
        table = pa.Table.from_pylist(part, schema=schema(length))
        with pa.ipc.new_stream(
            str(folder / f"data-{index:05d}-of-{files:05d}.arrow"), table.schema
        ) as writer:
            writer.write_table(table, max_chunksize=2)
    return folder


def row(value: int, lengths: tuple[int, ...]) -> Row:
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(int).tolist()
    spans = [Span(f"{value}-{i}", starts[i], length, 7 * i) for i, length in enumerate(lengths)]
    return [value] * LENGTH, [-100] * LENGTH, spans


def test_rows_come_back_over_files_and_folders(tmp_path: Path) -> None:
    first = write(tmp_path / "bin-00", [row(value, (3, 2)) for value in range(5)], files=2)
    second = write(tmp_path / "bin-01", [row(value, (8,)) for value in range(5, 7)])
    rows = Rows([first, second])
    assert len(rows) == 7 and rows.lengths == [5, 2] and rows.sequence_length == LENGTH
    batch = rows.batch([6, 0, 4])
    assert batch["input_ids"][:, 0].tolist() == [6, 0, 4]
    assert batch["position_ids"].tolist() == [
        list(range(8)),
        [0, 1, 2, 0, 1, 0, 1, 2],
        [0, 1, 2, 0, 1, 0, 1, 2],
    ]
    assert batch["shift_labels"].dtype == np.int64 and (batch["shift_labels"] == -100).all()
    assert rows.provenance(4) == [Span("4-0", 0, 3, 0), Span("4-1", 3, 2, 7)]
    assert pickle.loads(pickle.dumps(rows)).batch([6])["input_ids"][0, 0] == 6


def test_row_without_documents_is_one_run_of_padding(tmp_path: Path) -> None:
    rows = Rows([write(tmp_path / "bin-00", [row(0, ())])])
    assert rows.batch([0])["position_ids"][0].tolist() == list(range(LENGTH))


def test_incomplete_or_mixed_folders_are_errors(tmp_path: Path) -> None:
    good = write(tmp_path / "good", [row(0, (8,))])
    with pytest.raises(ValueError, match="no bin"):
        Rows([])
    with pytest.raises(ValueError, match="holds no data"):
        Rows([tmp_path])
    longer = write(tmp_path / "longer", [([0] * 16, [0] * 16, [])], length=16)
    with pytest.raises(ValueError, match="the same sequence_length"):
        Rows([good, longer])
    incomplete = write(tmp_path / "incomplete", [row(0, (8,)), row(1, (8,))], files=2)
    (incomplete / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(ValueError, match="states another total"):
        Rows([incomplete])
    with pytest.raises(IndexError):
        Rows([good]).batch([1])
