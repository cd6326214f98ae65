"""A law fitted to proxies: the most probable parameters, given a weak prior and robust errors.

Residuals are relative to the mean loss, in units of `NOISE`, under Huber's loss as in Hoffmann et
al. 2022; so one proxy that went wrong moves a fit little. The least is found by Levenberg and
Marquardt's method with reweighting, from several starts that are the same every time; all
differences of a Jacobian are one call of the law, as a search makes a thousand fits.

Shapes: P proxies, K parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.mixture.laws import LAW, Floats, Law, Points
from tasks.mixture.needs import LawName

NOISE = 0.01
"""Relative noise of a proxy's loss that priors are weighed against."""

HUBER = 3.0
"""Residual, in units of `NOISE`, beyond which its cost grows linearly."""

STARTS = 4
STEPS = 200
_DIFFERENCE = 1e-6
_ENOUGH = 1e-9
"""Relative gain of a step below which a fit ends."""


@dataclass(frozen=True)
class Fit:
    """A law's parameters for one target. `scale`: the mean loss, whose unit they are in."""

    law: Law
    theta: Floats
    scale: float

    def predict(self, points: Points) -> Floats:
        """Predicted losses, shape (P,)."""
        found: Floats = self.scale * self.law.loss(self.theta[None], points)[0]
        return found


def fit(
    name: LawName,
    points: Points,
    losses_P: Floats,
    *,
    weights_P: Floats | None = None,
    begin: Fit | None = None,
) -> Fit:
    """Fit a law to the losses of proxies.

    Args:
        weights_P: how often each counts; all once by default.
        begin: a fit of the same law to nearly the same proxies, which is begun from alone.
    """
    law = LAW[name]
    scale = begin.scale if begin is not None else float(losses_P.mean())
    problem = _Problem(
        law,
        points,
        losses_P / scale,
        np.ones(len(losses_P)) if weights_P is None else weights_P,
    )
    starts = [begin.theta] if begin is not None else problem.starts()
    ends = [problem.descend(start) for start in starts]
    return Fit(law, min(ends, key=lambda end: end[1])[0], scale)


class _Problem:
    """What is made least: Huber's loss of weighted residuals, plus the prior."""

    def __init__(self, law: Law, points: Points, wanted_P: Floats, weights_P: Floats) -> None:
        self._law, self._points = law, points
        self._wanted_P, self._weights_P = wanted_P, weights_P
        categories = points.shares_PC.shape[1]
        self._centre, self._width = law.centre(categories), law.width(categories)

    def starts(self) -> list[Floats]:
        """The prior's centre and points around it, drawn the same way every time."""
        rng = np.random.RandomState(0)  # its stream is frozen (NEP 19)
        size = len(self._centre)
        around = (0.5 * self._width * rng.standard_normal(size) for _ in range(STARTS - 1))
        return [self._centre, *(self._centre + shift for shift in around)]

    def _residuals(self, theta_BK: Floats) -> Floats:
        return (self._law.loss(theta_BK, self._points) - self._wanted_P) / NOISE

    def _cost(self, residuals_P: Floats, theta: Floats) -> float:
        size_P = np.abs(residuals_P)
        near = size_P <= HUBER
        costs_P = np.where(near, size_P**2, 2 * HUBER * size_P - HUBER**2)
        prior = (((theta - self._centre) / self._width) ** 2).sum()
        return float((self._weights_P * costs_P).sum() + prior)

    def descend(self, theta: Floats) -> tuple[Floats, float]:
        """(parameters, cost) where no step gains any more."""
        damping, steps = 1e-2, np.eye(len(theta)) * _DIFFERENCE
        residuals_P = self._residuals(theta[None])[0]
        cost = self._cost(residuals_P, theta)
        for _ in range(STEPS):
            jacobian_KP = (self._residuals(theta + steps) - residuals_P) / _DIFFERENCE
            robust_P = self._weights_P * HUBER / np.maximum(np.abs(residuals_P), HUBER)
            curvature = (jacobian_KP * robust_P) @ jacobian_KP.T + np.diag(self._width**-2.0)
            slope = jacobian_KP @ (robust_P * residuals_P)
            slope = slope + (theta - self._centre) / self._width**2
            gain = 0.0
            while damping < 1e10:
                damped = curvature + damping * np.diag(np.diag(curvature))
                tried = theta - np.linalg.solve(damped, slope)
                tried_P = self._residuals(tried[None])[0]
                lower = self._cost(tried_P, tried)
                if lower < cost:
                    gain, damping = (cost - lower) / cost, damping / 5
                    theta, residuals_P, cost = tried, tried_P, lower
                    break
                damping *= 4
            if gain < _ENOUGH:
                break
        return theta, cost
