"""What a running stage gets: parameters, inputs, pins, and a resumable map over shards."""

from __future__ import annotations

import contextlib
import functools
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.engine.base import Engine, Inline
from infra.remote import holding
from infra.remote.access import Access
from infra.remote.held import held, held_folder
from infra.remote.locations import is_remote
from infra.stage import JSON, Pin, Stage, StageError
from infra.store.artifact import Artifact
from infra.store.attempt import Attempt, Shard
from infra.store.directory import Directory
from infra.store.exchange import Exchange

ShardFunction = Callable[[Any, Shard], dict[str, JSON]]
Progress = Callable[[float, float, str], None]
"""Called with the work done, the total, and the unit of both."""

Measured = Callable[[Mapping[str, float | None]], None]
"""Called with what a stage measures while it works: name -> value, None for what is not known."""

WARNING = "WARNING"
"""Progress whose unit contains this word is shown at once, whatever the usual interval."""


def no_progress(done: float, total: float, unit: str) -> None:
    """Ignore progress."""


def not_measured(values: Mapping[str, float | None]) -> None:
    """Ignore what is measured."""


@dataclass(frozen=True)
class Context:
    """See the module docstring. `inputs`: role -> artifacts in plan order; `pins`: parameter path
    -> pinned files.
    """

    stage: Stage
    name: str
    version: str
    parameters: Any
    inputs: Mapping[str, tuple[Artifact, ...]]
    pins: Mapping[str, tuple[Pin, ...]]
    attempt: Attempt
    engine: Engine
    cpu_threads: int = 1
    access: Access = field(default_factory=Access)
    progress: Progress = no_progress
    measured: Measured = not_measured
    answers: Directory | None = None
    """Answers of models to requests, by what was asked: shared by all versions and recipes of the
    store, as each costs money. Nothing removes them but a person.
    """
    outputs: list[dict[str, JSON]] = field(default_factory=list)
    """Files of all finished shards, collected by `map` for the manifest."""

    def input(self, role: str) -> Artifact:
        """The one artifact of a role."""
        (artifact,) = self.many(role)
        return artifact

    def optional(self, role: str) -> Artifact | None:
        """The artifact of a role, or None."""
        return next(iter(self.many(role)), None)

    def many(self, role: str) -> tuple[Artifact, ...]:
        """All artifacts of a role in the plan's order; `ValueError` for an undeclared role."""
        self.stage.role(role)
        return self.inputs.get(role, ())

    def pin(self, path: str) -> Path:
        """The local path of the one file pinned for a parameter."""
        pins = self.pins.get(path, ())
        if len(pins) != 1:
            raise StageError(
                f"{self.stage.name}/{self.name} needs exactly one file for {path!r}, but the plan "
                f"has {len(pins)}; name one in the recipe"
            )
        return self.files(path)[0]

    def files(self, path: str) -> tuple[Path, ...]:
        """Paths of the files pinned for a parameter, in the plan's order; none where it is unset.
        Those on other machines are fetched where they are opened.
        """
        return tuple(held(pin, self.access) for pin in self.pins.get(path, ()))

    def folder(self, path: str, of: Callable[[Sequence[Pin]], Path]) -> Path:
        """A folder with the files pinned for a parameter; `of` finds it where they are local."""
        pins = self.pins.get(path, ())
        if not pins or not all(is_remote(pin.path) for pin in pins):
            return of(pins)
        return held_folder(pins, self.access)

    def map(
        self,
        function: ShardFunction,
        items: Mapping[str, Any],
        *,
        timeout_s: float | None = None,
        here: bool = False,
    ) -> dict[str, dict[str, JSON]]:
        """Run `function(item, shard)` for every key and return its results in the order of `items`.

        Keys that a killed run completed are not run again. `here` runs in this process instead of
        in the engine's workers. A single piece of work tells its progress itself.
        """
        engine = Inline() if here else self.engine
        done = self.attempt.completed_of(items)
        todo = [(key, item) for key, item in items.items() if key not in done]
        progress = self.progress if len(items) > 1 else no_progress
        progress(len(done), len(items), "shards")
        run = functools.partial(run_shard, function, self.attempt)
        for number, record in enumerate(
            engine.map(run, map(_ShardWork.of, todo), timeout_s=timeout_s), len(done) + 1
        ):
            done[record["key"]] = record
            progress(number, len(items), "shards")
        for key in items:
            self.outputs.extend(done[key]["outputs"])
        return {key: done[key]["result"] for key in items}

    def scratch(self) -> Path:
        """A local folder for checkpoints and spill files of this process. It survives a kill and is
        removed at commit. Workers see `exchange`.
        """
        return self.attempt.scratch()

    @property
    def exchange(self) -> Exchange:
        """What workers write for one another: they may be on several machines."""
        return self.attempt.exchange

    @contextlib.contextmanager
    def record(self, name: str) -> Iterator[Path]:
        """Yield a local path for a log or a plot, which then replaces `records/<name>`."""
        staged = self.attempt.records.staging(name)
        try:
            yield staged
            self.attempt.records.replace_file(staged, name)
        finally:
            staged.unlink(missing_ok=True)


@dataclass(frozen=True)
class _ShardWork:
    """A shard's key and its pickled item; errors of the engine show it as its key."""

    key: str
    item: bytes

    @classmethod
    def of(cls, pair: tuple[str, Any]) -> _ShardWork:
        return cls(pair[0], pickle.dumps(pair[1]))

    def __str__(self) -> str:
        return self.key


def run_shard(function: ShardFunction, attempt: Attempt, work: _ShardWork) -> dict[str, Any]:
    """Run one shard and write its completion record; called in worker processes."""
    with holding.while_open():
        shard = Shard(work.key, attempt.data, attempt.bitwise)
        result = function(pickle.loads(work.item), shard)
        return attempt.complete(shard, result)
