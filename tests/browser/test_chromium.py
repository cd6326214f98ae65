"""The driver itself: sizes, colours, clicks, keys, pictures, what a screen reader is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.chromium import Chromium, DevToolsError

pytestmark = pytest.mark.browser

PAGE = """<!doctype html><html lang="en"><title>Small</title>
<meta name="viewport" content="width=device-width">
<style>@media (prefers-color-scheme: dark) { body { color: rgb(1, 2, 3) } }</style>
<h1>Hello</h1><button onclick="this.textContent = 'Clicked'">Click here</button>
<label>Name <input id="name"></label><div style="width: 900px">wide</div>"""


@pytest.fixture
def address(tmp_path: Path) -> str:
    (tmp_path / "page.html").write_text(PAGE)
    return (tmp_path / "page.html").as_uri()


def test_a_page_is_opened_looked_at_and_used(
    browser: Chromium, address: str, tmp_path: Path
) -> None:
    page = browser.open(address, width=390, height=700, dark=True)
    assert page.evaluate("[document.documentElement.clientWidth, document.title]") == [390, "Small"]
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(1, 2, 3)"
    page.click("Click here")
    page.wait_for_text("Clicked")
    page.press("Tab")
    page.type("Grüße")
    assert page.evaluate("document.querySelector('#name').value") == "Grüße"
    page.screenshot(tmp_path / "page.png", whole=True)
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
    nodes = list(page.accessible())
    assert {"heading", "button", "textbox"} <= {node["role"] for node in nodes}
    assert any(node["name"] == "Clicked" for node in nodes)


def test_what_goes_wrong_is_said(browser: Chromium, address: str) -> None:
    page = browser.open(address)
    with pytest.raises(DevToolsError, match="ERR_FILE_NOT_FOUND"):
        page.go(address + "x")
    page.go(address)
    with pytest.raises(DevToolsError, match="nothing is not defined"):
        page.evaluate("nothing")
    with pytest.raises(TimeoutError, match="the page says:\nHello"):
        page.wait_for_text("Goodbye", timeout_s=0.2)
