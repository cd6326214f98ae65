"""The search on made-up proxies whose law is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from infra.stage import StageError
from tasks.mixture.draws import over_simplex
from tasks.mixture.intervals import jackknife_plus
from tasks.mixture.needs import LAWS, for_interval, parameters_of, too_few, usable
from tasks.mixture.proxies import Proxy
from tasks.mixture.search import OBJECTIVE, Laws, Work, search

NAMES = ("a", "b", "c")
WORTH = {"a": (4.0, 1.0, 0.2), "b": (1.0, 5.0, 0.2), "c": (0.2, 0.2, 3.0)}
"""What a token of each category is worth to each target."""


def loss(target: str, shares: Mapping[str, float], parameters: float, tokens: float) -> float:
    """A joint law (Shukor et al. 2025)."""
    worth = sum(w * shares[name] for w, name in zip(WORTH[target], NAMES, strict=True))
    return 1.0 + 0.2 * (parameters / 3e5) ** -0.3 + 0.7 * worth**-0.4 * (tokens / 3e5) ** -0.3


def proxies(count: int, seed: str, noise: float = 0.004) -> list[Proxy]:
    """Proxies of two sizes and two lengths, with noise."""
    rng = np.random.RandomState(len(seed))
    found = []
    for number, shares in enumerate(over_simplex(NAMES, count, seed)):
        parameters, tokens = (2e5, 6e5)[number % 2], (2e5, 4e5)[number // 2 % 2]
        losses = {
            name: loss(name, shares, parameters, tokens) * (1 + noise * rng.standard_normal())
            for name in NAMES
        }
        by_column = {f"{name}@1": share for name, share in shares.items()}
        found.append(Proxy(f"proxy~main~{number}", int(parameters), int(tokens), by_column, losses))
    return found


def work(given: list[Proxy], **changes: Any) -> Work:
    """A search of the three categories."""
    values: dict[str, Any] = {
        "proxies": tuple(given),
        "columns": {name: f"{name}@1" for name in NAMES},
        "targets": dict.fromkeys(NAMES, 1.0),
        "natural": {"a": 0.7, "b": 0.2, "c": 0.1},
        "stated": {},
        "epochs": {},
        "kept": {},
        "tokens": None,
        "parameters": None,
        "law": "auto",
        "level": 0.9,
        "resamples": 20,
    }
    return Work(**values | changes)


@pytest.fixture(scope="module")
def trained() -> list[Proxy]:
    return proxies(20, "main")


@pytest.fixture(scope="module")
def found(trained: list[Proxy]) -> dict[str, Any]:
    return search(work(trained))


def test_the_shares_are_near_those_of_the_true_law(found: dict[str, Any]) -> None:
    best = min(
        over_simplex(NAMES, 3000, "grid"),
        key=lambda shares: sum(loss(name, shares, 6e5, 4e5) for name in NAMES),
    )
    assert sum(found["shares"].values()) == pytest.approx(1)
    assert found["shares"] == pytest.approx(best, abs=0.06)
    at_best, proposed = (
        sum(loss(name, shares, 6e5, 4e5) for name in NAMES) for shares in (best, found["shares"])
    )
    assert proposed < at_best * 1.002
    low, high = found["predicted"][OBJECTIVE]["proposed"]["interval"]
    assert low < proposed < high
    assert found["errors"][found["law"]] == min(found["errors"].values()) < 0.01
    for name, (low, high) in found["shares_interval"].items():
        assert low <= found["shares"][name] + 0.02 and found["shares"][name] - 0.02 <= high


def test_intervals_hold_for_mixtures_that_no_fit_has_seen(trained: list[Proxy]) -> None:
    laws = Laws(trained, dict.fromkeys(NAMES, 1.0))
    fitted = laws.fitted("joint")
    others = proxies(60, "another seed")
    inside = asked = 0
    for proxy in others:
        shares = np.array([[proxy.shares[column] for column in laws.columns]])
        point = laws.point(shares, proxy.parameters, proxy.tokens)
        for name in NAMES:
            without, misses, _ = laws.left_out(fitted, point, name)
            low, high = jackknife_plus(without, misses, 0.9)
            inside += bool(low[0] <= proxy.losses[name] <= high[0])
            asked += 1
    assert inside / asked > 0.8  # jackknife+ promises 0.8 at level 0.9, and gives about 0.9


def test_a_diverged_proxy_is_left_out_and_told(trained: list[Proxy], found: dict[str, Any]) -> None:
    bad = dataclasses.replace(
        trained[3], losses=dict.fromkeys(NAMES, 30.0), left_out="it diverged: lr is too high"
    )
    again = search(work([*trained[:3], bad, *trained[4:]]))
    assert any("it diverged" in note for note in again["notes"])
    assert again["shares"] == pytest.approx(found["shares"], abs=0.06)
    told = next(proxy for proxy in again["proxies"] if proxy["name"] == bad.name)
    assert told["left_out"] and told["predicted"] == {}


def test_one_proxy_that_went_wrong_unseen_moves_little(
    trained: list[Proxy], found: dict[str, Any]
) -> None:
    wrong = dataclasses.replace(
        trained[5], losses={name: 1.3 * value for name, value in trained[5].losses.items()}
    )
    again = search(work([*trained[:5], wrong, *trained[6:]], law="joint"))
    assert again["shares"] == pytest.approx(found["shares"], abs=0.1)


def test_limits_hold_and_those_that_bind_are_told(trained: list[Proxy]) -> None:
    again = search(
        work(trained, stated={"a": (0.5, 0.9)}, epochs={"c": 0.1}, law="joint", tokens=400_000)
    )
    assert again["shares"]["a"] >= 0.5 - 1e-9
    assert again["shares"]["c"] <= 0.1 + 1e-9
    assert any("max_epochs" in note for note in again["notes"])


@pytest.mark.parametrize(
    ("stated", "epochs", "words"),
    [
        ({}, {"a": 0.2, "b": 0.2, "c": 0.3}, "no mixture meets all limits"),
        ({"a": (0.5, 1.0)}, {"a": 0.3}, "shares.a.min is 0.5, and max_epochs allows 0.3"),
        ({"a": (0.5, 1.0), "b": (0.6, 1.0)}, {}, "no mixture meets all limits"),
    ],
)
def test_limits_that_no_mixture_meets_are_refused(
    trained: list[Proxy], stated: dict[str, Any], epochs: dict[str, float], words: str
) -> None:
    with pytest.raises(StageError, match=words):
        search(work(trained, stated=stated, epochs=epochs, law="linear"))


def test_kept_ratios_stay_and_earlier_proxies_are_fitted_too(trained: list[Proxy]) -> None:
    old = [p for p in trained if p.shares["c@1"] < 0.3]
    again = search(work([*old, *trained], kept={"a": 0.6, "b": 0.3}, law="joint"))
    shares = again["shares"]
    assert shares["a"] / (shares["a"] + shares["b"]) == pytest.approx(2 / 3, abs=0.01)
    assert 0.1 < shares["c"] < 0.6


def test_a_target_that_earlier_proxies_lack_is_fitted_to_the_others(trained: list[Proxy]) -> None:
    without_c = [
        dataclasses.replace(p, losses={name: p.losses[name] for name in "ab"}) for p in trained[:6]
    ]
    again = search(work([*without_c, *trained[6:]], law="joint"))
    assert again["shares"]["c"] > 0.1


def test_too_few_that_have_not_diverged_are_refused(trained: list[Proxy]) -> None:
    few = [dataclasses.replace(p, left_out="it diverged: x") for p in trained[:14]]
    with pytest.raises(StageError, match="6 of 20 proxies can be fitted, which are too few"):
        search(work([*few, *trained[14:]]))


def test_a_size_that_all_proxies_have_is_where_losses_are_predicted(trained: list[Proxy]) -> None:
    alike = [dataclasses.replace(p, parameters=200_000) for p in trained]
    again = search(work(alike, parameters=5_000_000, law="linear"))
    assert again["at"]["parameters"] == 200_000
    assert any("all proxies have 200,000 parameters" in note for note in again["notes"])


def test_the_same_proxies_give_the_same_search(trained: list[Proxy], found: dict[str, Any]) -> None:
    assert search(work(trained)) == found


def test_how_many_proxies_a_search_needs() -> None:
    assert for_interval(0.9) == 9 and for_interval(0.8) == 4 and for_interval(0.95) == 19
    assert parameters_of("linear", 3, 1, 1) == 3
    assert parameters_of("exponential", 3, 3, 2) == 7
    assert usable(5, 3, 1, 1) == ["linear"]
    assert list(usable(30, 3, 3, 3)) == list(LAWS)
    words = too_few("auto", 4, categories=5, sizes=2, lengths=1, level=0.9)
    assert "draws add up to 4 proxies, too few: the law 'linear' has 6 parameters" in words
    assert "intervals of level 0.9, which need 9" in too_few(
        "linear", 8, categories=3, sizes=1, lengths=1, level=0.9
    )
    assert too_few("auto", 24, categories=5, sizes=3, lengths=2, level=0.9) == ""
