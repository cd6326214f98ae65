"""The runs that a run builds on: the promoted one, the run that it continues, and so on."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.recipe.references import ArtifactReference
from infra.stage import Pin
from infra.store import Store, promotions
from infra.store.manifest import Manifest
from tasks.ingest.stage import STAGE as INGEST

FileKey = tuple[str, ...]
"""What tells a file that was read from one that was not."""


@dataclass(frozen=True)
class PastRun:
    """A run that was promoted. `versions`: `stage/name` -> version, in the plan's order. `pins`:
    source -> parameter -> the files that it read. `recipe`: the recipe's data as it was.
    """

    run: str
    versions: Mapping[str, str]
    pins: Mapping[str, Mapping[str, tuple[Pin, ...]]]
    recipe: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> PastRun:
        """The run of a record."""
        versions = {f"{s['stage']}/{s['name']}": s["version"] for s in record["stages"]}
        pins = {
            id.partition("/")[2]: {
                path: tuple(Pin.from_json(pin) for pin in files) for path, files in by_path.items()
            }
            for id, by_path in record.get("pins", {}).items()
            if id.startswith(f"{INGEST.name}/")
        }
        return cls(record["run"], versions, pins, record.get("recipe_data", {}))

    def named(self, stage: str) -> list[str]:
        """Names of the artifacts of a stage, in the plan's order."""
        return [id.partition("/")[2] for id in self.versions if id.startswith(f"{stage}/")]


@dataclass(frozen=True)
class History:
    """The runs of a recipe that a run builds on, the earliest first; none for the first run."""

    recipe: str
    runs: tuple[PastRun, ...] = ()

    @property
    def last(self) -> PastRun | None:
        """The run that is continued."""
        return self.runs[-1] if self.runs else None

    def without_last(self) -> History:
        """The history that the last run had itself."""
        return History(self.recipe, self.runs[:-1])

    def reference(self, run: PastRun, id: str) -> ArtifactReference | None:
        """An artifact of a run, by version; None if it had none."""
        if id not in run.versions:
            return None
        stage, _, name = id.partition("/")
        return ArtifactReference(self.recipe, stage, name, run.versions[id])

    def of_last(self, id: str) -> ArtifactReference | None:
        """An artifact of the run that is continued."""
        return self.reference(self.last, id) if self.last else None

    def selected(self, sources: Iterable[str]) -> tuple[ArtifactReference, ...]:
        """What all runs selected of these sources, the earliest first, each once."""
        wanted = [f"select/{source}" for source in sources]
        found = (self.reference(run, id) for run in self.runs for id in wanted)
        return tuple(dict.fromkeys(reference for reference in found if reference))

    def read(self, source: str) -> set[FileKey]:
        """Keys of the files that all runs read of a source."""
        return {
            key_of(pin)
            for run in self.runs
            for files in run.pins.get(source, {}).values()
            for pin in files
        }

    def read_of(self, source: str, reference: str) -> int:
        """How many different files all runs read of a source that a reference names, or named."""
        return len(
            {
                key_of(pin)
                for run in self.runs
                for files in run.pins.get(source, {}).values()
                for pin in files
                if names(reference, pin)
            }
        )

    def manifests(self, store: Store, source: str) -> Iterator[Manifest]:
        """Manifests of what all runs read of a source, the latest first, as far as they exist."""
        for run in reversed(self.runs):
            if version := run.versions.get(f"{INGEST.name}/{source}"):
                artifact = store.find(INGEST.name, source, version)
                if artifact is not None:
                    yield artifact.manifest


def read_history(store: Store, recipe: str) -> History:
    """The promoted run of a recipe and those that it builds on. Raises `StageError` if the record
    of one is gone.
    """
    records = promotions.chain(store, promotions.promoted_run(store, recipe))
    return History(recipe, tuple(PastRun.of(record) for record in records))


def key_of(pin: Pin) -> FileKey:
    """The content where it is known, else what its server says of it and its own name: a folder
    that grows changes the names of files below it, and a data set's commit their paths.
    """
    if pin.sha256:
        return (pin.sha256,)
    if pin.etag:
        return (pin.etag, str(pin.bytes), re.split(r"[/\\]", pin.name)[-1])
    return (pin.name,)


def names(reference: str, pin: Pin) -> bool:
    """Whether a path, folder or pattern of a recipe names a file, by the file's path."""
    path = pin.path.removeprefix("file://")
    whole = reference.removeprefix("file://").rstrip("/")
    pattern = whole.replace("**/", "*")  # which may stand for no folder at all
    return path == whole or path.startswith(f"{whole}/") or fnmatch.fnmatchcase(path, pattern)
