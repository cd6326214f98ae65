"""What stands computed on the pages of recipes is what the recipes' plans say today."""

from __future__ import annotations

import pytest

from tasks.checkpoints.shapes import SHAPES
from tasks.training.phases.facts import facts
from tasks.training.phases.section import TrainingSection
from tasks.training.predict.prediction import predict
from tests.benchmarks.recipes import pages
from tests.benchmarks.recipes.pictures import batch_of
from tests.benchmarks.recipes.published import Planned, figure_rows, other_rows, published


@pytest.mark.parametrize("page", sorted(pages.PAGES.glob("*.md")), ids=lambda path: path.stem)
def test_plans_and_published_figures_are_current(page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("infra.remote.retry.time.sleep", lambda seconds: None)
    text = page.read_text(encoding="utf-8")
    assert pages.filled(text, pages.PLANS) == text, "run tests/benchmarks/recipes/pages.py --plans"


def test_places_that_are_not_asked_for_stay_as_they_are() -> None:
    text = "a\n<!-- plan x y -->\nold\n<!-- end -->\nb\n<!-- drawn x -->\nkept\n<!-- end -->\n"
    kinds = {"plan": lambda names: f"new {names}"}
    new = pages.filled(text, kinds)
    assert new == text.replace("old", "new x y")
    assert pages.filled(new, kinds) == new
    assert pages.filled(text, kinds, ["z"]) == text


def test_every_published_figure_says_where_it_is_from() -> None:
    for name, stated in published().items():
        for figure in stated["figures"]:
            assert "published" not in figure or figure.get("source"), f"{name}: {figure['what']}"
        for phase in stated.get("phases", {}).values():
            assert sum(phase.get("shares", {"all": 100}).values()) == 100, name
            assert batch_of(phase) is None or batch_of(phase) > 0


def test_figures_are_scaled_and_their_difference_and_mfu_are_said() -> None:
    shape = SHAPES["llama-1-65b"]
    stated = {"accelerator": "A100-80G", "count": 2048, "mfu": 0.5}
    section = TrainingSection.model_validate(
        {
            "batch": "2 rows",
            "precision": "bf16",
            "hardware": stated,
            "phases": [{"name": "one", "tokens": "1T", "mixture": {"text": 1.0}}],
        }
    )
    found = facts(section, 2048, ["text"], {})
    plan = Planned(10**12, 1000, predict(section, found, shape))
    hours = plan.figure("hours")
    assert hours is not None and plan.figure("loss") is None
    figures = [
        {"what": "half", "published": "500B", "plan": "tokens", "source": "P"},
        {"what": "hours", "published": hours / 2, "plan": "hours", "source": "P", "why": "{mfu}"},
        {"what": "days", "plan": "days", "per_tokens": "2T", "count": 1},
    ]
    rows = figure_rows({"figures": figures}, plan)
    assert rows[0] == ["half", "500B [P]", "1T", "+100 %", ""]
    assert rows[1][3:] == ["+100 %", "100 %"], "half the hours are twice the MFU"
    assert rows[2] == ["days", "not published", f"{2 * hours / 24:,.0f}", "", ""]


def test_hours_of_other_models_are_an_mfu() -> None:
    other = {"what": "8B", "shape": "llama-3-8b", "tokens": "15T", "published": 1_300_000}
    ((_, tokens, hours, mfu),) = other_rows({"others": [other | {"source": "C"}]}, "H100-SXM", 8192)
    assert (tokens, hours) == ("15T", "1,300,000 [C]")
    parameters = 6 * 8.03e9 * 15e12 / (1.3e6 * 3600 * 989e12)  # without attention
    assert parameters - 0.02 < float(mfu.removesuffix(" %")) / 100 < parameters + 0.04
