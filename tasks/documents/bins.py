"""Bins of a category: their names, and how often documents are in them.

The name is the category, and `~LENGTH` where rows have another length than
`binning.sequence_length`. No category's name has a `~`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def bins_name(category: str, sequence_length: int | None = None) -> str:
    """The name of the node that bins a category; `sequence_length`: where it is not the default."""
    return category if sequence_length is None else f"{category}~{sequence_length}"


def category_of(bins_name: str) -> str:
    """The category that a node of this name bins."""
    return bins_name.partition("~")[0]


def most_repeated(statistics: Mapping[str, Any]) -> int:
    """How often the most repeated document is in the bins, by binning's statistics."""
    return max(map(int, statistics.get("repeats", ())), default=1)
