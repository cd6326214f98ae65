"""A source must not read the store that its own documents go to: each run would read the last
one's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from glob import has_magic
from pathlib import Path

from flows.planning.graph import Graph
from flows.planning.resolve import Pins, fixed_folder
from flows.recipe.file import RecipeError
from flows.recipe.sections import Recipe
from infra.remote.locations import is_remote
from infra.stage import Pin
from infra.store import Store


def refuse_own_store(recipe: Recipe, store: Store, graph: Graph, pins: Pins) -> None:
    """Raise `RecipeError` where a source's folder or pattern takes in the store, also by way of
    symbolic links.
    """
    root = store.root.local_root
    if root is None:
        return
    own = os.path.realpath(root)
    problems = []
    for id, node in graph.nodes.items():
        if node.stage.name != "ingest":
            continue
        for parameter, references in node.parameters.file_references().items():
            found = pins[id].get(parameter)
            taken_in = any(_takes_in(reference, own) for reference in references)
            if taken_in or (isinstance(found, tuple) and any(_within(found, own))):
                path = f"sources.{node.name}.ingest.{parameter}"
                problems.append(
                    f"{recipe.place_of(path)}{path}: takes in the store {root}, so that the next "
                    "run would read what this one wrote; move the store with --store, or name a "
                    "folder without it"
                )
    if problems:
        raise RecipeError(problems)


def _takes_in(reference: str, own: str) -> bool:
    """Whether a folder, or a pattern of folders at any depth, has the store below it."""
    if is_remote(reference) or (has_magic(reference) and "**" not in reference):
        return False
    path = Path(reference.removeprefix("file://"))
    folder = fixed_folder(path) if has_magic(reference) else path
    return f"{own}/".startswith(f"{os.path.realpath(folder)}/")


def _within(pins: Iterable[Pin], own: str) -> Iterator[bool]:
    """Of local files, whether each really lies in the store."""
    folders: dict[str, bool] = {}
    for pin in pins:
        if is_remote(pin.path):
            continue
        folder, _ = os.path.split(pin.path)
        if folder not in folders:
            folders[folder] = f"{os.path.realpath(folder)}/".startswith(f"{own}/")
        yield folders[folder] or (
            Path(pin.path).is_symlink() and os.path.realpath(pin.path).startswith(f"{own}/")
        )
