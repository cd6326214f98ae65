"""The dashboard while a run trains, in a browser: its pages, Cancel, the lineage, the report."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.browser.chromium import Chromium, Page
from tests.end_to_end.fixtures import Puna, SmallRun
from tests.faults.test_kill import LEFT_BEHIND_S, wait_for_training

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

PATIENCE_S = 90.0
"""For a page that other processes keep waiting."""


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


def test_a_training_run_is_watched_and_cancelled(
    browser: Chromium, puna: Puna, small_run: SmallRun
) -> None:
    changes = (
        "training.phases.0.tokens=3M",
        "training.schedule.total=null",
        "training.max_epochs=4000",
        "training.checkpoint_every=1M",
    )
    command = ("run", small_run.recipe, "--store", small_run.url, "--until", "training/first")
    running = puna.start(*command, *(word for change in changes for word in ("-s", change)))
    assert wait_for_training(running, small_run.url), running.process.communicate()
    stage, run = puna.flow_runs()[:2]
    assert stage["name"] == f"{run['name']}: training/first" and "small" in stage["tags"]
    while "loss" not in cards_of(puna, stage):  # an open page does not hear of new cards
        assert running.process.poll() is None, running.process.communicate()
        time.sleep(1)

    page = open_run(browser, puna, stage)
    page.click("Artifacts", "[role=tab]")
    page.wait_for_text("loss-training-first", PATIENCE_S)
    words = "/ left, loss [0-9.]+, [0-9,]+ of 3,000,000 tokens/"
    page.wait_for(f"{words}.test(document.body.innerText)", PATIENCE_S)
    show_card(page, puna, cards_of(puna, stage)["loss"])
    page.wait_for("[...document.images].some(image => image.naturalWidth > 300)", PATIENCE_S)
    for word in ("tokens/s", "left", "learning rate"):
        page.wait_for_text(word)

    page = open_run(browser, puna, run)
    page.wait_for_text("event=started", PATIENCE_S)  # the log
    page.click("Artifacts", "[role=tab]")
    page.wait_for_text("left, 0 of 1 stages built, training/first running", PATIENCE_S)
    page.click("Open menu")
    page.click("Cancel", "[role=menuitem]")
    page.click("Cancel Flow Run", "[role=alertdialog] button, [role=dialog] button")
    _, stderr = running.process.communicate(timeout=240)
    assert running.process.returncode == 75 and "has a checkpoint at step" in stderr, stderr
    assert running.left_behind(LEFT_BEHIND_S) == []
    page.wait_for_text("Cancelled", PATIENCE_S)
    assert [one["state"]["name"] for one in puna.flow_runs()[:2]] == ["Cancelled", "Cancelled"]


def test_the_report_opens_from_the_page_of_its_run(
    browser: Chromium, puna: Puna, small_run: SmallRun
) -> None:
    first = next(run for run in puna.flow_runs() if run["parent_task_run_id"] is None)
    copied = puna.ask(  # as Copy to new run does
        f"deployments/{first['deployment_id']}/create_flow_run",
        {"parameters": first["parameters"], "state": {"type": "SCHEDULED"}},
    )
    command = ("run", small_run.recipe, "--store", small_run.url, "--force", "report")
    assert puna(*command).returncode == 0
    runs = {run["id"]: run for run in puna.flow_runs()}
    copied = runs.pop(copied["id"])
    assert copied["state"]["type"] == "CANCELLED"
    assert "No worker starts runs of this deployment" in copied["state"]["message"]
    run = next(run for run in runs.values() if run["parent_task_run_id"] is None)
    cards = cards_of(puna, run)
    assert set(cards) == {"stages", "lineage", "benchmarks", "report"}
    page = open_run(browser, puna, run)
    show_card(page, puna, cards["benchmarks"])
    page.wait_for_text("bits_per_byte", PATIENCE_S)
    show_card(page, puna, cards["lineage"])
    drawn = "[...document.querySelectorAll('svg')].some(e => e.getBoundingClientRect().width > 300)"
    page.wait_for(drawn, PATIENCE_S)
    show_card(page, puna, cards["report"])
    page.wait_for_text("Open the report", PATIENCE_S)
    address = page.evaluate(
        "[...document.links].find(link => link.innerText === 'Open the report').href"
    )
    page.go(address)
    page.wait_for("document.querySelector('h1')?.innerText === 'small'", PATIENCE_S)
