"""Packing: every token once, rows within their length, and nearly full."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.binning.pack import best_fit, pack


def naive_best_fit(lengths: list[int], capacity: int) -> list[int]:
    """The same rule by looking at every row: total lengths of the rows in the order they were
    opened.
    """
    totals: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [row for row, total in enumerate(totals) if total + length <= capacity]
        if fitting:
            totals[max(fitting, key=lambda row: totals[row])] += length
        else:
            totals.append(length)
    return totals


@given(st.lists(st.integers(1, 50), max_size=200), st.integers(50, 80))
def test_best_fit_is_best_fit(lengths: list[int], capacity: int) -> None:
    rows = best_fit(np.array(lengths, np.int64), capacity)
    totals = np.bincount(rows, weights=lengths).astype(int).tolist() if lengths else []
    assert all(0 < total <= capacity for total in totals)
    assert sorted(totals) == sorted(naive_best_fit(lengths, capacity))


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 64))
def test_every_token_is_in_one_row(lengths: list[int], sequence_length: int) -> None:
    rows = pack(np.array(lengths, np.int64), sequence_length)
    seen = [
        (piece.document, token)
        for row in rows
        for piece in row
        for token in range(piece.offset, piece.offset + piece.length)
    ]
    assert sorted(seen) == [
        (document, token) for document, length in enumerate(lengths) for token in range(length)
    ]
    assert all(0 < sum(piece.length for piece in row) <= sequence_length for row in rows)
    assert all(
        [piece.document for piece in row] == sorted({piece.document for piece in row})
        for row in rows
    )
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)


def test_ordinary_lengths_fill_rows() -> None:
    lengths = np.random.default_rng(0).lognormal(6.2, 1.0, 20_000).astype(np.int64) + 1
    for sequence_length in (512, 2_048, 4_096):
        rows = pack(lengths, sequence_length)
        assert lengths.sum() / (len(rows) * sequence_length) > 0.995


def test_too_long_an_item_is_refused() -> None:
    with pytest.raises(ValueError, match="item 1 has length 9"):
        best_fit(np.array([3, 9]), 8)
