"""The report in a browser: on a phone and a wide screen, in the dark, by keyboard, read aloud."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks.report.compare import compare
from tasks.report.page import page as draw
from tasks.report.side import Side
from tasks.report.summary import summary
from tests.browser.chromium import Chromium, Page
from tests.tasks.report.made import made
from tests.tasks.report.sample_run import CARD, FELL, whole_run

pytestmark = pytest.mark.browser

PHONE, DESK = 390, 1500
PAGES = ("one", "two")

TEXTS = """
const texts = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode, parent = node.parentElement;
  if (!node.data.trim() || parent.closest('script, style, .skip, .sizer')) continue;
  if (!parent.checkVisibility({visibilityProperty: true})) continue;
  const heads = parent.closest('thead');
  if (heads && getComputedStyle(heads).position === 'absolute') continue;  // only read aloud
  texts.push([node, parent]);
}
const rects = (node, from, to) => {
  const range = document.createRange();
  range.setStart(node, from);
  range.setEnd(node, to);
  return [...range.getClientRects()].filter(box => box.width > 0.5);
};
"""
"""JavaScript: `texts`, every visible text with its element; `rects`, the boxes of a part of one."""

OUTSIDE = (
    "(() => {"
    + TEXTS
    + """
const found = [];
for (const [node, parent] of texts) {
  if (parent.closest('.pan')) continue;  // moved by its own bar
  const frame = (parent.closest('section') ?? document.documentElement).getBoundingClientRect();
  for (const box of rects(node, 0, node.length))
    if (box.left < frame.left - 0.5 || box.right > Math.min(frame.right, innerWidth) + 0.5)
      found.push(node.data.trim().slice(0, 60));
}
return found;
})()"""
)

BROKEN = (
    "(() => {"
    + TEXTS
    + r"""
const found = [];
for (const [node, parent] of texts) {
  if (!parent.closest('.n, .headlines')) continue;
  for (const number of node.data.matchAll(/[−+-]?\d[\d,.]*%?/g))
    if (rects(node, number.index, number.index + number[0].length).length > 1)
      found.push(number[0]);
}
return found;
})()"""
)

FAINT = (
    "(() => {"
    + TEXTS
    + r"""
const channels = colour => colour.match(/[\d.]+/g).map(Number);
const light = colour => {
  const [r, g, b] = channels(colour).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ratio = (one, other) => {
  const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
};
const behind = element => {
  for (let at = element; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if (channels(colour)[3] !== 0) return colour;
  }
  return 'rgb(255, 255, 255)';
};
const found = [];
for (const [node, parent] of texts) {
  const style = getComputedStyle(parent), svg = parent.closest('svg');
  const box = svg && getComputedStyle(parent.parentElement.querySelector('rect')).fill;
  const ground = svg && box !== 'none' ? box : behind(parent);
  const got = ratio(svg ? style.fill : style.color, ground);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
  if (got < (large ? 3 : 4.5)) found.push([node.data.trim().slice(0, 40), +got.toFixed(2)]);
}
for (const shape of document.querySelectorAll('path.line, .key, .curve')) {
  const style = getComputedStyle(shape);
  const got = ratio(shape.tagName === 'path' ? style.stroke : style.borderTopColor, behind(shape));
  if (got < 3) found.push([shape.className.baseVal ?? shape.className, +got.toFixed(2)]);
}
return found;
})()"""
)

FOCUSED = """(() => {
  const at = document.activeElement, box = at.getBoundingClientRect();
  const style = getComputedStyle(at), name = (at.innerText || at.ariaLabel || '').trim();
  return {
    name: at === document.body ? '' : at.tagName + ' ' + name,
    ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
    seen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
  };
})()"""


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Name of a page -> its address: the report of one run, and that of two."""
    folder = tmp_path_factory.mktemp("report")
    run = whole_run(folder / "first", few=True, decontaminated=())
    other = whole_run(folder / "second", right=70, loss=11.0)
    card = made("scorecard", {"refused": [FELL]}, {"scorecard.json": CARD}, folder)
    run |= {"scorecard": (card,)}
    stated = {"name": "one", "training": {"optimizer": {"lr": 1e-3}}}
    drawn = {
        "one": draw("one", run, summary(run), stated, dollars_per_hour=2.5),
        "two": compare(Side("one", run, stated), Side("two", other, stated | {"name": "two"})),
    }
    for name, html in drawn.items():
        (folder / f"{name}.html").write_text(html, encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in drawn}


def unfold(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")


@pytest.mark.parametrize("width", [PHONE, 800, DESK])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut_off(
    browser: Chromium, addresses: dict[str, str], name: str, width: int
) -> None:
    page = browser.open(addresses[name], width=width)
    unfold(page)
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate(BROKEN) == []
    assert "123,456,789,012" in page.text()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", PAGES)
def test_everything_stands_out_from_its_ground(
    browser: Chromium, addresses: dict[str, str], name: str, dark: bool
) -> None:
    page = browser.open(addresses[name], dark=dark)
    unfold(page)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground.strip("rgb()").split(","))) < 200) is dark
    assert page.evaluate(FAINT) == []


def test_the_page_is_used_by_keyboard(browser: Chromium, addresses: dict[str, str]) -> None:
    page = browser.open(addresses["one"], height=700)
    page.press("Tab")
    first = page.evaluate(FOCUSED)
    assert first == {"name": "A Skip to the report", "ring": True, "seen": True}
    page.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    stops: list[dict[str, Any]] = []
    for _ in range(200):
        page.press("Tab")
        stop = page.evaluate(FOCUSED)
        if not stop["name"] or stop in stops:
            break
        stops.append(stop)
    assert [stop["name"] for stop in stops if not (stop["ring"] and stop["seen"])] == []
    inside = "#main :is(a, summary, [tabindex='0'])"
    shown = f"[...document.querySelectorAll({inside!r})].filter(one => one.checkVisibility())"
    wanted = page.evaluate(
        f"{shown}.map(one => one.tagName + ' ' + (one.innerText || one.ariaLabel || '').trim())"
    )
    assert [stop["name"] for stop in stops] == wanted and len(wanted) > 5
    page.evaluate("document.querySelector('summary').focus()")
    page.press("Enter")
    assert page.evaluate("document.querySelector('details').open") is True


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_read_aloud(
    browser: Chromium, addresses: dict[str, str], name: str, width: int
) -> None:
    page = browser.open(addresses[name], width=width)
    unfold(page)
    nodes = list(page.accessible())
    roles = [node["role"] for node in nodes]
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert roles.count(landmark) == 1, landmark
    levels = [node["properties"]["level"] for node in nodes if node["role"] == "heading"]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    needed = ("table", "image", "region", "DisclosureTriangle", "link", "columnheader", "rowheader")
    assert _nameless(nodes, needed) == []
    tables = page.evaluate("document.querySelectorAll('table').length")
    assert roles.count("table") == tables > 3
    assert roles.count("columnheader") > 2 * tables and roles.count("rowheader") > tables
    assert name != "one" or roles.count("image") >= 6


def _nameless(nodes: Sequence[dict[str, Any]], roles: Sequence[str]) -> list[dict[str, Any]]:
    return [node for node in nodes if node["role"] in roles and not node["name"].strip()]


def test_the_page_asks_for_nothing_from_elsewhere(addresses: dict[str, str]) -> None:
    for address in addresses.values():
        html = Path(address.removeprefix("file://")).read_text()
        for sign in ("<script", "<link", "<img", "@import", "url(", "http://", "https://"):
            assert sign not in html, sign
