"""Counts and sizes of recipes."""

from __future__ import annotations

import pytest

from infra.quantities import parse_bytes, parse_count


def test_counts_and_bytes_take_their_own_suffixes() -> None:
    assert [parse_count(n) for n in ("2M", "0.5B", 4e6, "1_000", 7)] == [
        2_000_000,
        500_000_000,
        4_000_000,
        1_000,
        7,
    ]
    assert [parse_bytes(n) for n in ("512M", "1.5G", "2GB", 10**6)] == [
        512_000_000,
        1_500_000_000,
        2 * 10**9,
        10**6,
    ]


@pytest.mark.parametrize("value", ["many", "2G", True, None, "-1"])
def test_what_is_no_count_is_named(value: object) -> None:
    with pytest.raises(ValueError, match="is not a number such as"):
        parse_count(value)


def test_a_part_of_a_thing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'0.0001K' is 0.1, not a whole number"):
        parse_bytes("0.0001K")
