"""Whether the files that a recipe names can be used by the stages that will read them.

Every stage looks at its own (`infra.stage.Stage.check`). What it found of files on this machine is
remembered by their digests, so that planning again opens none of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from flows.planning.graph import Node
from flows.planning.plan import Plan
from flows.planning.resolve import Pins
from flows.recipe.file import RecipeError
from flows.recipe.sections import Recipe
from infra.io.files import replace_bytes
from infra.remote.access import Access
from infra.remote.locations import is_remote
from infra.stage import Fault, Pin
from infra.store.identity import source_digest


def look_into_files(recipe: Recipe, plan: Plan, pins: Pins) -> list[str]:
    """Have every stage that must run look into its files; returns warnings.

    Raises:
        RecipeError: files that a stage would refuse, each with the place that names it.
    """
    told: dict[bool, dict[str, str]] = {True: {}, False: {}}  # a file of several stages once
    for id, step in plan.steps.items():
        if not step.node.stage.check or step.state not in ("run", "unresolved"):
            continue
        given = {path: found for path, found in pins[id].items() if isinstance(found, tuple)}
        for fault in _faults(step.node, given, recipe.remote.access()):
            where = _stated_at(recipe, step.node, fault.parameter)
            place = recipe.place_of(where) if fault.certain else ""
            told[fault.certain].setdefault(fault.what, f"{place}{where}: {fault.what}")
    if told[True]:
        raise RecipeError(list(told[True].values()))
    return list(told[False].values())


def _stated_at(recipe: Recipe, node: Node, parameter: str) -> str:
    """The path in the recipe of what is a stage's parameter: its own section's, or, of a benchmark,
    the one that names the same files.
    """
    own = f"{node.stage.section.replace('*', node.name)}.{parameter}"
    stated = recipe.file_references()
    files = node.parameters.file_references().get(parameter)
    if files is None or own in stated:
        return own
    return next((path for path, named in stated.items() if named == files), own)


def _faults(node: Node, pins: Mapping[str, tuple[Pin, ...]], access: Access) -> list[Fault]:
    if any(is_remote(pin.path) for found in pins.values() for pin in found):
        return node.stage.faults(node.parameters, pins, access)
    looked_at = {
        "stage": node.stage.name,
        "source": source_digest(node.stage),
        "parameters": node.parameters.model_dump(mode="json"),
        "pins": {path: [pin.to_json() for pin in found] for path, found in pins.items()},
    }
    key = hashlib.sha256(json.dumps(looked_at, sort_keys=True).encode()).hexdigest()[:32]
    memory = access.cache / "lookups" / f"{key}.faults"
    with contextlib.suppress(OSError, ValueError, TypeError):
        return [Fault(**fault) for fault in json.loads(memory.read_text(encoding="utf-8"))]
    try:
        found = node.stage.faults(node.parameters, pins, access)
    except FileNotFoundError as error:
        if (gone := _gone(pins, str(error.filename))) is None:
            raise
        return [gone]
    if not all(_is_as_pinned(pin) for several in pins.values() for pin in several):
        return found  # of files that were changed meanwhile: it is not true of what was pinned
    with contextlib.suppress(OSError):
        replace_bytes(memory, json.dumps([asdict(fault) for fault in found]).encode())
    return found


def _gone(pins: Mapping[str, tuple[Pin, ...]], path: str) -> Fault | None:
    """The fault of a pinned file that is missing by now; None for another file."""
    for parameter, found in pins.items():
        if path in [pin.path for pin in found]:
            what = f"{path} was there a moment ago, and is not now; put it back, and run again"
            return Fault(parameter, what)
    return None


def _is_as_pinned(pin: Pin) -> bool:
    """Whether nobody has written to a local file since it was pinned."""
    try:
        status = Path(pin.path).stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (pin.bytes, pin.modified_ns)
