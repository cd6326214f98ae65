"""Runs one stage in a fresh local store, inline; stage tests are built on it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.build import Order, build
from infra.engine.base import Engine, Inline
from infra.io.files import sha256_file
from infra.remote.access import Access
from infra.stage import Parameters, Pin, Stage
from infra.store import Artifact, Store
from infra.store.identity import version_of


def pin(path: Path) -> Pin:
    """A pin of a local file as it is now."""
    return Pin(str(path), path.name, sha256_file(path), path.stat().st_size)


def pins_of(parameters: Parameters) -> dict[str, tuple[Pin, ...]]:
    """Pins of the plain paths that `parameters` names (a folder pins every file in it; names of
    things are skipped).
    """
    found: dict[str, tuple[Pin, ...]] = {}
    for field, paths in parameters.file_references().items():
        files = [
            file
            for path in map(Path, paths)
            for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
        ]
        if existing := tuple(pin(file) for file in files if file.is_file()):
            found[field] = existing
    return found


def run_stage(
    stage: Stage,
    parameters: Parameters,
    inputs: Mapping[str, Artifact | Sequence[Artifact]] | None = None,
    name: str = "main",
    *,
    tmp_path: Path,
    engine: Engine | None = None,
    pins: Mapping[str, tuple[Pin, ...]] | None = None,
    force: bool = False,
    cpu_threads: int = 1,
    access: Access | None = None,
    store: str = "",
) -> Artifact:
    """Build one stage's artifact in a store, by default `tmp_path/store`, and return it."""
    given = {
        role: (found,) if isinstance(found, Artifact) else tuple(found)
        for role, found in (inputs or {}).items()
    }
    pinned = dict(pins) if pins is not None else pins_of(parameters)
    identities = {role: [artifact.identity for artifact in found] for role, found in given.items()}
    version = version_of(stage, name, parameters, identities, pinned)
    order = Order(stage, name, version, parameters, given, pinned)
    place = Store.at(store or str(tmp_path / "store"))
    return build(
        order, place, engine or Inline(), force=force, cpu_threads=cpu_threads, access=access
    )


def data_digests(artifact: Artifact) -> dict[str, str]:
    """Name -> sha256 of every data file, read from disk rather than from the manifest."""
    return {
        name: hashlib.sha256(artifact.path(name).read_bytes()).hexdigest()
        for name in artifact.files()
    }
