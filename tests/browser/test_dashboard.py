"""The dashboard while a run trains, in a browser: its pages, Cancel, the lineage, the report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.browser.chromium import Chromium, Page
from tests.end_to_end.fixtures import Puna, Running, SmallRun
from tests.faults.test_kill import LEFT_BEHIND_S, wait_for_training

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

PATIENCE_S = 90.0
"""For a page that other processes keep waiting."""

LONG = (
    "training.phases.0.tokens=12M",
    "training.schedule.total=null",
    "training.max_epochs=16000",
    "training.checkpoint_every=1M",
)
"""Makes the small recipe's first phase train for minutes."""


def cards_of(puna: Puna, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The cards of a flow run's page, by the first word of their key."""
    chosen = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}, "limit": 100}
    return {card["key"].partition("-")[0]: card for card in puna.ask("artifacts/filter", chosen)}


def open_run(browser: Chromium, puna: Puna, run: dict[str, Any]) -> Page:
    page = browser.open(f"{puna.api_url.removesuffix('/api')}/v2/runs/flow-run/{run['id']}")
    page.wait_for_text("Subflow Runs", PATIENCE_S)
    return page


def show_card(page: Page, puna: Puna, card: dict[str, Any]) -> None:
    page.go(f"{puna.api_url.removesuffix('/api')}/v2/artifacts/artifact/{card['id']}")
    page.wait_for_text(card["key"], PATIENCE_S)


@dataclass(frozen=True)
class Trains:
    """A run that trains, as Prefect knows it."""

    running: Running
    run: dict[str, Any]
    stage: dict[str, Any]


@pytest.fixture(scope="module")
def trains(puna: Puna, small_run: SmallRun) -> Iterator[Trains]:
    """A run whose training has steps to show; the last test that uses it cancels it."""
    command = ("run", small_run.recipe, "--store", small_run.url, "--until", "training/first")
    running = puna.start(*command, *(word for change in LONG for word in ("-s", change)))
    assert wait_for_training(running, small_run.url), running.process.communicate()
    stage, run = puna.flow_runs()[:2]
    while "loss" not in cards_of(puna, stage):  # an open page does not hear of new cards
        assert running.process.poll() is None, running.process.communicate()
        time.sleep(1)
    yield Trains(running, run, stage)
    if running.process.poll() is None:
        running.kill_group()


def test_the_page_of_a_phase_shows_how_it_trains(
    browser: Chromium, puna: Puna, trains: Trains
) -> None:
    assert trains.stage["name"] == f"{trains.run['name']}: training/first"
    assert "small" in trains.stage["tags"]
    page = open_run(browser, puna, trains.stage)
    page.click("Artifacts", "[role=tab]")
    page.wait_for_text("loss-training-first", PATIENCE_S)
    words = "/ left, loss [0-9.]+, [0-9,]+ of 12,000,000 tokens/"
    page.wait_for(f"{words}.test(document.body.innerText)", PATIENCE_S)
    show_card(page, puna, cards_of(puna, trains.stage)["loss"])
    page.wait_for("[...document.images].some(image => image.naturalWidth > 300)", PATIENCE_S)
    for word in ("tokens/s", "left", "learning rate"):
        page.wait_for_text(word)
    address = "[...document.links].find(link => link.innerText.includes('training-first.svg'))"
    page.wait_for(f"{address}?.getBoundingClientRect().right < innerWidth")


def test_the_page_of_a_run_shows_its_stages_and_the_time_left(
    browser: Chromium, puna: Puna, trains: Trains
) -> None:
    page = open_run(browser, puna, trains.run)
    page.wait_for_text("event=started", PATIENCE_S)  # the log
    page.click("Artifacts", "[role=tab]")
    page.wait_for_text("left, 0 of 1 stages built, training/first running", PATIENCE_S)
    show_card(page, puna, cards_of(puna, trains.run)["stages"])
    first = "document.querySelector('tbody tr')?.innerText"
    page.wait_for(f"{first}?.startsWith('training/first')", PATIENCE_S)
    assert "running" in page.evaluate(first)


def test_a_run_is_cancelled(browser: Chromium, puna: Puna, trains: Trains) -> None:
    page = open_run(browser, puna, trains.run)
    page.click("Open menu")
    page.click("Cancel", "[role=menuitem]")
    page.click("Cancel Flow Run", "[role=alertdialog] button, [role=dialog] button")
    _, stderr = trains.running.process.communicate(timeout=240)
    assert trains.running.process.returncode == 75, stderr
    assert "has a checkpoint at step" in stderr
    assert trains.running.left_behind(LEFT_BEHIND_S) == []
    page.wait_for_text("Cancelled", PATIENCE_S)
    assert [one["state"]["name"] for one in puna.flow_runs()[:2]] == ["Cancelled", "Cancelled"]


@pytest.fixture(scope="module")
def ended(puna: Puna, small_run: SmallRun) -> dict[str, Any]:
    """A run that has drawn its report. Before it, somebody copied an earlier one."""
    command = ("run", small_run.recipe, "--store", small_run.url, "--force", "report")
    terminal = next(one for one in puna.ask("deployments/filter", {}) if one["name"] == "terminal")
    copied = puna.ask(
        f"deployments/{terminal['id']}/create_flow_run",
        {"parameters": {"recipe": str(small_run.recipe)}, "state": {"type": "SCHEDULED"}},
    )
    done = puna(*command)
    assert done.returncode == 0, done.stderr
    runs = {run["id"]: run for run in puna.flow_runs()}
    state = runs.pop(copied["id"])["state"]
    assert state["type"] == "CANCELLED"
    assert "No worker starts runs of this deployment" in state["message"]
    return next(run for run in runs.values() if run["parent_task_run_id"] is None)


def test_the_page_of_a_run_has_stages_benchmarks_and_lineage(
    browser: Chromium, puna: Puna, ended: dict[str, Any]
) -> None:
    cards = cards_of(puna, ended)
    assert set(cards) == {"stages", "lineage", "benchmarks", "report"}
    page = open_run(browser, puna, ended)
    page.click("Artifacts", "[role=tab]")
    for card in cards.values():
        page.wait_for_text(card["key"], PATIENCE_S)
    show_card(page, puna, cards["stages"])
    page.wait_for("document.querySelector('tbody tr')?.innerText.includes('built')", PATIENCE_S)
    show_card(page, puna, cards["benchmarks"])
    page.wait_for_text("bits_per_byte", PATIENCE_S)
    heads = page.evaluate("[...document.querySelectorAll('th')].map(one => one.innerText)")
    assert "n" in heads and "asked" in heads
    show_card(page, puna, cards["lineage"])
    drawn = "[...document.querySelectorAll('svg')].some(e => e.getBoundingClientRect().width > 300)"
    page.wait_for(drawn, PATIENCE_S)


def test_the_report_opens_from_the_page_of_its_run(
    browser: Chromium, puna: Puna, ended: dict[str, Any]
) -> None:
    page = open_run(browser, puna, ended)
    show_card(page, puna, cards_of(puna, ended)["report"])
    page.wait_for_text("Open the report", PATIENCE_S)
    address = page.evaluate(
        "[...document.links].find(link => link.innerText === 'Open the report').href"
    )
    assert address.startswith(puna.api_url.removesuffix("/api")) and address.endswith(".html")
    page.go(address)
    page.wait_for("document.querySelector('h1')?.innerText === 'small'", PATIENCE_S)
