"""Local copies of several objects in turn: the next one is fetched while one is read."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

from infra.remote.access import Access
from infra.remote.cache import local_pin
from infra.remote.locations import is_remote
from infra.stage import Pin


def local_pins(pins: Sequence[Pin], access: Access, following: Pin | None = None) -> Iterator[Pin]:
    """Each pin as a pin of a local file, which stays until the next is asked for.

    What goes wrong with an object is raised when its turn comes, so that the ones before it are
    read. The next object only takes room in the cache that nobody else uses. `following` is fetched
    while the last one is read, for a later reader; what is not done by then, that one goes on with.
    """
    ahead: _Ahead | None = None
    try:
        for place, pin in enumerate(pins):
            if ahead is not None:
                ahead.wait()
            with local_pin(pin, access) as found:
                after = pins[place + 1] if place + 1 < len(pins) else following
                if after is not None and is_remote(after.path):
                    ahead = _Ahead(after, access)
                yield found
    finally:
        if ahead is not None:
            ahead.end()


class _Ahead:
    """A fetch in a thread of its own, which does not keep the process alive."""

    def __init__(self, pin: Pin, access: Access) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(pin, access), daemon=True)
        self._thread.start()

    def _run(self, pin: Pin, access: Access) -> None:
        # whatever goes wrong here goes wrong again when the object's turn comes, and is raised then
        with (
            contextlib.suppress(Exception),
            local_pin(pin, access, stop=self._stop, wait=False),
        ):
            pass

    def wait(self) -> None:
        """Until the fetch is done or has failed."""
        self._thread.join()

    def end(self) -> None:
        """Give the fetch up."""
        self._stop.set()
        self._thread.join()
