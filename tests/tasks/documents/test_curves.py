"""Sampling curves: what they accept, equal meanings, and factors drawn by id."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.documents.curves import Curve, copies, uniform
from tasks.documents.keep import ScoreKeep
from tasks.documents.scoring import SourceClassifier


@pytest.mark.parametrize(
    ("stated", "steps"),
    [
        ({"top": 0.3}, ((0, 0), (70, 1))),
        ({"top": 1}, ((0, 1),)),
        ({"percentile": ">=70"}, ((0, 0), (70, 1))),
        ({"percentile": "< 30%"}, ((0, 1), (30, 0))),
        ({"curve": {0: "drop", 40: 1, 80: 2, 95: 4}}, ((0, 0), (40, 1), (80, 2), (95, 4))),
        ({"curve": {"80": 2, "0": 0.5, "90": 2}}, ((0, 0.5), (80, 2))),
    ],
)
def test_every_form_is_one_step_function(stated: Any, steps: Any) -> None:
    curve = Curve.model_validate(stated)
    assert curve.steps == steps
    assert Curve.model_validate(curve.model_dump(mode="json")) == curve


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ({"top": 0}, "write a share"),
        ({"top": 30}, "write a share"),
        ({"percentile": 70}, "write it as in '>=70'"),
        ({"percentile": "<0"}, "which nothing is"),
        ({"percentile": ">=100"}, "not from 0 to below 100"),
        ({"curve": {40: 1}}, "add percentile 0"),
        (
            {"curve": {0: "drop", 40: "twice"}},
            "factor 'twice' of the curve is not a number or drop",
        ),
        ({"curve": {0: "drop", "x": 1}}, "percentile 'x' of the curve is not a number"),
        ({"curve": {0: "drop"}}, "drops everything"),
        ({"curve": {0: 1, 50: 1000}}, "factor 1000 is not from 0"),
        ({"curve": {0: 1, "0.0": 2}}, "states a percentile twice"),
        ({"curve": []}, "is to be a map"),
        ({"top": 0.5, "curve": {0: 1}}, "state one of"),
        ({"bottom": 0.5}, "state one of"),
    ],
)
def test_what_makes_no_sense_is_refused(stated: Any, why: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=why):
        Curve.model_validate(stated)


def test_a_keep_is_a_threshold_or_a_curve() -> None:
    threshold = SourceClassifier.model_validate({"keep": ">=0.5"})
    assert threshold.keep == ScoreKeep(comparison=">=", limit=0.5)
    assert isinstance(SourceClassifier.model_validate({"keep": {"top": 0.5}}).keep, Curve)
    assert SourceClassifier.model_validate(threshold.model_dump(mode="json")) == threshold


@given(st.floats(0, 5), st.text(min_size=1, max_size=8))
def test_a_factor_is_drawn_to_one_of_its_neighbours(factor: float, id_: str) -> None:
    assert copies(factor, id_, "edu") in (int(factor), int(factor) + (factor % 1 > 0))
    assert copies(factor, id_, "edu") == copies(factor, id_, "edu")


def test_drawn_factors_are_the_stated_ones_on_average() -> None:
    ids = [f"{number:032x}" for number in range(20_000)]
    for factor in (0.25, 1.5, 2.9):
        mean = sum(copies(factor, id_, "edu") for id_ in ids) / len(ids)
        assert abs(mean - factor) < 0.015
    same = sum((uniform(i, "copies", "a") < 0.5) == (uniform(i, "copies", "b") < 0.5) for i in ids)
    assert abs(same / len(ids) - 0.5) < 0.02
