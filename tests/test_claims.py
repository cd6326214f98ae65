"""The pure parts of `make claims`: its statistics, its page, its picture, and whether its arms are
a fair test of what they claim.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from scipy.stats import t as student

from flows.recipe.read import read_recipe
from tests.benchmarks.claims import texts
from tests.benchmarks.claims.arms import extended, key_of, settings_of
from tests.benchmarks.claims.page import Comparison, comparisons, drawn, page, share
from tests.benchmarks.claims.pairs import Gain, gain, variance_of_mean
from tests.benchmarks.claims.samples import items_of

CLAIMS = Path(__file__).parent / "benchmarks" / "claims"
STATED = yaml.safe_load((CLAIMS / "claims.yaml").read_text(encoding="utf-8"))


def test_seeds_that_agree_leave_the_interval_of_items() -> None:
    """Every seed gains the same of each item: what is left is Student's interval over items."""
    of_items = np.array([0.1, 0.3, 0.2, 0.6])
    first = np.tile(of_items, (3, 1))
    found = gain(first, np.zeros((3, 4)), np.ones(4), less_is_better=False)
    half = student.ppf(0.975, 3) * of_items.std(ddof=1) / 2
    assert found.mean == pytest.approx(0.3)
    assert found.half == pytest.approx(half)


def test_items_that_agree_leave_the_interval_of_seeds() -> None:
    of_seeds = np.array([0.1, 0.2, 0.4])
    first = np.tile(of_seeds[:, None], (1, 50))
    found = gain(first, np.zeros((3, 50)), np.ones(50), less_is_better=False)
    assert found.half == pytest.approx(4.3027 * of_seeds.std(ddof=1) / np.sqrt(3), rel=1e-4)


@pytest.mark.parametrize(("of_seed", "of_item"), [(0.0, 1.0), (0.3, 0.1), (0.1, 1.0), (0.0, 0.0)])
def test_intervals_hold_the_true_gain_nineteen_times_in_twenty(
    of_seed: float, of_item: float
) -> None:
    """Never much less often; more often where a part of the variance is near 0."""
    rng = np.random.default_rng(7)
    inside = 0
    for _ in range(1500):
        effects = (
            0.5
            + of_seed * rng.standard_normal((3, 1))
            + of_item * rng.standard_normal((1, 40))
            + 0.5 * rng.standard_normal((3, 40))
        )
        variance, freedom = variance_of_mean(effects)
        inside += abs(effects.mean() - 0.5) <= student.ppf(0.975, freedom) * np.sqrt(variance)
    assert 0.93 <= inside / 1500 <= 0.999


def test_a_score_is_the_sum_over_items_by_the_sum_of_sizes() -> None:
    """Bits per byte weighs documents by their bytes; fewer bits are a gain."""
    first, other = np.array([[10.0, 90.0]] * 2), np.array([[20.0, 100.0]] * 2)
    found = gain(first, other, np.array([10.0, 90.0]), less_is_better=True)
    assert (found.first, found.other, found.mean) == pytest.approx((1.0, 1.2, 0.2))


def test_a_gain_in_proportion_to_bytes_has_no_error_of_items() -> None:
    """A ratio: documents that differ in size only say the same."""
    sizes = np.array([100.0, 200.0, 700.0])
    found = gain(np.tile(sizes, (2, 1)), np.tile(1.5 * sizes, (2, 1)), sizes, less_is_better=True)
    assert found.mean == pytest.approx(0.5)
    assert found.half == pytest.approx(0.0, abs=1e-12)
    assert found.verdict == "holds"


def test_what_cannot_be_paired_is_refused() -> None:
    with pytest.raises(ValueError, match="same items with the same seeds"):
        gain(np.ones((3, 4)), np.ones((3, 5)), np.ones(4), less_is_better=False)
    with pytest.raises(ValueError, match="3 seeds and 1 items cannot be compared"):
        gain(np.ones((3, 1)), np.ones((3, 1)), np.ones(1), less_is_better=False)


@pytest.mark.parametrize(
    ("mean", "half", "said"),
    [
        (0.2, 0.1, "holds"),
        (-0.2, 0.1, "the reverse"),
        (0.1, 0.2, "does not show at this scale"),
        (-0.1, 0.2, "does not show at this scale"),
        (0.0, 0.0, "does not show at this scale"),
    ],
)
def test_verdicts(mean: float, half: float, said: str) -> None:
    assert Gain(1.0, 1.0, mean, half).verdict == said


