"""Shares that a search, or the data, states: forms in a recipe, and what they come to."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.training.planning.lengths import NotKnownYet
from tasks.training.planning.plan import Position
from tasks.training.planning.ramps import PlanError
from tasks.training.recipe.mixtures import (
    BucketsOf,
    FromMixture,
    Mixture,
    Share,
    TimesNatural,
    apportioned,
    categories_of,
)
from tests.tasks.training.toys import parameters

ANY = pydantic.TypeAdapter(Mixture)


@pytest.mark.parametrize(
    ("stated", "kind"),
    [
        ({"from": "main"}, FromMixture),
        ({"from": "mixture/main", "beside": {"qa": 0.1}}, FromMixture),
        ({"natural": {"a": 1, "b": 2.5}}, TimesNatural),
        ({"natural": 0.5, "other": "rest"}, dict),
        ({"natural": {"from": 1, "to": 1}}, dict),
        ({"from": 0.5, "to": "rest"}, dict),
        ({"buckets": ["a"]}, BucketsOf),
    ],
)
def test_forms_are_told_apart(stated: dict[str, Any], kind: type) -> None:
    found = ANY.validate_python(stated)
    assert isinstance(found, kind)
    if kind is not dict:
        assert ANY.validate_json(ANY.dump_json(found, by_alias=True)) == found
    elif stated.get("natural") == {"from": 1, "to": 1}:
        assert isinstance(found["natural"], Share)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"natural": {"a": 0}}, "greater than 0"),
        ({"from": "main", "besides": {}}, "Extra inputs"),
        ({"from": "main", "beside": {"a": 2}}, "less than or equal to 1"),
    ],
)
def test_wrong_forms_are_refused(stated: dict[str, Any], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        ANY.validate_python(stated)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=9), st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_apportioned_shares_sum_to_one_and_are_near(weights: list[int], digits: int) -> None:
    total = sum(weights)
    exact = {f"c{n}": Fraction(weight, total) for n, weight in enumerate(weights)}
    found = apportioned(exact, digits)
    assert sum(Fraction(str(share)) for share in found.values()) == 1
    assert all(abs(Fraction(str(found[name])) - exact[name]) < 10**-digits for name in exact)


def test_a_proposal_keeps_its_ratios_beside_fixed_shares() -> None:
    mixture = FromMixture.model_validate({"from": "main", "beside": {"qa": 0.2, "web": 0.3}})
    found = mixture.shares({"web": 0.5, "code": 0.3, "math": 0.2, "none": 0.0})
    assert found == {"code": 0.3, "math": 0.2, "qa": 0.2, "web": 0.3}
    alone = FromMixture.model_validate({"from": "main"})
    assert alone.shares({"a": 0.25, "b": 0.75, "c": 0.0}) == {"a": 0.25, "b": 0.75}


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        ({"qa": 0.7, "web": 0.6}, "mixture.beside: shares sum to 1.3, more than 1"),
        ({"a": 0.2, "b": 0.3}, "mixture: main proposes nothing beside a, b"),
    ],
)
def test_shares_that_cannot_be_are_refused(beside: dict[str, float], message: str) -> None:
    mixture = FromMixture.model_validate({"from": "main", "beside": beside})
    with pytest.raises(ValueError, match=message):
        mixture.shares({"a": 0.5, "b": 0.5})


def test_natural_shares_follow_the_rows_of_bins() -> None:
    values = parameters(mixture={"natural": {"a": 1, "b": 2}})
    with pytest.raises(NotKnownYet, match="natural shares are not known before the bins exist"):
        values.plan(Position())
    plan = values.plan(Position(), {"a": 60, "b": 20})
    assert plan.at(0).mixture == {"a": 0.6, "b": 0.4}
    with pytest.raises(PlanError, match=r"mixture.natural: a, b have no rows"):
        values.plan(Position(), {"a": 0, "b": 0})


def test_a_phase_by_a_search_is_planned_once_the_shares_are_there() -> None:
    values = parameters(mixture={"from": "main"})
    with pytest.raises(NotKnownYet, match="shares come from main, not made yet"):
        values.plan(Position(), {"a": 60, "b": 20})
    plan = values.settled({"a": 0.9, "b": 0.1}).plan(Position(), {"a": 60, "b": 20})
    assert plan.at(0).mixture == {"a": 0.9, "b": 0.1}


def test_categories_of_each_form() -> None:
    every, searched = ["a", "b", "c", "d"], {"main": ("a", "b")}
    beside = ANY.validate_python({"from": "mixture/main", "beside": {"d": 0.1}})
    assert categories_of(beside, every, searched) == ["a", "b", "d"]
    elsewhere = ANY.validate_python({"from": "artifact:r/mixture/main@latest"})
    assert categories_of(elsewhere, every, searched) == every
    assert categories_of(ANY.validate_python({"natural": {"c": 1}}), every) == ["c"]
