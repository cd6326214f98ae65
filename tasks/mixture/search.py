"""The search: a law for every target, the shares of least loss, and how sure all of that is.

1. Laws that the proxies are enough for are fitted; that with the least error on left-out proxies is
   taken, the same for all targets.
2. The weighted sum of the predicted losses is made least within the limits.
3. Predicted losses of the proposal, and of natural and uniform shares, get intervals.
4. The bootstrap's fits propose shares too: how far these spread is how firm the proposal is.

Plain data in, plain data out; nothing here reads a file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from infra.stage import StageError
from tasks.mixture.fitting import Fit, fit
from tasks.mixture.intervals import jackknife_plus, percentiles, resamples
from tasks.mixture.laws import LAW, Floats, Points
from tasks.mixture.limits import limits
from tasks.mixture.needs import LawName, for_interval, usable
from tasks.mixture.optimum import least, rounded
from tasks.mixture.proxies import Proxy

OBJECTIVE = "objective"


@dataclass(frozen=True)
class Work:
    """A search, without artifacts.

    `columns`: category -> its column among the proxies' shares. `targets`: target -> weight.
    `kept`: category -> share of an earlier mixture whose ratios stay; {} where all are searched.
    `natural`: category -> share of its rows.
    """

    proxies: tuple[Proxy, ...]
    columns: Mapping[str, str]
    targets: Mapping[str, float]
    natural: Mapping[str, float]
    stated: Mapping[str, tuple[float, float]]
    epochs: Mapping[str, float]
    kept: Mapping[str, float]
    tokens: int | None
    parameters: int | None
    law: str
    level: float
    resamples: int


@dataclass(frozen=True)
class Fitted:
    """One law for all targets: fits to all proxies, and without each."""

    fits: Mapping[str, Fit]
    without: Mapping[str, tuple[Fit, ...]]
    """Target -> the fit without each of `rows`."""
    rows: Mapping[str, tuple[int, ...]]
    """Target -> the proxies that it is fitted to."""
    error: float
    """Root mean square of relative errors on left-out proxies."""


class Laws:
    """Fits of all targets to the proxies of a search.

    Shapes: P proxies, C columns.
    """

    def __init__(self, proxies: Sequence[Proxy], targets: Mapping[str, float]) -> None:
        self.proxies = tuple(proxies)
        self.targets = dict(targets)
        names = dict.fromkeys(name for proxy in proxies for name in proxy.shares)
        self.columns = tuple(names)
        self.size = math.exp(np.mean([math.log(proxy.parameters) for proxy in proxies]))
        self.length = math.exp(np.mean([math.log(proxy.tokens) for proxy in proxies]))
        self.points = Points(
            np.array([[proxy.shares.get(c, 0.0) for c in self.columns] for proxy in proxies]),
            np.array([proxy.parameters / self.size for proxy in proxies]),
            np.array([proxy.tokens / self.length for proxy in proxies]),
        )
        self.losses = {
            target: np.array([proxy.losses.get(target, np.nan) for proxy in proxies])
            for target in targets
        }

    def point(self, shares_MC: Floats, parameters: int, tokens: int) -> Points:
        """Where laws are asked; shares by column."""
        count = len(shares_MC)
        return Points(
            shares_MC,
            np.full(count, parameters / self.size),
            np.full(count, tokens / self.length),
        )

    def fitted(self, law: LawName) -> Fitted:
        """A law fitted to all targets."""
        fits, without, rows, errors = {}, {}, {}, []
        for target, losses in self.losses.items():
            known = ~np.isnan(losses)
            points, losses_P = self.points.of(known), losses[known]
            whole = fit(law, points, losses_P)
            left = []
            for index in range(len(losses_P)):
                one = fit(law, points.without(index), np.delete(losses_P, index), begin=whole)
                left.append(one)
                asked = points.of(np.arange(len(losses_P)) == index)
                errors.append(float(one.predict(asked)[0]) / losses_P[index] - 1)
            fits[target], without[target] = whole, tuple(left)
            rows[target] = tuple(int(row) for row in np.flatnonzero(known))
        return Fitted(fits, without, rows, float(np.sqrt(np.mean(np.square(errors)))))

    def left_out(
        self, fitted: Fitted, points: Points, target: str
    ) -> tuple[Floats, Floats, list[int]]:
        """(predictions of points by the fits without each proxy, misses of these, the proxies).

        Of `OBJECTIVE`, the weighted sum; only proxies that have all targets are left out.
        """
        parts = self.targets if target == OBJECTIVE else {target: 1.0}
        rows = set.intersection(*(set(fitted.rows[part]) for part in parts))
        chosen = sorted(rows)
        predictions, own, observed = [], [], []
        for row in chosen:
            here = self.points.of(np.arange(len(self.proxies)) == row)
            fits = {part: fitted.without[part][fitted.rows[part].index(row)] for part in parts}
            predictions.append(sum(w * fits[part].predict(points) for part, w in parts.items()))
            own.append(sum(w * float(fits[part].predict(here)[0]) for part, w in parts.items()))
            observed.append(sum(w * self.losses[part][row] for part, w in parts.items()))
        misses = np.abs(np.array(observed) - np.array(own))
        return np.array(predictions), misses, chosen

    def objective(self, fits: Mapping[str, Fit], points: Points) -> Floats:
        """The weighted sum of predicted losses."""
        total: Floats = sum(
            (weight * fits[target].predict(points) for target, weight in self.targets.items()),
            np.zeros(len(points.shares_PC)),
        )
        return total


def search(work: Work) -> dict[str, Any]:
    """What `fit.json` holds.

    Raises:
        StageError: too few proxies are left, or no mixture meets the limits.
    """
    proxies = [proxy for proxy in work.proxies if not proxy.left_out]
    notes = [f"{p.name} is left out of the fit: {p.left_out}" for p in work.proxies if p.left_out]
    sizes = sorted({proxy.parameters for proxy in proxies})
    lengths = sorted({proxy.tokens for proxy in proxies})
    moving = len(work.columns) - len(work.kept) + bool(work.kept)
    enough = usable(len(proxies), moving, len(sizes), len(lengths))
    wanted = [law for law in enough if work.law in ("auto", law)]
    if not wanted or len(proxies) < for_interval(work.level):
        raise StageError(
            f"{len(proxies)} of {len(work.proxies)} proxies can be fitted, which are too few for "
            f"law {work.law} with {moving} shares and intervals of level {work.level:g}. "
            f"{' '.join(notes[:3])} Raise `draws`, or lower the proxies' lr if they diverge"
        )
    laws = Laws(proxies, work.targets)
    by_law = {law: laws.fitted(law) for law in enough}
    law = min(wanted, key=lambda name: by_law[name].error)
    fitted = by_law[law]
    at_parameters, at_tokens = _place(work, sizes, lengths, notes)

    categories = list(work.columns)
    if lost := [name for name in categories if work.columns[name] not in laws.columns]:
        raise StageError(
            f"no proxy that can be fitted has read {lost[0]}; raise `draws`, or its share in "
            "`around`"
        )
    place = [laws.columns.index(work.columns[name]) for name in categories]

    def points(shares_MC: Floats) -> Points:
        by_column = np.zeros((len(shares_MC), len(laws.columns)))
        by_column[:, place] = shares_MC
        return laws.point(by_column, at_parameters, at_tokens)

    allowed = limits(
        categories,
        _components(categories, work.kept),
        stated=work.stated,
        epochs=work.epochs,
        tried_PC=laws.points.shares_PC[:, place],
    )

    def objective_of(fits: Mapping[str, Fit]) -> Any:
        return lambda shares_C: float(laws.objective(fits, points(shares_C[None, :]))[0])

    best_C, _ = least(objective_of(fitted.fits), allowed)
    shares = rounded(best_C, allowed)
    told = {"proposed": shares, "natural": dict(work.natural)}
    told["uniform"] = dict.fromkeys(categories, 1 / len(categories))
    asked = points(np.array([[row[name] for name in categories] for row in told.values()]))

    begin = np.asarray(np.linalg.lstsq(allowed.of_components_CK, best_C)[0], dtype=np.float64)
    drawn_shares: list[Floats] = []
    drawn_losses: dict[str, list[Floats]] = {target: [] for target in (*work.targets, OBJECTIVE)}
    for weights_P in resamples(len(proxies), work.resamples):
        again = {}
        for target, losses in laws.losses.items():
            known = list(fitted.rows[target])
            again[target] = fit(
                law,
                laws.points.of(~np.isnan(losses)),
                losses[known],
                weights_P=weights_P[known],
                begin=fitted.fits[target],
            )
            drawn_losses[target].append(again[target].predict(asked))
        drawn_losses[OBJECTIVE].append(laws.objective(again, asked))
        drawn_shares.append(least(objective_of(again), allowed, [begin])[0])

    def predicted(target: str) -> dict[str, Any]:
        if target == OBJECTIVE:
            means = laws.objective(fitted.fits, asked)
        else:
            means = fitted.fits[target].predict(asked)
        without_PM, misses_P, _ = laws.left_out(fitted, asked, target)
        low, high = jackknife_plus(without_PM, misses_P, work.level)
        return {
            name: {
                "loss": float(means[number]),
                "interval": [float(low[number]), float(high[number])],
                "confidence": list(
                    percentiles([float(d[number]) for d in drawn_losses[target]], work.level)
                ),
            }
            for number, name in enumerate(told)
        }

    spread = np.array(drawn_shares)
    at_limit = [
        f"{name} {'has the most' if top else 'has the least'} that is allowed "
        f"({shares[name]:.3g}, by {allowed.why[name] if top else 'its lowest share'})"
        for number, name in enumerate(categories)
        for top in (True, False)
        if abs(shares[name] - (allowed.highest_C if top else allowed.lowest_C)[number]) < 1e-3
    ]
    return {
        "shares": shares,
        "shares_interval": {
            name: list(percentiles(spread[:, number].tolist(), work.level))
            for number, name in enumerate(categories)
        },
        "compared": told,
        "at": {"parameters": at_parameters, "tokens": at_tokens},
        "level": work.level,
        "targets": dict(work.targets),
        "predicted": {target: predicted(target) for target in (*work.targets, OBJECTIVE)},
        "law": law,
        "source": LAW[law].source,
        "errors": {name: one.error for name, one in by_law.items()},
        "proxies": _told(work, laws, fitted),
        "limits": {
            name: [float(allowed.lowest_C[n]), float(allowed.highest_C[n])]
            for n, name in enumerate(categories)
        },
        "notes": [*notes, *at_limit],
    }


def _place(
    work: Work, sizes: Sequence[int], lengths: Sequence[int], notes: list[str]
) -> tuple[int, int]:
    """(parameters, tokens) that losses are predicted at. A law knows nothing of a size other than
    that of all proxies.
    """
    found = []
    for what, wanted, known in (
        ("parameters", work.parameters, sizes),
        ("tokens", work.tokens, lengths),
    ):
        if wanted is not None and len(known) > 1:
            found.append(wanted)
            continue
        found.append(known[-1])
        if wanted is not None and wanted != known[0]:
            notes.append(
                f"all proxies have {known[0]:,} {what}, so losses are predicted there and not at "
                f"{wanted:,}; train some of another number"
            )
    return found[0], found[1]


def _components(categories: Sequence[str], kept: Mapping[str, float]) -> Floats:
    """Shares of each component, shape (C, K): the kept mixture first, if there is one, then each
    category that is searched.
    """
    total = math.fsum(kept.values())
    parts = [[kept.get(name, 0.0) / total for name in categories]] if kept else []
    parts += [[float(name == one) for name in categories] for one in categories if one not in kept]
    return np.array(parts).T


def _told(work: Work, laws: Laws, fitted: Fitted) -> list[dict[str, Any]]:
    """The proxies, those that are fitted with what the fit without each predicts of it."""
    predictions: dict[str, dict[str, float]] = {proxy.name: {} for proxy in laws.proxies}
    for target, rows in fitted.rows.items():
        for fit_without, row in zip(fitted.without[target], rows, strict=True):
            here = laws.points.of(np.arange(len(laws.proxies)) == row)
            predictions[laws.proxies[row].name][target] = float(fit_without.predict(here)[0])
    return [
        {**proxy.to_json(), "predicted": predictions.get(proxy.name, {})} for proxy in work.proxies
    ]