def test_items_are_read_from_the_samples_of_an_evaluation(tmp_path: Path) -> None:
    rows = [{"id": "0", "bits": 8.5, "bytes": 10}, {"id": "1", "bits": 4.0, "bytes": 20}]
    asked = [{"group": "leaked", "correct": True}, {"group": "known", "correct": False}]
    for name, lines in (("heldout__web-zh", rows), ("exam", asked)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    assert items_of(tmp_path, "heldout/web-zh bits_per_byte") == ([8.5, 4.0], [10.0, 20.0])
    assert items_of(tmp_path, "exam/leaked acc") == ([1.0], [1.0])
    assert items_of(tmp_path, "exam acc") == ([1.0, 0.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="no such items"):
        items_of(tmp_path, "exam/lost acc")
    with pytest.raises(ValueError, match="no metric 'f1'"):
        items_of(tmp_path, "exam f1")


CLAIM: dict[str, Any] = {
    "name": "mean-rows",
    "claim": "Means beat zeros.",
    "source": "Someone",
    "arms": {"mean": {}, "zero": {}},
    "scores": ["heldout/zh bits_per_byte", "exam acc"],
    "limits": "One base.",
    "otherwise": "The base knows no bytes.",
}


def items(bits: float, right: float) -> dict[str, tuple[list[float], list[float]]]:
    return {
        "heldout/zh bits_per_byte": ([bits * 10, bits * 20 + 0.1], [10.0, 20.0]),
        "exam acc": ([right, 1.0, 0.0], [1.0, 1.0, 1.0]),
    }


def outcome(zero: float) -> list[tuple[dict[str, Any], Any]]:
    arms = {"mean": [items(0.6, 1.0)] * 3, "zero": [items(zero, 0.0)] * 3}
    return [(CLAIM, comparisons(CLAIM, arms))]


def test_the_page_says_what_holds() -> None:
    text = page(outcome(0.9), 3)
    [decides] = [line for line in text.splitlines() if "| zh, bits per byte |" in line]
    assert decides.startswith("| Means beat zeros. (Someone) | mean against zero |")
    assert "| 0.603 | 0.903 | +0.3000 ± 0.0000 | **holds** |" in decides
    [further] = [line for line in text.splitlines() if "| exam, acc |" in line]
    assert further.endswith(" |  |")  # only the first score of a claim has a verdict
    assert "One base." in text
    assert "The base knows no bytes." not in text


def test_the_page_says_what_does_not_hold_and_why_that_may_be() -> None:
    text = page(outcome(0.3), 3)
    assert "| −0.3000 ± 0.0000 | **the reverse** |" in text
    assert "Why it may not hold here: The base knows no bytes." in text


def test_the_page_says_what_has_not_run() -> None:
    found = comparisons(CLAIM, {"mean": [], "zero": []})
    assert found == []
    assert "One base. Not run yet." in page([(CLAIM, found)], 3)


def test_an_interval_around_zero_decides_nothing_while_seeds_are_missing() -> None:
    [(_, [first, *_])] = outcome(0.9)
    wide = Comparison(first.arms, first.score, True, 2, Gain(0.6, 0.9, 0.3, 0.5))
    assert "| **undecided** (2 of 3 seeds) |" in page([(CLAIM, [wide])], 3)
    assert "Why it may not hold" not in page([(CLAIM, [wide])], 3)
    assert "| **does not show at this scale** |" in page([(CLAIM, [wide])], 2)


def test_one_seed_decides_nothing(tmp_path: Path) -> None:
    found = comparisons(CLAIM, {"mean": [items(0.6, 1.0)], "zero": [items(0.9, 0.0)]})
    text = page([(CLAIM, found)], 3)
    assert "| +0.3000 | **undecided** (1 of 3 seeds) |" in text
    assert "Why it may not hold" not in text
    drawn([(CLAIM, found)], tmp_path / "one.svg")
    assert "mean-rows" in (tmp_path / "one.svg").read_text(encoding="utf-8")


def test_the_page_says_where_seeds_are_missing() -> None:
    assert "**holds** (3 of 4 seeds) |" in page(outcome(0.9), 4)


def test_arms_that_were_asked_different_items_are_refused() -> None:
    others = items(0.9, 0.0) | {"heldout/zh bits_per_byte": ([1.0, 2.0], [10.0, 21.0])}
    arms = {"mean": [items(0.6, 1.0)] * 2, "zero": [others] * 2}
    with pytest.raises(ValueError, match=r"mean-rows: heldout/zh .* different items"):
        comparisons(CLAIM, arms)


def test_the_picture_has_a_row_for_each_comparison_that_decides(tmp_path: Path) -> None:
    first, again = tmp_path / "images" / "a.svg", tmp_path / "b.svg"
    drawn(outcome(0.9), first)
    drawn(outcome(0.9), again)
    assert first.read_bytes() == again.read_bytes()
    words = " ".join(ElementTree.parse(first).getroot().itertext())
    assert "mean-rows: mean against zero" in words
    assert "exam" not in words
    [(_, of_claim)] = outcome(0.9)
    assert share(of_claim[0])[0] == pytest.approx(100 * 0.3 / (27.1 / 30))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_held_out_pages_are_not_in_the_crawl(language: str) -> None:
    fresh = texts.fresh_pages(language)
    crawled = {page.text for page in texts.demo("world").World(0).pages(language)}
    assert len(set(fresh)) == texts.PAGES
    assert not crawled & set(fresh)


def test_mirrors_are_near_copies_of_few_pages() -> None:
    copies = texts.mirrors("en", pages=2, copies=3)
    crawled = [page.text for page in texts.demo("world").World(0).pages("en")]
    assert len(copies) == 6
    assert {copy.rsplit("\n", 1)[0] for copy in copies} <= set(crawled)
    assert len({copy.rsplit("\n", 1)[0] for copy in copies}) == 2


def test_excerpts_are_of_one_length_and_apart() -> None:
    book = "".join(f"{number:010d}" for number in range(texts.EXCERPT))
    found = texts.excerpts([book, "too short"], count=4)
    assert [len(one) for one in found] == [texts.EXCERPT] * 4
    assert len(set(found)) == 4
    assert all(one in book for one in found)


def recipes_of(claim: dict[str, Any]) -> dict[str, Any]:
    return {
        arm: read_recipe(CLAIMS / claim["recipe"], settings_of(claim, arm, 0))
        for arm in claim["arms"]
    }


@pytest.mark.parametrize("claim", STATED, ids=[claim["name"] for claim in STATED])
def test_arms_train_on_the_same_number_of_tokens(claim: dict[str, Any]) -> None:
    """To a row for each phase: a phase ends with a whole step."""
    recipes = recipes_of(claim)
    tokens = {
        arm: sum(phase.tokens.amount for phase in recipe.training.phases)
        for arm, recipe in recipes.items()
    }
    assert len(set(tokens.values())) == 1, tokens
    rows = {recipe.binning.sequence_length for recipe in recipes.values()}
    assert len(rows) == 1


@pytest.mark.parametrize("claim", STATED, ids=[claim["name"] for claim in STATED])
def test_arms_are_measured_by_what_they_do_not_change(claim: dict[str, Any]) -> None:
    """Held-out text of a source that no arm touches, and questions of one benchmark."""
    recipes = recipes_of(claim)
    for score in claim["scores"]:
        row = score.split(" ")[0]
        for recipe in recipes.values():
            asked = [f"heldout/{category}" for category in recipe.categories()]
            asked += recipe.evaluation.tasks or ()
            assert row in asked or row.split("/")[0] in asked
            held = {
                name: source.model_dump()
                for name, source in recipe.sources.items()
                if row.removeprefix("heldout/") in source.categories()
            }
            first = next(iter(recipes.values()))
            assert held == {name: first.sources[name].model_dump() for name in held}
            assert recipe.select == first.select


def test_claims_of_the_issue_are_all_there() -> None:
    assert {claim["name"] for claim in STATED} == {
        "mean-rows", "align-first", "ramp", "buckets", "cooldown-batch", "document-mask",
        "downcycling", "first-layers", "rope", "perplexity-filter", "dedup", "decontamination",
    }  # fmt: skip


def test_a_key_follows_what_decides_a_score_and_no_comment(tmp_path: Path) -> None:
    [first, second, *_] = STATED
    assert key_of(first, "mean", 0) != key_of(first, "mean", 1)
    assert key_of(first, "mean", 0) != key_of(first, "zero", 0)
    assert key_of(first, "mean", 0) == key_of(second, "at once", 0)  # the same run
    assert key_of({**first, "limits": "another word"}, "mean", 0) == key_of(first, "mean", 0)
    recipe = tmp_path / "a.yaml"
    recipe.write_text("# a comment\nname: a\n", encoding="utf-8")
    assert extended(recipe) == [{"name": "a"}]
    [adapt, base, demo] = extended(CLAIMS / "adapt.yaml")
    assert [adapt["name"], base["name"], demo["name"]] == [
        "claims-adapt", "claims-base", "demo-base",
    ]  # fmt: skip
