"""How often losses of mixtures that a search has not seen lie within its own intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.mixture.intervals import jackknife_plus
from tasks.mixture.proxies import Proxy
from tasks.mixture.search import OBJECTIVE, Laws


@dataclass(frozen=True)
class Checked:
    """One loss of one unseen mixture: what was predicted, with its interval, and observed."""

    proxy: str
    target: str
    predicted: float
    low: float
    high: float
    observed: float

    @property
    def inside(self) -> bool:
        """Whether the interval has it."""
        return self.low <= self.observed <= self.high


def proxies_in(found: Mapping[str, Any]) -> list[Proxy]:
    """The proxies of a search that can be fitted, from its `fit.json`."""
    told = [{k: v for k, v in one.items() if k != "predicted"} for one in found["proxies"]]
    return [proxy for proxy in map(Proxy.from_json, told) if not proxy.left_out]


def checked(
    found: Mapping[str, Any], unseen: Sequence[Proxy], law: str | None = None
) -> list[Checked]:
    """Every loss, and the weighted sum, of the unseen proxies by the search's law, or another."""
    laws = Laws(proxies_in(found), found["targets"])
    fitted = laws.fitted(law or found["law"])  # type: ignore[arg-type]
    rows = []
    for proxy in unseen:
        shares = np.array([[proxy.shares.get(column, 0.0) for column in laws.columns]])
        point = laws.point(shares, proxy.parameters, proxy.tokens)
        for target in (*found["targets"], OBJECTIVE):
            without, misses, _ = laws.left_out(fitted, point, target)
            low, high = jackknife_plus(without, misses, found["level"])
            if target == OBJECTIVE:
                predicted = float(laws.objective(fitted.fits, point)[0])
                observed = sum(w * proxy.losses[t] for t, w in found["targets"].items())
            else:
                predicted = float(fitted.fits[target].predict(point)[0])
                observed = proxy.losses[target]
            name = target.partition("@")[0]
            rows.append(
                Checked(proxy.name, name, predicted, float(low[0]), float(high[0]), observed)
            )
    return rows
