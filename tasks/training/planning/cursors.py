"""The place in a category's rows at which a phase continues the data of the phases before it.

A place is a number of rows taken since the data was restarted: whole epochs, then whole bins, then
rows of a bin. A phase with rows of another length reads other bins, but of the same documents, as a
document is dealt by its id: bin 3 of both holds the same text. So the place there is after the same
bins and the same share of the bin that was begun. Standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence


def converted(taken: int, old: Sequence[int], new: Sequence[int]) -> int:
    """The place `taken` of bins of `old` rows, in bins of `new` rows of another length.

    A share of a bin is rounded down: some of its rows may be read again, but none is left out.

    Raises:
        ValueError: the number of bins differs.
    """
    if len(old) != len(new):
        raise ValueError(f"{len(old)} bins became {len(new)}; set data: restart")
    epoch, rest = divmod(taken, sum(old))
    place = epoch * sum(new)
    for before, now in zip(old, new, strict=True):
        if rest < before:
            return place + rest * now // before
        rest, place = rest - before, place + now
    return place
