"""Edits: applying, merging several stages' columns, one reason for each removed byte."""

from __future__ import annotations

import itertools
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.documents.edits import (
    EDITS,
    Alignment,
    Edit,
    apply,
    apply_columns,
    bytes_taken,
    column_of,
    merge,
    rows_of,
)

TEXTS = st.text(alphabet="ab \n你é𝕏", max_size=40)


@st.composite
def edits_of(draw: st.DrawFn, length: int, reason: str = "a") -> list[Edit]:
    bounds = sorted(draw(st.sets(st.integers(0, length), max_size=8)))
    pairs = [(low, high) for low, high in itertools.pairwise(bounds) if draw(st.booleans())]
    return [
        Edit(low, high, draw(st.sampled_from(["", "", "[X]", "字"])), reason) for low, high in pairs
    ]


@st.composite
def edited(draw: st.DrawFn, columns: int) -> tuple[str, list[list[Edit]]]:
    text = draw(TEXTS)
    return text, [draw(edits_of(len(text), "abc"[index])) for index in range(columns)]


def naive(text: str, columns: list[list[Edit]]) -> str:
    """Character by character: the first column to cover one owns it, and replaces at its first."""
    owner: dict[int, tuple[int, int]] = {}
    for number, column in enumerate(columns):
        for index, edit in enumerate(column):
            for position in range(edit.start, edit.end):
                owner.setdefault(position, (number, index))
    out, replaced = "", set()
    for position, character in enumerate(text):
        if position not in owner:
            out += character
        elif owner[position] not in replaced:
            replaced.add(owner[position])
            out += columns[owner[position][0]][owner[position][1]].replacement
    return out


@given(edited(3))
def test_several_columns_merge_as_character_by_character(
    case: tuple[str, list[list[Edit]]],
) -> None:
    text, columns = case
    merged = merge(*columns)
    result = apply(text, merged)
    assert result == naive(text, columns)
    assert all(edit.end <= following.start for edit, following in itertools.pairwise(merged))
    taken = bytes_taken(text, merged)
    assert len(text.encode()) == len(result.encode()) + sum(taken.values())
    assert set(taken) <= set("abc")


@given(edited(1))
def test_one_column_merges_to_itself(case: tuple[str, list[list[Edit]]]) -> None:
    text, (column,) = case
    assert (
        merge(column) == column
        and merge(column, column) == column
        and merge([], column, []) == column
    )
    assert apply(text, []) == text


@given(edited(2), st.data())
def test_spans_of_the_edited_text_are_found_in_the_ingest_text(
    case: tuple[str, list[list[Edit]]], data: st.DataObject
) -> None:
    text, columns = case
    merged = merge(*columns)
    result = apply(text, merged)
    alignment = Alignment(merged)
    if not result:
        return
    start = data.draw(st.integers(0, len(result) - 1))
    end = data.draw(st.integers(start + 1, len(result)))
    low, high = alignment.span(start, end)
    assert 0 <= low < high <= len(text)
    inside = [edit for edit in merged if low <= edit.start and edit.end <= high]
    again = apply(
        text[low:high],
        [edit._replace(start=edit.start - low, end=edit.end - low) for edit in inside],
    )
    assert result[start:end] in again  # equal but for replacements that the span cuts
    if not any(edit.replacement for edit in merged):
        assert again == result[start:end]


def test_a_later_edit_is_cut_to_what_is_left() -> None:
    first = [Edit(2, 4, "", "line"), Edit(6, 8, "", "line")]
    later = [Edit(1, 7, "#", "passage"), Edit(7, 8, "?", "mask")]
    assert merge(first, later) == [
        Edit(1, 2, "#", "passage"),
        Edit(2, 4, "", "line"),
        Edit(4, 6, "", "passage"),
        Edit(6, 8, "", "line"),
    ]
    assert apply("0123456789", merge(first, later)) == "0#89"
    assert merge(later, first) == [Edit(1, 7, "#", "passage"), Edit(7, 8, "?", "mask")]


@pytest.mark.parametrize(
    "edits", [[(0, 0)], [(3, 2)], [(0, 9)], [(0, 2), (1, 3)], [(2, 3), (0, 1)], [(-1, 2)]]
)
def test_edits_that_do_not_fit_the_text_are_errors(edits: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="rebuild the stage"):
        apply("0123", [Edit(*edit) for edit in edits])


@given(st.lists(edited(2), max_size=6), st.integers(1, 3))
def test_columns_and_lists_are_equivalent(
    cases: list[tuple[str, list[list[Edit]]]], chunk: int
) -> None:
    texts = pa.chunked_array([pa.array([text for text, _ in cases], pa.string())])
    columns = [
        pa.chunked_array(
            [
                column_of(columns[index] for _, columns in cases[start : start + chunk])
                for start in range(0, len(cases), chunk)
            ],
            EDITS,
        )
        for index in range(2)
    ]
    assert [rows_of(column) for column in columns] == [[c[i] for _, c in cases] for i in range(2)]
    done = apply_columns(texts, columns)
    assert done.texts.to_pylist() == [naive(text, columns) for text, columns in cases]
    for row, (text, lists) in enumerate(cases):
        counted = Counter(
            {e["reason"]: e["bytes"] for e in done.taken.to_pylist() if e["row"] == row}
        )
        assert counted == bytes_taken(text, merge(*lists))


def test_texts_without_edits_are_returned_unchanged() -> None:
    texts = pa.chunked_array([pa.array(["a", "b"])])
    done = apply_columns(texts, [pa.chunked_array([pa.array([None, []], EDITS)])])
    assert done.texts is texts and done.taken.num_rows == 0
