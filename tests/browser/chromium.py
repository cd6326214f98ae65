"""A headless Chromium, driven over its DevTools protocol.

    with Chromium() as browser:
        page = browser.open("http://127.0.0.1:4200", width=390, height=844, dark=True)
        page.wait_for("document.querySelector('h1')")
        page.click("Cancel")
        page.screenshot(Path("cancelled.png"))

The protocol: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
START_S = 30.0
REPLY_S = 30.0
WAIT_S = 15.0
LOAD_S = 90.0
"""For a page whose server and browser wait for busy cores."""
POLL_S = 0.05

FLAGS = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # /dev/shm is small in containers
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--no-proxy-server",
    "--force-color-profile=srgb",
    "--lang=en-US",
)

KEYS = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "Space": (32, " "),
    "Backspace": (8, ""),
    "ArrowDown": (40, ""),
    "ArrowUp": (38, ""),
}
"""Key -> its Windows virtual key code, and the text it types."""

CLICKABLE = "button, a, summary, label, input, [role], [tabindex], [onclick]"


def found() -> str | None:
    """Path of an installed Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class DevToolsError(RuntimeError):
    """What the browser refused, or a script of a page threw."""


class Channel:
    """One DevTools connection: numbered calls, each waiting for its reply."""

    def __init__(self, address: str) -> None:
        self.socket: ClientConnection = connect(address, max_size=None, proxy=None)
        self.number = 0

    def call(self, method: str, timeout_s: float = REPLY_S, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; events that arrive meanwhile are dropped.

        Raises:
            DevToolsError: if the browser answers with an error.
            TimeoutError: if it does not answer.
        """
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        end = time.monotonic() + timeout_s
        while True:
            reply = json.loads(self.socket.recv(timeout=max(0.0, end - time.monotonic())))
            if reply.get("id") == self.number:
                if "error" in reply:
                    raise DevToolsError(f"{method}: {reply['error']['message']}")
                result: dict[str, Any] = reply["result"]
                return result


class Chromium:
    """A headless browser with a profile of its own, both gone at the end of the `with`."""

    def __enter__(self) -> Self:
        executable = found()
        if executable is None:
            raise FileNotFoundError(f"no Chromium on the PATH, looked for {', '.join(NAMES)}")
        self.profile = Path(tempfile.mkdtemp(prefix="chromium-"))
        as_root = ("--no-sandbox",) if os.geteuid() == 0 else ()
        self.process = subprocess.Popen(
            [executable, *FLAGS, *as_root, f"--user-data-dir={self.profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.port, path = self._address()
            self.channel = Channel(f"ws://127.0.0.1:{self.port}{path}")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):
            self.channel.call("Browser.close", timeout_s=5)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self._end()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

    def _address(self) -> tuple[int, str]:
        """Port and path that the browser notes in its profile once it listens."""
        note = self.profile / "DevToolsActivePort"
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            lines = note.read_text().split() if note.exists() else []
            if len(lines) == 2:
                return int(lines[0]), lines[1]
            time.sleep(POLL_S)
        raise TimeoutError(f"Chromium did not start within {START_S:.0f} s")

    def open(self, url: str, *, width: int = 1500, height: int = 1000, dark: bool = False) -> Page:
        """A new tab that has loaded `url`, in CSS pixels; below 600 it is a phone's."""
        target = self.channel.call("Target.createTarget", url="about:blank")["targetId"]
        page = Page(Channel(f"ws://127.0.0.1:{self.port}/devtools/page/{target}"))
        page.call("Page.enable")
        page.look(width, height, dark=dark)
        page.go(url)
        return page


class Page:
    """One tab."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.call = channel.call

    def look(self, width: int, height: int = 1000, *, dark: bool = False) -> None:
        """Set the viewport, and whether the user prefers dark colours."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.call("Emulation.setEmulatedMedia", features=[scheme, still])

    def go(self, url: str) -> None:
        """Open an address and wait until it is loaded.

        Raises:
            DevToolsError: if it cannot be opened.
        """
        if failure := self.call("Page.navigate", url=url).get("errorText"):
            raise DevToolsError(f"{url}: {failure}")
        loaded = "document.readyState === 'complete' && location.href !== 'about:blank'"
        self.wait_for(loaded, LOAD_S)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression, awaited; JSON types only.

        Raises:
            DevToolsError: if the script throws.
        """
        reply = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if thrown := reply.get("exceptionDetails"):
            raise DevToolsError(thrown.get("exception", {}).get("description", thrown["text"]))
        return reply["result"].get("value")

    def wait_for(self, condition: str, timeout_s: float = WAIT_S) -> Any:
        """Evaluate an expression until it is true, and return its value.

        Raises:
            TimeoutError: with the text of the page, if it stays false.
        """
        end = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(DevToolsError):  # the document is being replaced
                if value := self.evaluate(condition):
                    return value
            if time.monotonic() > end:
                raise TimeoutError(
                    f"not true within {timeout_s} s: {condition}\nthe page says:\n{self.text()}"
                )
            time.sleep(POLL_S)

    def wait_for_text(self, text: str, timeout_s: float = WAIT_S) -> None:
        """Wait until the page shows a text."""
        self.wait_for(f"document.body.innerText.includes({json.dumps(text)})", timeout_s)

    def text(self) -> str:
        """The text that the page shows."""
        return str(self.evaluate("document.body?.innerText ?? ''"))

    def click(self, text: str, selector: str = CLICKABLE, timeout_s: float = WAIT_S) -> None:
        """Click the first visible element that matches `selector` and is called `text`: by its
        text, else its label or its place holder. An element that only contains the text comes
        last.
        """
        script = f"""(() => {{
          const wanted = {json.dumps(text)};
          const name = e => [e.innerText, e.ariaLabel, e.title, e.placeholder, e.value]
            .filter(s => typeof s === 'string').map(s => s.trim());
          const seen = [...document.querySelectorAll({json.dumps(selector)})].filter(e =>
            e.checkVisibility({{visibilityProperty: true}}) && e.getClientRects().length);
          const by = test => seen.filter(e => name(e).some(test)).sort((a, b) =>
            a.innerText?.length - b.innerText?.length)[0];
          const found = by(s => s === wanted) ?? by(s => s.includes(wanted));
          if (!found) return null;
          found.scrollIntoView({{block: 'center', inline: 'center', behavior: 'instant'}});
          const box = found.getBoundingClientRect();
          return {{x: box.x + box.width / 2, y: box.y + box.height / 2}};
        }})()"""
        self.click_at(**self.wait_for(script, timeout_s))

    def click_at(self, x: float, y: float) -> None:
        """Click a point of the viewport, in CSS pixels."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Type a text where the focus is."""
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press and release a key of KEYS."""
        code, text = KEYS[key]
        event: dict[str, Any] = {
            "key": text if key == "Space" else key,
            "code": key,
            "windowsVirtualKeyCode": code,
        }
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        self.call("Input.dispatchKeyEvent", **event, **down)
        self.call("Input.dispatchKeyEvent", **event, type="keyUp")

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write a PNG of the viewport, or of the `whole` page."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
            found = self.call(
                "Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip
            )
        path.write_bytes(base64.b64decode(found["data"]))

    def accessible(self) -> Iterator[dict[str, Any]]:
        """Nodes of the accessibility tree that a screen reader meets, in reading order.

        Each has `role`, `name`, `description` and `properties` (name -> value).
        """
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        for node in nodes:
            if not node["ignored"]:
                yield {
                    "role": node["role"]["value"],
                    "name": node.get("name", {}).get("value", ""),
                    "description": node.get("description", {}).get("value", ""),
                    "properties": {
                        entry["name"]: entry["value"].get("value")
                        for entry in node.get("properties", ())
                    },
                }
