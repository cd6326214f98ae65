"""Takes the dashboard's pictures for README and the tutorial, of a finished run.

    puna run german.yaml                 # that of docs/tutorial.md; prints the dashboard's address
    puna deploy german.yaml              # so that there is a form
    python -m tests.browser.pictures http://127.0.0.1:4200 german-3fa9

Names of runs are those of the list of runs. The pictures go to docs/images.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.browser.chromium import Chromium, Page

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WIDTH, HEIGHT = 1300, 900
DRAWN_S = 12.0
"""The graph of a run is drawn on a canvas, and nothing tells when that is done."""

MOST_BYTES = 150_000


def ask(address: str, path: str, content: dict[str, Any]) -> list[dict[str, Any]]:
    """What the server's API finds."""
    request = urllib.request.Request(
        f"{address}/api/{path}", json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: list[dict[str, Any]] = json.load(answer)
    return found


def run_called(address: str, name: str) -> dict[str, Any]:
    """The newest run of that name; ends the program if there is none."""
    chosen = {"flow_runs": {"name": {"any_": [name]}}, "sort": "START_TIME_DESC"}
    found = ask(address, "flow_runs/filter", chosen)
    if not found:
        sys.exit(f"{address} has no run called {name}; its list of runs has the names")
    return found[0]


def card_of(address: str, run: dict[str, Any], kind: str) -> dict[str, Any]:
    """The card of a run whose key begins with that word."""
    chosen = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}
    cards = ask(address, "artifacts/filter", chosen)
    return next(card for card in cards if card["key"].startswith(f"{kind}-"))


def save(page: Page, name: str, height: int = HEIGHT) -> None:
    """Write a picture of the top of the page; ends the program where it is too large."""
    page.look(WIDTH, height)
    time.sleep(1)
    file = IMAGES / f"{name}.png"
    page.screenshot(file)
    size = file.stat().st_size
    print(f"{file}: {size:,} bytes")  # noqa: T201
    if size > MOST_BYTES:
        sys.exit(f"more than {MOST_BYTES:,} bytes: make the page lower or narrower")


def main(address: str, name: str) -> None:
    """Take all pictures."""
    run = run_called(address, name)
    chosen = {"flow_runs": {"parent_flow_run_id": {"any_": [run["id"]]}}}
    stages = ask(address, "flow_runs/filter", chosen | {"sort": "START_TIME_DESC"})
    phase = next(one for one in stages if ": training/" in one["name"])
    pages = f"{address}/v2"
    with Chromium() as browser:
        page = browser.open(f"{pages}/runs/flow-run/{run['id']}?tab=Artifacts", width=WIDTH)
        page.wait_for_text("benchmarks-")
        time.sleep(DRAWN_S)
        save(page, "dashboard-run")
        page.go(f"{pages}/artifacts/artifact/{card_of(address, phase, 'loss')['id']}")
        page.wait_for("[...document.images].some(image => image.naturalWidth > 300)")
        save(page, "dashboard-loss", 620)
        cut = next(
            one for one in ask(address, "deployments/filter", {}) if one["name"].endswith("-cut")
        )
        parameters = urllib.request.quote(json.dumps(cut["parameters"]))
        page.go(f"{pages}/deployments/deployment/{cut['id']}/run?parameters={parameters}")
        page.wait_for_text("Values of the recipe to change")
        save(page, "dashboard-form", 1000)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1].removesuffix("/"), sys.argv[2])
