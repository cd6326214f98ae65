"""A stage run again from the dashboard: by the deployment's form, and by "Copy to new run"."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.chromium import Chromium, Page
from tests.browser.test_dashboard import PATIENCE_S, open_run
from tests.end_to_end.fixtures import Puna, Running, SmallRun

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

OVERRIDE = "sources.crawl.langid.keep.threshold=0.6"
FORM = "!!document.querySelector('form [type=submit]')"
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
RUN_S = 240.0


@pytest.fixture(scope="module")
def serving(puna: Puna, small_run: SmallRun) -> Iterator[Running]:
    """`puna serve` of the small recipe, which is also the worker."""
    running = puna.start("serve", small_run.recipe, "--store", small_run.url)
    yield running
    os.killpg(running.process.pid, signal.SIGTERM)
    running.process.communicate(timeout=60)
    assert running.left_behind(60) == []


def until(found: Callable[[], Any], running: Running, within_s: float) -> Any:
    """What `found` returns once it is true, while `puna serve` lives."""
    end = time.monotonic() + within_s
    while not (value := found()):
        assert running.process.poll() is None, running.process.communicate()
        assert time.monotonic() < end, f"not within {within_s} s"
        time.sleep(1)
    return value


def runs_of(puna: Puna, deployment: dict[str, Any]) -> list[dict[str, Any]]:
    """A deployment's runs, the newest first."""
    chosen = {"flow_runs": {"deployment_id": {"any_": [deployment["id"]]}}}
    found: list[dict[str, Any]] = puna.ask(
        "flow_runs/filter", chosen | {"sort": "EXPECTED_START_TIME_DESC"}
    )
    return found


def submit(page: Page) -> None:
    page.click("Submit", "button")
    page.wait_for("!location.pathname.endsWith('/run')", PATIENCE_S)


def test_a_stage_is_run_again_from_the_form_and_from_a_copy_of_that_run(
    browser: Chromium, puna: Puna, small_run: SmallRun, serving: Running
) -> None:
    def deployed() -> dict[str, Any] | None:
        found = puna.ask("deployments/filter", {})
        return next((one for one in found if one["name"] == "small-cut"), None)

    def ended(count: int) -> list[dict[str, Any]]:
        runs = runs_of(puna, deployment)
        done = len(runs) == count and all(run["state"]["type"] in ENDED for run in runs)
        return runs if done else []

    deployment = until(deployed, serving, RUN_S)
    page = browser.open(f"{puna.api_url.removesuffix('/api')}/v2/deployments")
    page.wait_for_text("small-cut", PATIENCE_S)
    page.click("small-cut", "a")
    page.wait_for_text("Schedules", PATIENCE_S)
    page.click("Run", "button")
    page.click("Custom run", "[role=menuitem]")
    page.wait_for(FORM, PATIENCE_S)
    for words in ("Values of the recipe to change", "Build it again even if the store has it"):
        page.wait_for_text(words, PATIENCE_S)
    page.click("Add item", "button")  # the first list is that of overrides
    page.wait_for("document.querySelectorAll('form textarea').length === 4", PATIENCE_S)
    page.evaluate("document.querySelectorAll('form textarea')[2].focus()")
    page.type(OVERRIDE)
    submit(page)
    (first,) = until(lambda: ended(1), serving, RUN_S)
    assert first["state"]["type"] == "COMPLETED", first["state"]
    assert first["parameters"]["overrides"] == [OVERRIDE]
    assert first["name"].startswith("small-") and first["name"].endswith(": only cut")

    page = open_run(browser, puna, first)
    page.click("Open menu")
    page.click("Copy to new run", "[role=menuitem]")
    page.wait_for(FORM, PATIENCE_S)
    filled = "[...document.querySelectorAll('form textarea')].map(box => box.value)"
    page.wait_for(f"{filled}.includes({OVERRIDE!r})", PATIENCE_S)
    force = "[...document.querySelectorAll('form [role=switch]')][0]"
    page.evaluate(f"{force}.click()")
    submit(page)
    second, _ = until(lambda: ended(2), serving, RUN_S)
    assert second["state"]["type"] == "COMPLETED", second["state"]
    assert second["parameters"] == first["parameters"] | {"force": True}
    built = [
        {stage["stage"]: stage["result"] for stage in run["stages"]}
        for run in small_run.store.runs()[-2:]
    ]
    for results in built:  # nothing before it is computed again, and nothing after it
        assert {name for name, result in results.items() if result == "built"} == {"cut"}
