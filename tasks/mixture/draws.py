"""The mixtures that proxies are trained on: evenly spread, and the same every time.

Points come from the R_d sequence (Roberts 2018, "The unreasonable effectiveness of quasirandom
sequences"): an additive recurrence whose steps are powers of the generalised golden ratio. It fills
a cube more evenly than random numbers, and more points continue a sequence that has begun, so that
further proxies leave those before them as they are. Standard library only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

_NEAR = 1e-6
"""Points keep this distance from the faces of the cube, where quantiles are infinite."""

_DIGITS = 4
"""Of shares and factors: what a row of bins can follow, and no noise of another libm."""


def points(count: int, dimensions: int, seed: str) -> list[tuple[float, ...]]:
    """`count` points in the unit cube; shape (count, dimensions)."""
    ratio = _golden(dimensions)
    steps = [ratio ** -(axis + 1) % 1 for axis in range(dimensions)]
    starts = [_start(seed, axis) for axis in range(dimensions)]
    return [
        tuple(
            min(max((start + number * step) % 1, _NEAR), 1 - _NEAR)
            for start, step in zip(starts, steps, strict=True)
        )
        for number in range(1, count + 1)
    ]


def factors(
    categories: Sequence[str], count: int, spread: float, seed: str
) -> list[dict[str, float]]:
    """Factors on shares, log-normal with standard deviation `spread` of the logarithm: shares
    around others, such as the natural ones, are these times the factors, made to sum to 1 (a
    logistic-normal distribution, Aitchison 1980).
    """
    normal = NormalDist()
    return [
        {
            category: round(math.exp(spread * normal.inv_cdf(value)), _DIGITS)
            for category, value in zip(categories, point, strict=True)
        }
        for point in points(count, len(categories), seed)
    ]


def around(
    centre: Mapping[str, float], count: int, spread: float, seed: str
) -> list[dict[str, float]]:
    """Shares around `centre`, each summing to 1."""
    return [
        whole({name: share * drawn[name] for name, share in centre.items()})
        for drawn in factors(list(centre), count, spread, seed)
    ]


def over_simplex(categories: Sequence[str], count: int, seed: str) -> list[dict[str, float]]:
    """Shares spread evenly over all that sum to 1 (a flat Dirichlet distribution)."""
    return [
        whole({name: -math.log(value) for name, value in zip(categories, point, strict=True)})
        for point in points(count, len(categories), seed)
    ]


def seed_of(*place: int) -> int:
    """The seed of a proxy's weights and data, by where it stands: none depends on the others."""
    digest = hashlib.blake2b("/".join(map(str, place)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


def whole(weights: Mapping[str, float]) -> dict[str, float]:
    """Weights as shares of `_DIGITS` decimals that sum to 1; the largest takes what rounding
    leaves.
    """
    total, unit = math.fsum(weights.values()), 10**_DIGITS
    counts = {name: round(weight / total * unit) for name, weight in weights.items()}
    counts[max(counts, key=counts.__getitem__)] += unit - sum(counts.values())
    return {name: count / unit for name, count in counts.items()}


def _golden(dimensions: int) -> float:
    """The root of x^(d+1) = x + 1."""
    ratio = 2.0
    for _ in range(64):
        ratio = (1 + ratio) ** (1 / (dimensions + 1))
    return ratio


def _start(seed: str, axis: int) -> float:
    digest = hashlib.blake2b(f"{seed}/{axis}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64
