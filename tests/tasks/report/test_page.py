"""The whole page: what is said at its top, and two runs beside each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks.report import head
from tasks.report.compare import compare
from tasks.report.page import page
from tasks.report.side import Side
from tasks.report.summary import summary
from tasks.report.warnings import warnings
from tests.tasks.report.made import made
from tests.tasks.report.sample_run import CARD, FELL, MANY, whole_run


def text(html: str) -> str:
    """What a page says, without its markup, on one line."""
    body = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL).replace("<wbr>", "")
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_the_top_says_what_was_done_what_changed_what_it_cost_and_where_it_is(
    tmp_path: Path,
) -> None:
    run = whole_run(tmp_path, right=60)
    stated = {"name": "r", "training": {"phases": [{"name": "align"}]}}
    html = page("r", run, summary(run), stated, dollars_per_hour=2.5)
    said = text(html)
    assert (
        "tiny-base/training/basic (1.1B parameters) got 1,152 new tokens (32,000 in all) and was "
        "trained further on 2.22T tokens in 2 phases: align (embeddings only, 40% web-zh, 60% "
        "web-en), then inject (40% web-zh, 60% web-en)."
    ) in said
    assert "What changed from base to inject" in said
    # 34 of 100 items became right, none wrong: the paired error is that of 34 ones
    assert f"+0.340 ± {(0.34 * 0.66 / 99) ** 0.5:.3f} 0.260 → 0.600" in said
    assert "Training held its hardware for 4.0 h: $10.00 at $2.50 an hour." in said
    assert f"path = &#34;{run['training'][-1].data.local_root}/checkpoint&#34;" in html
    assert "- name: align" in html
    assert (
        "Read this first" in said
        and "base, align answer exam no better than guessing (0.250" in said
    )
    assert f"{MANY:,}" in said


def test_a_clean_run_has_nothing_to_read_first(tmp_path: Path) -> None:
    run = {stage: found for stage, found in whole_run(tmp_path).items() if stage != "evaluation"}
    assert warnings(run, summary(run)) == []
    assert "Read this first" not in page("r", run, summary(run))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"right": 28}, "No model answers exam better than guessing (0.250"),
        ({"loss": 11.0}, "Phase inject has diverged: its last loss is 11.00 nats a token"),
        ({"loss": float("nan")}, "Phase inject has diverged"),
        ({"few": True}, "heldout/web-zh is scored on 45 documents with 6,839 characters, too few"),
        ({"decontaminated": ()}, "3 of the 100 items of exam were found in"),
    ],
)
def test_what_a_reader_must_know_is_said_in_words(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    run = whole_run(tmp_path, **changes)  # type: ignore[arg-type]
    found = warnings(run, summary(run))
    assert any(said in one for one in found), found


def test_a_crawl_is_held_against_the_promoted_run(tmp_path: Path) -> None:
    card = made("scorecard", {"refused": [FELL]}, {"scorecard.json": CARD}, tmp_path)
    run = {"scorecard": (card,)}
    assert warnings(run, summary(run)) == [f"Not promoted: {FELL}"]
    said = text(page("r", run, summary(run)))
    for words in (
        "exam acc 1,234 0.500 0.400 −0.100 ± 0.020 3 standard errors, 0.0600 too far",
        "crawl, dedup 100 90 −10.0%",
        "Earlier crawls have 50 of 200 documents (25.0%), 7 of them under the same id.",
        "zh 90 80.0% 90.0%",
        "2 are new, with 10.0% of the documents; 1 have vanished",
        "a.example 8",
    ):
        assert words in said, words
    first = made("scorecard", {"refused": []}, {"scorecard.json": {"first": True}}, tmp_path / "f")
    assert "nothing to compare with" in page("r", {}, summary({"scorecard": (first,)}))


@pytest.mark.parametrize(
    ("base", "name"),
    [
        ("/models/Llama-2-7b", "Llama-2-7b"),
        ("hf://meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-7b-hf"),
        ("artifact:demo-base/training/basic@latest", "demo-base/training/basic"),
    ],
)
def test_a_base_has_a_short_name(base: str, name: str) -> None:
    assert head.name_of(base) == name


def test_two_runs_beside_each_other(tmp_path: Path) -> None:
    first, second = (whole_run(tmp_path / name, right=n) for name, n in (("a", 40), ("b", 55)))
    recipes = (
        {"seed": 0, "phases": [{"name": "align", "lr": 1e-3}, {"name": "inject", "lr": 1e-3}]},
        {"seed": 0, "phases": [{"name": "align", "lr": 2e-3}, {"name": "inject", "lr": 1e-3}]},
    )
    html = compare(Side("one", first, recipes[0]), Side("two", second, recipes[1]))
    said = text(html)
    assert "1 change key one two phases.align.lr 0.001 0.002" in said
    assert f"exam acc 100 0.400 0.550 +0.150 ± {(0.15 * 0.85 / 99) ** 0.5:.3f}, paired" in said
    assert "one and two: base, align answer exam no better than guessing" in said
    same = compare(Side("one", first, recipes[0]), Side("two", first, recipes[0]))
    assert "Nothing: the recipes are the same." in same
    assert re.search(r"(\d+) of \1 artifacts are the same in both runs", same)
    unknown = compare(Side("one", first), Side("two", second))
    assert "reported before reports held recipes" in unknown
