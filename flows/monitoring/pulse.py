"""Heartbeats of a run's flow runs, sent by a process of their own.

Prefect sends them from a thread, every 180 s. A thread is silent while a C call holds the
interpreter's lock, and an automation that waits for heartbeats would call a living run crashed.
The process here is silent only when the run's own is gone: it reads a pipe, which the kernel closes
however the run ends. It needs the standard library alone and takes 10 MB.

Lines of JSON say what to do: first `{"url": ..., "headers": {...}, "every_s": 30}`, then `{"begin":
resource, "flow": name}` and `{"end": resource}` for each flow run.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

EVERY_S = 30.0
"""Seconds between two heartbeats of a flow run."""

HEARTBEAT = "prefect.flow-run.heartbeat"


class Pulse:
    """The process that sends heartbeats for the flow runs of this one; see the module's docstring.
    Where it cannot run, the run goes on without heartbeats.
    """

    def __init__(self, url: str, headers: dict[str, str], every_s: float = EVERY_S) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # ^C is for the run, which still closes its flow runs after it
            text=True,
        )
        self._tell({"url": url, "headers": headers, "every_s": every_s})

    @contextlib.contextmanager
    def of(self, flow_run: str, name: str, flow: str) -> Iterator[None]:
        """Send heartbeats of a flow run within the block. `flow`: its flow's name, by which
        automations choose.
        """
        resource = {
            "prefect.resource.id": f"prefect.flow-run.{flow_run}",
            "prefect.resource.name": name,
        }
        self._tell({"begin": resource, "flow": flow})
        try:
            yield
        finally:
            self._tell({"end": resource})

    def _tell(self, words: dict[str, Any]) -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock, contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._process.wait()


def event(resource: dict[str, str], flow: str) -> dict[str, Any]:
    """A heartbeat as Prefect's API takes it (POST /events)."""
    related = {
        "prefect.resource.id": f"prefect.flow.{flow}",
        "prefect.resource.role": "flow",
        "prefect.resource.name": flow,
    }
    return {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": HEARTBEAT,
        "resource": resource,
        "related": [related],
        "payload": {},
    }


def main() -> None:
    """Send heartbeats until the pipe closes."""
    import urllib.request

    first = json.loads(sys.stdin.readline())
    living: dict[str, dict[str, Any]] = {}
    ended, changed = threading.Event(), threading.Event()

    def send() -> None:
        direct = [urllib.request.ProxyHandler({})] if "//127.0.0.1" in first["url"] else []
        opener = urllib.request.build_opener(*direct)
        while not ended.is_set():
            changed.clear()
            events = [event(words["begin"], words["flow"]) for words in list(living.values())]
            if events:
                request = urllib.request.Request(
                    f"{first['url']}/events",
                    json.dumps(events).encode(),
                    {"Content-Type": "application/json", **first["headers"]},
                )
                with contextlib.suppress(OSError):  # a lost server; it may come back
                    opener.open(request, timeout=EVERY_S).close()
            changed.wait(first["every_s"])

    threading.Thread(target=send, daemon=True).start()
    for line in sys.stdin:
        words = json.loads(line)
        if "begin" in words:
            living[words["begin"]["prefect.resource.id"]] = words
            changed.set()  # the first heartbeat is sent at once
        else:
            living.pop(words["end"]["prefect.resource.id"], None)
    ended.set()


if __name__ == "__main__":
    main()
