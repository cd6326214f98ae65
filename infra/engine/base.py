"""What every engine offers: an ordered map over shards.

Results come in the order of the items, whichever finishes first. A bounded number of items is in
flight. The first failure ends the map with the worker's own traceback. The worker of a shard that
overruns its deadline is killed and the shard is tried again; when all tries fail, the stage fails.
No shard is ever dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, Self, TypeVar

from infra.stage import StageError

T = TypeVar("T")


class ShardFailed(StageError):
    """A shard could not be done: its worker died or overran its deadline on every try."""

    @classmethod
    def of(cls, item: object, failure: str, tries: int) -> Self:
        """`failure` says what its worker did."""
        return cls(
            f"the worker of shard {item!s:.200} {failure}, {tries} time(s). No document was "
            "dropped. Raise the deadline or engine.retries, or remove the input named above from "
            "the source, and run again"
        )


class Engine(Protocol):
    """A running engine; close it when done."""

    @property
    def workers(self) -> int:
        """How many items are worked on at once."""
        ...

    def map(
        self, function: Callable[[Any], T], items: Iterable[Any], *, timeout_s: float | None = None
    ) -> Iterator[T]:
        """Yield `function(item)` for every item, in order. `function` and items are picklable.

        Raises what the function raised, with the worker's traceback in its notes, or `ShardFailed`.
        """
        ...

    def of_stage(self, stage: str) -> Engine:
        """The engine as a stage of that name uses it: with workers of the size that the recipe
        gives it. It ends with this one.
        """
        ...

    def close(self) -> None:
        """End all workers."""
        ...


class Inline:
    """Runs everything in this process, one item after another. Ignores deadlines, which need a
    process to kill.
    """

    workers = 1

    def map(
        self, function: Callable[[Any], T], items: Iterable[Any], *, timeout_s: float | None = None
    ) -> Iterator[T]:
        """See `Engine.map`."""
        for item in items:
            yield function(item)

    def of_stage(self, stage: str) -> Inline:
        """This engine."""
        return self

    def close(self) -> None:
        """Nothing to end."""
