"""What a running stage gets: parameters, inputs, pins, and a resumable map over shards."""

from __future__ import annotations

import contextlib
import functools
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.engine.base import Engine, Inline
from infra.io.files import replacing
from infra.stage import JSON, Pin, Stage, StageError
from infra.store.artifact import Artifact
from infra.store.attempt import Attempt, Shard

ShardFunction = Callable[[Any, Shard], dict[str, JSON]]
Progress = Callable[[float, float, str], None]
"""Called with the work done, the total, and the unit of both."""

WARNING = "WARNING"
"""Progress whose unit contains this word is shown at once, whatever the usual interval."""


def no_progress(done: float, total: float, unit: str) -> None:
    """Ignore progress."""


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
    progress: Progress = no_progress
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
        return Path(pins[0].path)

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
        in the engine's workers.
        """
        engine = Inline() if here else self.engine
        done = {key: record for key in items if (record := self.attempt.completed(key)) is not None}
        todo = [(key, item) for key, item in items.items() if key not in done]
        self.progress(len(done), len(items), "shards")
        run = functools.partial(run_shard, function, self.attempt)
        for number, record in enumerate(
            engine.map(run, map(_ShardWork.of, todo), timeout_s=timeout_s), len(done) + 1
        ):
            done[record["key"]] = record
            self.progress(number, len(items), "shards")
        for key in items:
            self.outputs.extend(done[key]["outputs"])
        return {key: done[key]["result"] for key in items}

    def scratch(self) -> Path:
        """A local folder for checkpoints and spill files. It survives a kill and is removed at
        commit.
        """
        return self.attempt.scratch()

    @contextlib.contextmanager
    def record(self, name: str) -> Iterator[Path]:
        """Yield a local path for a log or a plot, which then replaces `records/<name>`."""
        root = self.attempt.records.local_root
        if root is not None:
            with replacing(root / name) as path:
                yield path
        else:
            staged = self.attempt.records.staging(name)
            yield staged
            self.attempt.records.replace(name, staged.read_bytes())


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
    shard = Shard(work.key, attempt.data, attempt.bitwise)
    result = function(pickle.loads(work.item), shard)
    return attempt.complete(shard, result)
