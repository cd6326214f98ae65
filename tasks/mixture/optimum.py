"""The shares of least predicted loss within limits: SLSQP from many starts, the same every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import LinearConstraint, linprog, minimize

from tasks.mixture.laws import Floats
from tasks.mixture.limits import Limits

STARTS = 16
DIGITS = 3
"""Of a proposed share: a thousandth moves a loss by less than any proxy can tell."""


def least(
    objective: Callable[[Floats], float], limits: Limits, begin: Sequence[Floats] = ()
) -> tuple[Floats, float]:
    """(shares of the categories, predicted objective).

    Args:
        objective: of shares, shape (C,).
        begin: components to begin from, shape (K,) each; by default corners of the allowed region
            and points between them.
    """
    matrix = limits.of_components_CK
    starts = list(begin) or _starts(limits)
    inside = LinearConstraint(matrix, limits.lowest_C, limits.highest_C)
    whole = LinearConstraint(np.ones((1, matrix.shape[1])), 1.0, 1.0)
    best: tuple[float, Floats] | None = None
    for start in starts:
        found = minimize(
            lambda components: objective(matrix @ components),
            start,
            method="SLSQP",
            bounds=[(0.0, 1.0)] * matrix.shape[1],
            constraints=[whole, inside],
            options={"maxiter": 200, "ftol": 1e-9},
        )
        shares = matrix @ found.x
        allowed = np.all(shares >= limits.lowest_C - 1e-6) and np.all(
            shares <= limits.highest_C + 1e-6
        )
        for value, components in ((float(found.fun), found.x), (objective(matrix @ start), start)):
            if (components is start or allowed) and (best is None or value < best[0] - 1e-12):
                best = (value, components)
    assert best is not None  # there is a start
    return matrix @ best[1], best[0]


def _starts(limits: Limits) -> list[Floats]:
    """Corners of the allowed region in random directions, its middle, and points between."""
    matrix = limits.of_components_CK
    components = matrix.shape[1]
    rng = np.random.RandomState(0)  # its stream is frozen (NEP 19)
    corners = []
    for _ in range(STARTS // 2):
        answer = linprog(
            rng.standard_normal(components),
            A_ub=np.concatenate([matrix, -matrix]),
            b_ub=np.concatenate([limits.highest_C + 1e-9, 1e-9 - limits.lowest_C]),
            A_eq=np.ones((1, components)),
            b_eq=[1.0],
            bounds=[(0, 1)] * components,
        )
        corners.append(np.asarray(answer.x))
    middle = np.mean(corners, axis=0)
    return [middle, *((corner + middle) / 2 for corner in corners), *corners]


def rounded(shares_C: Floats, limits: Limits) -> dict[str, float]:
    """Shares of `DIGITS` decimals that sum to 1 and keep to the limits, to that precision."""
    unit = 10**DIGITS
    floor = np.ceil(limits.lowest_C * unit - 1e-6).clip(0)
    top = np.floor(limits.highest_C * unit + 1e-6)
    counts = np.clip(np.floor(shares_C * unit + 1e-9), np.minimum(floor, top), top)
    order = np.argsort(counts - shares_C * unit, kind="stable")
    for _ in range(len(order) + 1):
        for index in order:
            left = unit - counts.sum()
            if left > 0 and counts[index] < top[index]:
                counts[index] += 1
            elif left < 0 and counts[index] > floor[index]:
                counts[index] -= 1
    counts[int(np.argmax(counts))] += unit - counts.sum()  # limits narrower than a thousandth
    return {
        category: int(count) / unit
        for category, count in zip(limits.categories, counts, strict=True)
    }
