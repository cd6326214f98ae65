"""The shares that a search may propose: the recipe's limits, epochs, and what proxies have tried.

A proposal moves in a simplex of components: the categories themselves, or, where the ratios of an
earlier mixture are kept, that mixture as one component beside the new categories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from infra.stage import StageError
from tasks.mixture.laws import Floats


@dataclass(frozen=True)
class Limits:
    """Lowest and highest share of each category, and why.

    `of_components_CK`: the shares of each component, which sum to 1.
    """

    categories: tuple[str, ...]
    lowest_C: Floats
    highest_C: Floats
    why: Mapping[str, str]
    of_components_CK: Floats


def limits(
    categories: Sequence[str],
    of_components_CK: Floats,
    *,
    stated: Mapping[str, tuple[float, float]],
    epochs: Mapping[str, float],
    tried_PC: Floats,
) -> Limits:
    """Join all limits.

    Args:
        stated: category -> the recipe's lowest and highest share.
        epochs: category -> share beyond which `max_epochs` would be passed.
        tried_PC: shares of the proxies: a law says little beyond them.

    Raises:
        StageError: no mixture meets them.
    """
    lowest, highest, why = [], [], {}
    for number, category in enumerate(categories):
        low, high = stated.get(category, (0.0, 1.0))
        tried = tried_PC[:, number]
        tops = {
            f"shares.{category}.max": high,
            "max_epochs": epochs.get(category, 1.0),
            "the largest share of a proxy": float(tried.max()),
        }
        reason = min(tops, key=tops.__getitem__)
        top = tops[reason]
        bottom = max(low, min(float(tried.min()), top))
        if low > top + 1e-9:
            raise StageError(
                f"{category}: shares.{category}.min is {low:g}, and {reason} allows {top:.3g} at "
                "most; lower the minimum, or raise the other"
            )
        lowest.append(bottom)
        highest.append(top)
        why[category] = reason
    found = Limits(tuple(categories), np.array(lowest), np.array(highest), why, of_components_CK)
    _require_room(found)
    return found


def _require_room(found: Limits) -> None:
    """Raise `StageError` unless some mixture of the components meets the limits."""
    from scipy.optimize import linprog

    matrix = found.of_components_CK
    components = matrix.shape[1]
    answer = linprog(
        np.zeros(components),
        A_ub=np.concatenate([matrix, -matrix]),
        b_ub=np.concatenate([found.highest_C + 1e-9, 1e-9 - found.lowest_C]),
        A_eq=np.ones((1, components)),
        b_eq=[1.0],
        bounds=[(0, 1)] * components,
    )
    if answer.status != 0:
        told = ", ".join(
            f"{category} {low:.3g} to {high:.3g} ({found.why[category]})"
            for category, low, high in zip(
                found.categories, found.lowest_C, found.highest_C, strict=True
            )
        )
        raise StageError(
            f"no mixture meets all limits: {told}. The highest shares sum to "
            f"{found.highest_C.sum():.3g} and the lowest to {found.lowest_C.sum():.3g}; relax "
            "`shares` or `max_epochs`, search for fewer tokens (`for.tokens`), or add data"
        )
