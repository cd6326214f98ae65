"""What stands computed on the pages of recipes is what the recipes' plans say today."""

from __future__ import annotations

import pytest

from tests.benchmarks.recipes import pages
from tests.benchmarks.recipes.pictures import batch_of
from tests.benchmarks.recipes.published import published


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
