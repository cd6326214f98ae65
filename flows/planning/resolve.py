"""Pins the files that a recipe names: what each of them is at this moment.

A local file is pinned by its sha256, cached by path, size and modification time, so that planning
again reads no data. A folder pins every file in it that is not hidden, and a glob every match,
sorted by path. An object on another machine is pinned by what its server says of it. What cannot be
reached becomes `Unresolved`: a plan shows `?` for it and for everything that depends on it, and a
run refuses to start. What is certainly not there, on this machine or by a server's word, is an
error of the recipe.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from glob import glob, has_magic
from pathlib import Path

from flows.planning import pointers
from flows.planning.graph import Graph, Node
from flows.recipe.errors import nearest
from flows.recipe.references import ARTIFACT_SCHEME, NAMED_FILES, hub_fasttext_model, hub_model
from flows.recipe.suites import Absent
from infra.io.files import NoFile, files_in, only_files, replace_bytes, sha256_file
from infra.remote.access import Access
from infra.remote.errors import NoMatch, Unreachable
from infra.remote.listing import Listing
from infra.remote.locations import is_remote, shown
from infra.stage import Pin, StageError
from infra.store.manifest import Manifest
from tasks.model.stage import ModelParameters


@dataclass(frozen=True)
class Unresolved:
    """A reference that could not be pinned, and why."""

    reference: str
    why: str
    wrong: bool = False
    """Whether this is certain, by this machine or a server's word, so that the recipe is to be
    changed; else it may be resolved later.
    """
    emptied: bool = False
    """Whether it is certain because nothing of that name is in a folder or bucket that is there."""


HUB_NAMES = {
    ("tokenizer", "base"): hub_model,
    ("model", "base"): hub_model,
    ("evaluation", "model"): hub_model,
    ("embeddings", "model"): hub_model,
    ("token_vectors", "model"): hub_model,
    ("langid", "model"): hub_fasttext_model,
    ("labels", "model"): hub_model,
    ("classifier", "model"): hub_model,
}
"""Stages and their parameters that may name a model of the Hugging Face hub."""

ONE_FILE = {("langid", "model"), ("language_model", "lm"), ("language_model", "sentencepiece")}
"""Stages and their parameters that name exactly one file."""

NO_WEIGHTS = (
    "a shape is enough to plan and has no weights to train; to run, state model.base (a folder, a "
    "model of the hub or an artifact) or model.create"
)

SUITE = "evaluation.suite"

Pins = dict[str, dict[str, tuple[Pin, ...] | Unresolved]]
"""Node id -> parameter path -> its files."""


def digest_cache_file() -> Path:
    """The cache of digests of local files; safe to delete."""
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "puna" / "digests.json"
    )


@dataclass
class Digests:
    """sha256 of local files, cached between runs by (path, size, times of modification and of the
    inode's change). The latter tells a damaged file from the one that was put back in its place
    with its old time.
    """

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
                    if isinstance(entry, list) and len(entry) == 4
                }

    def pin(self, path: Path, name: str) -> Pin:
        """The pin of a local file; `name` stands for its path in versions."""
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        known = self._known.get(str(path))
        if known is None or known[:3] != stamp:
            known = [*stamp, sha256_file(path)]
            self._known[str(path)] = known
            self._changed = True
        return Pin(str(path), name, str(known[3]), status.st_size, modified_ns=status.st_mtime_ns)

    def save(self) -> None:
        """Write the cache if it changed. If that fails, the next plan is slower, but not wrong."""
        if self._changed:
            with contextlib.suppress(OSError):
                replace_bytes(self.file, json.dumps(self._known).encode())


_FILES_NAMED = 5

Earlier = Callable[[Node], Sequence[Manifest]]
"""What was made of a node before: see `infra.remote.listing.Listing`."""

MayBeEmpty = Callable[[Node, str], bool]
"""Whether a node's reference may name nothing any more: what it named was read before."""


def resolve(
    graph: Graph,
    access: Access | None = None,
    earlier: Earlier = lambda node: (),
    known: Pins | None = None,
    may_be_empty: MayBeEmpty = lambda node, reference: False,
    lacking: Absent | None = None,
) -> Pins:
    """Pin every file that the graph's parameters name, also on other machines. Nodes in `known`
    have these pins. `lacking`: files that may be missing: they are not wrong but unresolved.
    """
    digests = Digests()
    pins: Pins = {}
    known = known or {}
    named = {id: _named(node) for id, node in graph.nodes.items() if id not in known}
    remote = _remote_pins(
        [
            reference
            for by_path in named.values()
            for references in by_path.values()
            for reference in references
            if is_remote(reference) and reference not in NAMED_FILES
        ],
        access or Access(),
    )
    for id, node in graph.nodes.items():
        if id in known:
            pins[id] = known[id]
            continue
        listing = Listing(access or Access(), functools.partial(earlier, node))
        pins[id] = _declared(node, listing)
        for field_path, references in named[id].items():
            if any(reference.startswith(ARTIFACT_SCHEME) for reference in references):
                continue
            found = _pin_all(references, digests, remote, functools.partial(may_be_empty, node))
            if isinstance(found, tuple) and node.stage.name == "tokenizer":
                found = tuple(pin for pin in found if not _is_remote_weights(pin))
            stated = node.parameters.file_references()[field_path]
            if isinstance(found, Unresolved) and found.reference not in stated:
                absent = "" if is_remote(stated[0]) else "there is no such file or folder, and "
                found = replace(found, reference=stated[0], why=f"{absent}{found.why}")
            if lacking and isinstance(found, Unresolved) and found.reference in lacking.paths:
                found = Unresolved(SUITE, lacking.summary())
            if isinstance(found, tuple) and (node.stage.name, field_path) in ONE_FILE:
                found = found if len(found) == 1 else _several(node, field_path, found)
            pins[id][field_path] = found
        pins[id] = {path: _whole(node, found) for path, found in pins[id].items()}
        if isinstance(node.parameters, ModelParameters) and node.parameters.only_planned:
            pins[id]["shape"] = Unresolved("model.shape", NO_WEIGHTS)
    digests.save()
    return pins


def _named(node: Node) -> dict[str, tuple[str, ...]]:
    """Parameter path -> references; a base that is no path here is a model of the hub."""
    found = {}
    for path, references in node.parameters.file_references().items():
        named = HUB_NAMES.get((node.stage.name, path))
        found[path] = tuple(
            (named(reference) if named and reference not in NAMED_FILES else None) or reference
            for reference in references
        )
    return found


def _several(node: Node, path: str, pins: tuple[Pin, ...]) -> Unresolved:
    """A folder or pattern where one file is needed."""
    names = ", ".join(pin.name for pin in pins[:_FILES_NAMED])
    more = f" and {len(pins) - _FILES_NAMED:,} more" if len(pins) > _FILES_NAMED else ""
    (stated,) = node.parameters.file_references()[path]
    return Unresolved(
        stated, f"is {len(pins):,} files ({names}{more}), where one is needed; name it", wrong=True
    )


def _whole(node: Node, found: tuple[Pin, ...] | Unresolved) -> tuple[Pin, ...] | Unresolved:
    """What was found, unless a file of it is a pointer to what it stands for."""
    if isinstance(found, tuple) and (pin := pointers.pointer(node.stage.name, found)):
        return Unresolved(pin.path, pointers.WHY, wrong=True)
    return found


def _is_remote_weights(pin: Pin) -> bool:
    """A tokenizer has no use for its base's weights, which are most of what there is to fetch."""
    from infra.remote.hub import is_weights

    return pin.path.startswith("hf://") and is_weights(pin)


def _declared(node: Node, listing: Listing) -> dict[str, tuple[Pin, ...] | Unresolved]:
    """What the node's stage itself pins: crawls and data sets by name."""
    found: dict[str, tuple[Pin, ...] | Unresolved] = {}
    for path, pins in node.stage.declared_pins(node.parameters, listing).items():
        if isinstance(pins, StageError):
            reference = f"{node.stage.section.replace('*', node.name)}.{path}"
            found[path] = Unresolved(reference, str(pins), not isinstance(pins, Unreachable))
        else:
            found[path] = pins
    return found


Remote = dict[str, list[Pin] | Unresolved]
"""Remote reference -> the objects that it names."""


def _remote_pins(references: Sequence[str], access: Access) -> Remote:
    """Ask for all of them side by side."""
    if not references:
        return {}
    from infra.remote import objects  # not for recipes of local files alone

    asked = list(dict.fromkeys(references))
    found: Remote = {}
    for reference, pins in zip(asked, objects.expand_all(asked, access.impatient()), strict=True):
        if isinstance(pins, list):
            found[reference] = pins
        elif isinstance(pins, StageError):
            why = str(pins).removeprefix(f"{shown(reference)}: ")
            found[reference] = Unresolved(
                reference, why, not isinstance(pins, Unreachable), isinstance(pins, NoMatch)
            )
        else:
            raise pins
    return found


def _pin_all(
    references: tuple[str, ...],
    digests: Digests,
    remote: Remote,
    may_be_empty: Callable[[str], bool],
) -> tuple[Pin, ...] | Unresolved:
    pins: dict[str, Pin] = {}
    for reference in references:
        pinned = remote[reference] if reference in remote else _pin(reference, digests)
        if isinstance(pinned, Unresolved):
            if pinned.emptied and may_be_empty(reference):
                continue
            return pinned
        pins |= {pin.path: pin for pin in pinned}
    return tuple(pins.values())


def _pin(reference: str, digests: Digests) -> list[Pin] | Unresolved:
    locator = NAMED_FILES.get(reference)
    if locator is not None:
        module, _, function = locator.partition(":")
        path = Path(getattr(importlib.import_module(module), function)(reference))
        return [digests.pin(path, path.name)]
    path = Path(reference.removeprefix("file://"))
    try:
        if path.is_file():
            return [digests.pin(path, path.name)]
        if path.is_dir():
            files = files_in(path)
            if not files:
                why = "the folder is empty; name one that holds files"
                return Unresolved(reference, why, wrong=True, emptied=True)
            return [digests.pin(file, file.relative_to(path).as_posix()) for file in files]
        matches = sorted(only_files(map(Path, glob(reference, recursive=True))))
        if matches:
            root = Path(os.path.commonpath([match.parent for match in matches]))
            return [digests.pin(match, match.relative_to(root).as_posix()) for match in matches]
        names = sorted(file.name for file in path.parent.iterdir()) if path.parent.is_dir() else []
    except NoFile as error:
        why = f"{error.strerror}, or name the files without it"
        return Unresolved(reference, why, wrong=True)
    except OSError as error:
        return Unresolved(
            reference,
            f"cannot be read: {error.strerror}; make it readable, or name another file",
            wrong=True,
        )
    return Unresolved(
        reference,
        f"no file or folder matches{nearest(path.name, names)}; name one that exists "
        "(a recipe's paths are relative to its folder, those of -s to the working directory)",
        wrong=True,
        emptied=fixed_folder(path).is_dir(),
    )


def fixed_folder(path: Path) -> Path:
    """The folder that a file or pattern must lie in: what comes before the first wildcard."""
    folders = path.parent.parts
    fixed = itertools.takewhile(lambda part: not has_magic(part), folders)
    return Path(*fixed)


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
