"""Pins the files that a recipe names: what each of them is at this moment.

A local file is pinned by its sha256, cached by path, size and modification time, so that planning
again reads no data. A folder pins every file in it that is not hidden, and a glob every match,
sorted by path. What cannot be resolved becomes `Unresolved`: a plan shows `?` for it and for
everything that depends on it, and a run refuses to start.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from glob import glob
from pathlib import Path

from flows.planning.graph import Graph
from flows.recipe.errors import nearest
from flows.recipe.references import ARTIFACT_SCHEME, NAMED_FILES
from infra.io.files import files_in, replace_bytes, sha256_file
from infra.stage import Pin


@dataclass(frozen=True)
class Unresolved:
    """A reference that could not be pinned, and why."""

    reference: str
    why: str


Pins = dict[str, dict[str, tuple[Pin, ...] | Unresolved]]
"""Node id -> parameter path -> its files."""


def digest_cache_file() -> Path:
    """The cache of digests of local files; safe to delete."""
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "puna" / "digests.json"
    )


@dataclass
class Digests:
    """sha256 of local files, cached between runs by (path, size, modification time)."""

    file: Path = field(default_factory=digest_cache_file)
    _known: dict[str, list[object]] = field(default_factory=dict)
    _changed: bool = False

    def __post_init__(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            cached = json.loads(self.file.read_text(encoding="utf-8"))
            if isinstance(cached, dict):
                self._known = {
                    path: entry
                    for path, entry in cached.items()
                    if isinstance(entry, list) and len(entry) == 3
                }

    def pin(self, path: Path, name: str) -> Pin:
        """The pin of a local file; `name` stands for its path in versions."""
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        known = self._known.get(str(path))
        if known is None or known[:2] != stamp:
            known = [*stamp, sha256_file(path)]
            self._known[str(path)] = known
            self._changed = True
        return Pin(str(path), name, str(known[2]), status.st_size)

    def save(self) -> None:
        """Write the cache if it changed. If that fails, the next plan is slower, but not wrong."""
        if self._changed:
            with contextlib.suppress(OSError):
                replace_bytes(self.file, json.dumps(self._known).encode())


def resolve(graph: Graph) -> Pins:
    """Pin every file that the graph's parameters name."""
    digests = Digests()
    pins: Pins = {}
    for id, node in graph.nodes.items():
        pins[id] = {}
        for field_path, references in node.parameters.file_references().items():
            if any(reference.startswith(ARTIFACT_SCHEME) for reference in references):
                continue
            pinned = _pin_all(references, digests)
            if isinstance(pinned, Unresolved) and field_path == "base":
                pinned = replace(
                    pinned,
                    why=f"{pinned.why}. To use a model from the Hugging Face hub, download it and "
                    "name its folder",
                )
            pins[id][field_path] = pinned
    digests.save()
    return pins


def _pin_all(references: tuple[str, ...], digests: Digests) -> tuple[Pin, ...] | Unresolved:
    pins: dict[str, Pin] = {}
    for reference in references:
        pinned = _pin(reference, digests)
        if isinstance(pinned, Unresolved):
            return pinned
        pins |= {pin.path: pin for pin in pinned}
    return tuple(pins.values())


def _pin(reference: str, digests: Digests) -> list[Pin] | Unresolved:
    locator = NAMED_FILES.get(reference)
    if locator is not None:
        module, _, function = locator.partition(":")
        path = Path(getattr(importlib.import_module(module), function)(reference))
        return [digests.pin(path, path.name)]
    if "://" in reference:
        return Unresolved(
            reference, "remote files are not supported yet; download it and name the local path"
        )
    path = Path(reference)
    try:
        if path.is_file():
            return [digests.pin(path, path.name)]
        if path.is_dir():
            files = files_in(path)
            if not files:
                return Unresolved(reference, "the folder is empty; name one that holds files")
            return [digests.pin(file, file.relative_to(path).as_posix()) for file in files]
        matches = sorted(
            Path(match) for match in glob(reference, recursive=True) if Path(match).is_file()
        )
        if matches:
            root = Path(os.path.commonpath([match.parent for match in matches]))
            return [digests.pin(match, match.relative_to(root).as_posix()) for match in matches]
        names = sorted(file.name for file in path.parent.iterdir()) if path.parent.is_dir() else []
    except OSError as error:
        return Unresolved(
            reference, f"cannot be read: {error.strerror}; make it readable, or name another file"
        )
    return Unresolved(
        reference,
        f"no file or folder matches{nearest(path.name, names)}; name one that exists "
        "(a recipe's paths are relative to its folder, those of -s to the working directory)",
    )


def unresolved(
    pins: Mapping[str, Mapping[str, tuple[Pin, ...] | Unresolved]],
) -> dict[str, Unresolved]:
    """`stage/name.parameter` -> what could not be pinned."""
    return {
        f"{id}.{path}": pinned
        for id, by_path in pins.items()
        for path, pinned in by_path.items()
        if isinstance(pinned, Unresolved)
    }
