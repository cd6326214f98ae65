"""A second run does nothing; a change reruns what it touches and what follows, nothing before
it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.fixtures import Done, Puna, SmallRun

pytestmark = pytest.mark.timeout(
    900
)  # the whole runs behind a first test take minutes on a busy machine

MIXTURE = "training.phases.1.mixture={web-zh: 0.9, web-en: rest}"


def built(done: Done) -> set[str]:
    return {id for id, result in done.results().items() if result != "hit"}


def test_a_second_run_is_all_hits_and_starts_no_flow(puna: Puna, small_run: SmallRun) -> None:
    before = len(puna.flow_runs()), len(small_run.store.runs())
    again = puna("run", small_run.recipe, "--store", small_run.url, "--json")
    assert again.returncode == 0
    assert (
        set(again.results().values()) == {"hit"}
        and again.json["scores"] == small_run.done.json["scores"]
    )
    assert again.json["report"] == small_run.done.json["report"]
    assert (len(puna.flow_runs()), len(small_run.store.runs())) == before


def test_a_threshold_of_dedup_reruns_dedup_and_what_follows(
    puna: Puna, small_run: SmallRun
) -> None:
    change = ("-s", "dedup.verify=0.9", "--store", small_run.url)
    planned = puna("plan", small_run.recipe, *change, "--json")
    everything = list(planned.results())
    assert [id for id in everything if planned.results()[id] == "run"] == everything[
        everything.index("dedup/main") :
    ]
    done = puna("run", small_run.recipe, *change, "--until", "select", "--json")
    assert done.returncode == 0, done.stderr
    selected = {id for id, result in done.results().items() if result == "built"}
    assert selected == {"dedup/main", "select/crawl", "select/letters"}
    assert "verify: 0.8 -> 0.9" in next(
        s["why"] for s in done.json["stages"] if s["stage"] == "dedup"
    )


def test_a_threshold_that_drops_nothing_trains_nothing_again(
    puna: Puna, small_run: SmallRun
) -> None:
    change = ("-s", "sources.crawl.langid.keep.threshold=0.4001", "--store", small_run.url)
    planned = puna("plan", small_run.recipe, *change, "--json")
    whys = {f"{s['stage']}/{s['name']}": s["why"] for s in planned.json["stages"]}
    assert planned.results()["training/first"] == "run"
    assert whys["tokenizer/main"].endswith("changed, unless it turns out to hold the same")
    done = puna("run", small_run.recipe, *change, "--json")
    assert done.returncode == 0, done.stderr
    assert built(done) == {
        "cut/main", "dedup/main", "select/crawl", "select/letters", "report/small"
    }  # fmt: skip
    assert "hit     training/first  what it reads holds the same as before" in done.stderr
    first = {f"{s['stage']}/{s['name']}": s["version"] for s in small_run.done.json["stages"]}
    again = {f"{s['stage']}/{s['name']}": s["version"] for s in done.json["stages"]}
    assert again["training/second"] == first["training/second"]
    assert set(puna("plan", small_run.recipe, *change, "--json").results().values()) == {"hit"}


def test_the_last_phases_mixture_reruns_it_its_evaluation_and_the_report(
    puna: Puna, small_run: SmallRun, tmp_path: Path
) -> None:
    done = puna("run", small_run.recipe, "-s", MIXTURE, "--store", small_run.url, "--json")
    assert done.returncode == 0, done.stderr
    assert built(done) == {"training/second", "evaluation/second", "report/small"}
    page = tmp_path / "two.html"
    first = small_run.done.json["run"]
    compared = puna(
        "report", first, done.json["run"], "--store", small_run.url, "--output", str(page)
    )
    assert compared.stdout.strip() == str(page), compared.stderr
    said = page.read_text(encoding="utf-8")
    assert "1 change<" in said and "training.<wbr>phases.<wbr>second.<wbr>mixture" in said
    missing = puna("report", first, "20261121-no-such-run", "--store", small_run.url)
    assert missing.returncode == 2 and "has no run of that name" in missing.stderr
