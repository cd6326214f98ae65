"""The normal form is CCNet's; removal leaves no doubled blank lines or stray line feeds."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.documents.edits import apply
from tasks.line_dedup.stage import LineDedupParameters
from tasks.line_dedup.units import removal, units_of
from tasks.text.normalise import CONTROLS, PUNCTUATION
from tasks.text.shingles import Utf8

DELETED = re.compile(f"[{re.escape(''.join([*PUNCTUATION, *map(chr, CONTROLS)]))}]")


def ccnet(line: str) -> str:
    """cc_net.text_normalizer.normalize_for_dedup."""
    return DELETED.sub("", re.sub(r"\d", "0", line.strip().lower()))


def paragraphs(text: str) -> list[tuple[int, int]]:
    lines = [bool(line.strip()) for line in text.split("\n")]
    starts = [
        index for index, full in enumerate(lines) if full and not (index and lines[index - 1])
    ]
    return [
        (index, next((end for end in range(index, len(lines)) if not lines[end]), len(lines)))
        for index in starts
    ]


TEXTS = st.lists(
    st.text(alphabet=" \tab1２…，!.ÅΣσİ你\n\u3000", max_size=25)
    | st.sampled_from(["A 1\n\nb", "a 2\n \nB…", "ΟΔΟΣ\nοδος", "x\ny\n\nx y", "１,\n٣,"]),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(
    TEXTS,
    st.sampled_from(["line", "paragraph"]),
    st.sampled_from(["ccnet", "none"]),
    st.integers(1, 3),
)
def test_units_are_equal_exactly_where_their_normal_forms_are(
    texts: list[str], unit: str, normalise: str, minimum: int
) -> None:
    parameters = LineDedupParameters.model_validate(
        {"unit": unit, "normalise": normalise, "minimum_characters": minimum}
    )
    units = units_of(Utf8.of([text.encode() for text in texts]), parameters)
    expected = []
    for row, text in enumerate(texts):
        lines = text.split("\n")
        spans = (
            paragraphs(text)
            if unit == "paragraph"
            else [(number, number + 1) for number in range(len(lines))]
        )
        for first, end in spans:
            if not lines[first].strip():
                continue
            form = " ".join(
                ccnet(line) if normalise == "ccnet" else line.strip() for line in lines[first:end]
            )
            if len(form) >= minimum:
                expected.append((row, first, end, form))
    assert list(
        zip(units.rows.tolist(), units.first.tolist(), units.end.tolist(), strict=True)
    ) == [entry[:3] for entry in expected]
    by_hash = dict(zip(units.hashes.tolist(), [entry[3] for entry in expected], strict=True))
    assert [by_hash[value] for value in units.hashes.tolist()] == [entry[3] for entry in expected]
    assert len(by_hash) == len({entry[3] for entry in expected})


@pytest.mark.parametrize(
    ("text", "removed", "left"),
    [
        ("a\nX\nb", [1], "a\nb"),
        ("X\na", [0], "a"),
        ("a\nX", [1], "a"),
        ("a\nX\n", [1], "a\n"),
        ("X", [0], ""),
        ("X\n", [0], ""),
        ("a\n\nX\n\nb", [2], "a\n\nb"),
        ("a\n\nX\nb", [2], "a\n\nb"),
        ("a\nX\n\nb", [1], "a\n\nb"),
        ("a\n\nX\n\n\nb", [2], "a\n\n\nb"),
        ("X\n\na\n\nX", [0, 4], "a"),
        ("a\nX\n\nY\nb", [1, 3], "a\n\nb"),
        ("a\n\n\nb\nX\nc", [4], "a\n\n\nb\nc"),
        ("X\n \nY", [0, 2], ""),
        ("a\r\nX\r\nb\r\n", [1], "a\r\nb\r\n"),
        ("a\r\n\r\nX\r\n\r\nb", [2], "a\r\n\r\nb"),
    ],
)
def test_removal_includes_line_feeds_and_doubled_blank_lines(
    text: str, removed: list[int], left: str
) -> None:
    edits = removal(text, [(line, line + 1) for line in removed], "why")
    assert apply(text, edits) == left
    assert all(edit.reason == "why" for edit in edits)


@given(st.text(alphabet="ab \n", max_size=30), st.data())
def test_the_other_lines_remain_in_order(text: str, data: st.DataObject) -> None:
    full = [number for number, line in enumerate(text.split("\n")) if line.strip()]
    removed = sorted(data.draw(st.sets(st.sampled_from(full)))) if full else []
    edits = removal(text, [(line, line + 1) for line in removed], "why")
    left = apply(text, edits)
    lines = text.split("\n")
    assert [line for line in left.split("\n") if line.strip()] == [
        lines[number] for number in full if number not in removed
    ]
    longest = max((len(run) for run in re.findall(r"\n(?:[ ]*\n)+", f"\n{text}\n")), default=0)
    assert not left.strip() or all(
        len(run) <= longest for run in re.findall(r"\n(?:[ ]*\n)+", f"\n{left}\n")
    )
    assert removed or left == text
