"""Names of the bins of a category: the category, and `~LENGTH` where rows have another length than
`binning.sequence_length`. No category's name has a `~`.
"""

from __future__ import annotations


def bins_name(category: str, sequence_length: int | None = None) -> str:
    """The name of the node that bins a category; `sequence_length`: where it is not the default."""
    return category if sequence_length is None else f"{category}~{sequence_length}"


def category_of(bins_name: str) -> str:
    """The category that a node of this name bins."""
    return bins_name.partition("~")[0]
