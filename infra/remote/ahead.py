"""Local copies of several objects in turn: the next one is fetched while one is read."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

from infra.remote.access import Access
from infra.remote.cache import local_pin
from infra.remote.locations import is_remote
from infra.stage import Pin

_LONGEST_END_S = 2.0


def local_pins(pins: Sequence[Pin], access: Access, following: Pin | None = None) -> Iterator[Pin]:
    """Each pin as a pin of a local file, which stays until the next is asked for.

    `following` is fetched while the last is read, for whoever reads it afterwards. What goes wrong
    with an object is raised when its turn comes, so that the ones before it are read. What is
    fetched ahead only takes room in the cache that nobody else uses.
    """
    ahead: _Ahead | None = None
    try:
        for pin, then in zip(pins, [*pins, following][1:], strict=False):
            if ahead is not None:
                ahead.wait()
            with local_pin(pin, access) as found:
                if then is not None and is_remote(then.path):
                    ahead = _Ahead(then, access)
                yield found
    except BaseException:
        if ahead is not None:
            ahead.end()
        raise


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
        """Give the fetch up; a request that does not answer is left to itself."""
        self._stop.set()
        self._thread.join(_LONGEST_END_S)
