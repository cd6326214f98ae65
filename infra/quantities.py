"""Counts and sizes as recipes write them: `4M` documents, `1G` bytes."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated

import pydantic

SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_BYTE_SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
NUMBER = r"[0-9]+(?:_[0-9]+)*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_COUNT = re.compile(rf"\s*({NUMBER})\s*([KMBT]?)\s*")
_BYTES = re.compile(rf"\s*({NUMBER})\s*([KMGT]?)B?\s*")


def parse_count(value: object) -> int:
    """A whole number from 4000000, 4e6, "4M", "0.5B" or "4_000_000".

    Raises:
        ValueError: not a number, or not whole after its suffix.
    """
    return _whole(value, _COUNT, SUFFIXES, "a number such as 4000000, 4M or 0.5B")


def parse_bytes(value: object) -> int:
    """Bytes from 4000000, "4M", "1.5G" or "1GB"; suffixes are powers of 1,000. Raises as
    `parse_count` does.
    """
    return _whole(value, _BYTES, _BYTE_SUFFIXES, "a number of bytes such as 4000000, 512M or 2G")


def _whole(value: object, pattern: re.Pattern[str], suffixes: dict[str, int], wanted: str) -> int:
    match = None if isinstance(value, bool) else pattern.fullmatch(str(value))
    if match is None or not isinstance(value, (int, float, str)):
        raise ValueError(f"{value!r} is not {wanted}")
    number, suffix = match.groups()
    amount = Fraction(number.replace("_", "")) * suffixes[suffix]
    if amount.denominator != 1:
        raise ValueError(
            f"{value!r} is {float(amount)}, not a whole number; write one, such as {round(amount)}"
        )
    return int(amount)


Count = Annotated[
    int,
    pydantic.BeforeValidator(parse_count),
    pydantic.WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": "^[0-9._]+ *[KMBT]?$"},
            ]
        }
    ),
]
"""A whole number of things; recipes may write a suffix K, M, B or T."""

Bytes = Annotated[
    int,
    pydantic.BeforeValidator(parse_bytes),
    pydantic.WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": "^[0-9._]+ *[KMGT]?B?$"},
            ]
        }
    ),
]
"""A size in bytes; recipes may write a suffix K, M, G or T."""


def duration(seconds: float) -> str:
    """A length of time in one unit: 42 s, 15.0 h, 21.3 days."""
    for unit, size, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 2 * 86400)):
        if seconds < most:
            return f"{seconds / size:.0f} {unit}" if unit == "s" else f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86400:,.1f} days"


def counted(number: int, thing: str, things: str = "") -> str:
    """A number of things: 1 restart, 2 restarts, 1,200 documents. `things`: if not with an s."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def count(value: float) -> str:
    """A number of tokens with a suffix: 4.19M, 8.5B, 3T."""
    for suffix, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= size * 0.9995:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.0f}"
