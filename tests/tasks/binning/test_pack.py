"""Packing: every token once, rows within their length, and nearly full."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.binning.kernels import first_from, lowest_bit
from tasks.binning.pack import Pieces, best_fit, pack
from tasks.binning.stage import Packing

PACKINGS = get_args(Packing)


def naive_best_fit(lengths: list[int], capacity: int) -> list[int]:
    """The same rule by looking at every row: row of each item; of equal rows, the last changed."""
    totals: list[int] = []
    changed: list[int] = []
    assigned = [0] * len(lengths)
    for turn, item in enumerate(sorted(range(len(lengths)), key=lambda n: -lengths[n])):
        fitting = [row for row, total in enumerate(totals) if total + lengths[item] <= capacity]
        if fitting:
            row = max(fitting, key=lambda row: (totals[row], changed[row]))
        else:
            row = len(totals)
            totals.append(0)
            changed.append(0)
        totals[row] += lengths[item]
        changed[row] = turn
        assigned[item] = row
    return assigned


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), max_size=200), st.integers(50, 80))
def test_best_fit_is_best_fit(lengths: list[int], capacity: int) -> None:
    assert best_fit(np.array(lengths, np.int64), capacity).tolist() == naive_best_fit(
        lengths, capacity
    )


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9_000), max_size=60), st.integers(9_000, 40_000))
def test_best_fit_of_long_rows(lengths: list[int], capacity: int) -> None:
    assert best_fit(np.array(lengths, np.int64), capacity).tolist() == naive_best_fit(
        lengths, capacity
    )


@settings(deadline=None)
@given(st.sets(st.integers(0, 400)), st.integers(0, 400))
def test_first_bit_from_a_position(positions: set[int], start: int) -> None:
    words = np.zeros(7, np.uint64)
    for position in positions:
        words[position >> 6] |= np.uint64(1) << np.uint64(position & 63)
    assert first_from(words, start) == min((p for p in positions if p >= start), default=-1)
    assert all(lowest_bit(np.uint64(1) << np.uint64(bit)) == bit for bit in range(64))


def pieces_of(pieces: Pieces) -> list[tuple[int, int, int, int, int]]:
    columns = (pieces.row, pieces.start, pieces.document, pieces.offset, pieces.length)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("packing", PACKINGS)
@settings(deadline=None)
@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 64))
def test_every_token_is_in_one_row(
    packing: Packing, lengths: list[int], sequence_length: int
) -> None:
    pieces = pack(np.array(lengths, np.int64), sequence_length, packing)
    found = pieces_of(pieces)
    seen = [
        (document, token)
        for _, _, document, offset, length in found
        for token in range(offset, offset + length)
    ]
    assert sorted(seen) == [
        (document, token) for document, length in enumerate(lengths) for token in range(length)
    ]
    rows: dict[int, list[tuple[int, int, int, int, int]]] = {}
    for piece in found:
        rows.setdefault(piece[0], []).append(piece)
    assert list(rows) == list(range(pieces.rows))
    for members in rows.values():
        at = 0
        for _, start, _, _, length in members:
            assert start == at and length > 0
            at += length
        assert at <= sequence_length
        documents = [document for _, _, document, _, _ in members]
        assert documents == sorted(set(documents))
    firsts = [members[0][2:4] for members in rows.values()]
    assert firsts == sorted(firsts)
    ends = {(row, document): offset + length for row, _, document, offset, length in found}
    for row, members in rows.items():
        last = members[-1]
        filled = last[1] + last[4]
        # A document that goes on elsewhere fills its row to the end.
        assert all(
            ends[row, document] == lengths[document] or filled == sequence_length
            for _, _, document, _, _ in members
        )
        if packing == "document":
            assert len(members) == 1
        if packing == "concat" and row < pieces.rows - 1:
            assert filled == sequence_length


def test_the_example_of_the_docstring() -> None:
    lengths = np.array([11, 5, 4, 3, 1], np.int64)
    whole, rest = (0, 0, 0, 0, 8), (1, 0, 0, 8, 3)
    shared = [whole, rest, (1, 3, 1, 0, 5), (2, 0, 2, 0, 4), (2, 4, 3, 0, 3), (2, 7, 4, 0, 1)]
    assert pieces_of(pack(lengths, 8)) == pieces_of(pack(lengths, 8, "concat")) == shared
    assert pieces_of(pack(lengths, 8, "document")) == [
        whole, rest, (2, 0, 1, 0, 5), (3, 0, 2, 0, 4), (4, 0, 3, 0, 3), (5, 0, 4, 0, 1),
    ]  # fmt: skip


def test_ordinary_lengths_fill_rows() -> None:
    lengths = np.random.default_rng(0).lognormal(6.2, 1.0, 20_000).astype(np.int64) + 1
    for sequence_length in (512, 2_048, 4_096, 8_192):
        for packing in ("best-fit", "concat"):
            rows = pack(lengths, sequence_length, packing).rows
            assert lengths.sum() / (rows * sequence_length) > 0.995


def test_too_long_an_item_is_refused() -> None:
    with pytest.raises(ValueError, match="item 1 has length 9"):
        best_fit(np.array([3, 9]), 8)
