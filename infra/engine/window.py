"""An ordered map with a bounded number of items in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

WINDOW_PER_WORKER = 2
"""Items in flight per worker: enough to keep every worker busy, few enough to keep memory bounded.
"""


class _Cancellable(Protocol):
    def cancel(self) -> object: ...


F = TypeVar("F", bound=_Cancellable)


def in_order(
    items: Iterable[Any],
    submit: Callable[[Any], F],
    result: Callable[[Any, F], T],
    window: Callable[[], int],
    ready: Callable[[F], bool] = lambda _: True,
) -> Iterator[T]:
    """Yield `result(item, submit(item))` in the order of the items, of which at most `window()` are
    in flight and drawn ahead. Those are cancelled when the iterator ends early.

    `ready`: waits some time for a result, and says whether it is there; before each wait the window
    is asked for anew.
    """
    pending: deque[tuple[Any, F]] = deque()
    remaining = iter(items)
    try:
        while True:
            most = window()
            while len(pending) < most and (item := next(remaining, _END)) is not _END:
                pending.append((item, submit(item)))
            if not pending:
                return
            if ready(pending[0][1]):
                yield result(*pending.popleft())
    finally:
        for _, future in pending:
            future.cancel()


_END = object()
