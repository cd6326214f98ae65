"""Published forms of held-out loss against shares, parameters and tokens.

    exponential   c + k exp(sum t_j r_j) + A/N^a + B/D^b
                  data mixing laws (Ye et al. 2024, arXiv:2403.16952), with the terms in N and D of
                  Hoffmann et al. 2022 (arXiv:2203.15556)
    additive      E + 1/(sum C_j r_j^g) + A/N^a + B/D^b
                  additive law of Shukor et al. 2025 (arXiv:2507.09404), one exponent for all j
    joint         E + A/N^a + (sum C_j r_j)^-g / D^b
                  joint law of the same, of which the data term alone depends on shares: a token of
                  category j is worth C_j tokens of the target
    linear        sum w_j r_j + u ln N + v ln D
                  RegMix's linear regression (Liu et al. 2024, arXiv:2407.01492)

Each is a function of a vector of parameters. Positive ones are stored as logarithms. Every
parameter has a weak normal prior (centre, width), in units of the mean loss: it decides only what
the proxies do not, such as an exponent where all have one size.

Shapes: P proxies, C categories, K parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.mixture.needs import LawName

Floats = NDArray[np.float64]

_LIMIT = 30.0
"""Of an exponent: exp of more is no loss."""

EXPONENT_N, EXPONENT_D = 0.34, 0.28
"""Of Hoffmann et al. 2022, approach 3: where the prior has its centre."""


@dataclass(frozen=True)
class Points:
    """Where a law is asked: `shares_PC`, and parameters and tokens over those of a reference."""

    shares_PC: Floats
    size_P: Floats
    length_P: Floats

    def without(self, index: int) -> Points:
        """All but one of them."""
        return Points(
            np.delete(self.shares_PC, index, 0),
            np.delete(self.size_P, index),
            np.delete(self.length_P, index),
        )

    def of(self, chosen: NDArray[np.bool_]) -> Points:
        """Some of them."""
        return Points(self.shares_PC[chosen], self.size_P[chosen], self.length_P[chosen])


@dataclass(frozen=True)
class Law:
    """A form: its loss in units of the mean loss, shape (B, P) for B vectors of parameters, and the
    prior of its parameters.
    """

    name: LawName
    source: str
    loss: Callable[[Floats, Points], Floats]
    centre: Callable[[int], Floats]
    width: Callable[[int], Floats]


def _exp(values: Floats) -> Floats:
    found: Floats = np.exp(np.minimum(np.maximum(values, -_LIMIT), _LIMIT))
    return found


def _power(theta_BK: Floats, at: int, over_P: Floats) -> Floats:
    """A / x^a less A, which the constant has; its logarithms are at `at` and after it."""
    factor_B1, exponent_B1 = theta_BK[:, at, None], _exp(theta_BK[:, at + 1, None])
    return _exp(factor_B1 - exponent_B1 * np.log(over_P)) - _exp(factor_B1)


_SIZE = np.array([np.log(0.3), np.log(EXPONENT_N)])
_LENGTH = np.array([np.log(0.3), np.log(EXPONENT_D)])
_POWER_WIDTH = np.array([1.5, 0.5])


def _exponential(theta_BK: Floats, points: Points) -> Floats:
    mixing_BP = theta_BK[:, 1, None] + theta_BK[:, 6:] @ points.shares_PC.T
    powers_BP = _power(theta_BK, 2, points.size_P) + _power(theta_BK, 4, points.length_P)
    found: Floats = theta_BK[:, 0, None] + _exp(mixing_BP) + powers_BP
    return found


def _additive(theta_BK: Floats, points: Points) -> Floats:
    exponent_B = _exp(theta_BK[:, 1])
    powered_BPC = points.shares_PC[None] ** exponent_B[:, None, None]
    sums_BP = np.einsum("bpc,bc->bp", powered_BPC, _exp(theta_BK[:, 6:]))
    powers_BP = _power(theta_BK, 2, points.size_P) + _power(theta_BK, 4, points.length_P)
    found: Floats = theta_BK[:, 0, None] + 1 / np.maximum(sums_BP, 1e-9) + powers_BP
    return found


def _joint(theta_BK: Floats, points: Points) -> Floats:
    data_BP = np.log(np.maximum(_exp(theta_BK[:, 5:]) @ points.shares_PC.T, 1e-9))
    falls_BP = -_exp(theta_BK[:, 1, None]) * data_BP
    falls_BP = falls_BP - _exp(theta_BK[:, 4, None]) * np.log(points.length_P)
    found: Floats = theta_BK[:, 0, None] + _exp(falls_BP) + _power(theta_BK, 2, points.size_P)
    return found


def _linear(theta_BK: Floats, points: Points) -> Floats:
    logs_P2 = np.log(np.stack([points.size_P, points.length_P], 1))
    found: Floats = theta_BK[:, 2:] @ points.shares_PC.T + theta_BK[:, :2] @ logs_P2.T
    return found


def _with(head: Floats, each: float) -> Callable[[int], Floats]:
    return lambda categories: np.concatenate([head, np.full(categories, each)])


LAW: dict[LawName, Law] = {
    "exponential": Law(
        "exponential",
        "data mixing laws, Ye et al. 2024",
        _exponential,
        _with(np.array([0.5, np.log(0.5), *_SIZE, *_LENGTH]), 0.0),
        _with(np.array([0.5, 1.0, *_POWER_WIDTH, *_POWER_WIDTH]), 3.0),
    ),
    "additive": Law(
        "additive",
        "additive law, Shukor et al. 2025",
        _additive,
        _with(np.array([0.5, np.log(0.5), *_SIZE, *_LENGTH]), np.log(2.0)),
        _with(np.array([0.5, 0.7, *_POWER_WIDTH, *_POWER_WIDTH]), 2.0),
    ),
    "joint": Law(
        "joint",
        "joint law, Shukor et al. 2025",
        _joint,
        _with(np.array([0.5, np.log(0.3), *_SIZE, _LENGTH[1]]), np.log(3.0)),
        _with(np.array([0.5, 0.7, *_POWER_WIDTH, _POWER_WIDTH[1]]), 2.0),
    ),
    "linear": Law(
        "linear",
        "RegMix's linear regression, Liu et al. 2024",
        _linear,
        _with(np.array([-0.1, -0.1]), 1.0),
        _with(np.array([0.3, 0.3]), 1.0),
    ),
}
