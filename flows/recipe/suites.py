"""Puts the benchmarks of `evaluation.suite` into a recipe, before it is checked.

`evaluation: {suite: tinyllama, data: benchmarks}` stands for a `benchmarks` section with the
suite's tasks, whose files lie below `data`, and for `evaluation.tasks`. What the recipe states
itself counts first: a benchmark of the same name replaces fields of the suite's, null removes it,
and `evaluation.tasks` adds benchmarks. `decontaminate.against` may name the suite.

Files that are not in the folder leave a recipe readable: a plan shows `?` for what reads them, and
a run is refused with all that is missing and where to get it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.recipe.errors import nearest
from flows.recipe.file import KeyPath, RecipeError, YamlDocument
from tasks.benchmarks import suites

_SUITE: KeyPath = ("evaluation", "suite")
_DATA: KeyPath = ("evaluation", "data")


@dataclass(frozen=True)
class Absent:
    """What of a suite is not in its folder. `paths`: what the tasks read; `tasks`: task -> what it
    needs and where to get it.
    """

    folder: str = ""
    paths: set[str] = field(default_factory=set)
    tasks: dict[str, str] = field(default_factory=dict)

    def summary(self) -> str:
        """One line, for the plan."""
        return (
            f"files of {', '.join(self.tasks)} are not in {self.folder}; puna run says what to "
            "get (docs/suites.md)"
        )


def expand_suite(document: YamlDocument) -> Absent:
    """Expand the suite that a recipe names, if any; returns what is not there of its files. Raises
    `RecipeError` for an unknown suite and a missing folder name.
    """
    section = document.data.get("evaluation")
    if not isinstance(section, dict) or section.get("suite") is None:
        _refuse_lone_names(document, section)
        return Absent()
    name, place = section["suite"], document.place(_SUITE)
    if name not in suites.names():
        known = list(suites.names())
        hint = nearest(str(name), known)
        raise RecipeError(
            [
                f"{place}: evaluation.suite: {name!r} is no suite{hint}; there are: "
                f"{', '.join(known)}"
            ]
        )
    data = section.get("data")
    stated = document.data.setdefault("benchmarks", {})
    if not isinstance(stated, dict):
        return Absent()  # the models say what is wrong with it
    removed = [task for task in suites.suite(name).tasks if stated.get(task, "") is None]
    tasks = [task for task in suites.suite(name).tasks if task not in removed]
    for task in removed:
        del stated[task]
    own = {task for task in tasks if isinstance(stated.get(task), dict) and "paths" in stated[task]}
    if not isinstance(data, str) and set(tasks) - own:
        raise RecipeError(
            [
                f"{place}: evaluation.suite: {name} reads files of a folder; name it with "
                "evaluation.data (what belongs there: docs/suites.md)"
            ]
        )
    folder = _folder(document, data) if isinstance(data, str) else ""
    absent = Absent(folder)
    for task in tasks:
        fields, missing = suites.benchmark(name, task, folder)
        if missing and task not in own:
            absent.paths.update((*fields["paths"], *fields.get("dev", ())))
            absent.tasks[task] = (
                f"{missing}, and put it into {folder}; or leave the task out with benchmarks: "
                f"{{{task}: null}}"
            )
        given = stated.get(task)
        stated[task] = {**fields, **given} if isinstance(given, dict) else fields
        document.places.setdefault(("benchmarks", task), place)
    asked = section.get("tasks") or []
    if isinstance(asked, list):
        section["tasks"] = [*tasks, *(task for task in asked if task not in tasks)]
    _expand_against(document, name, tasks)
    return absent


def _folder(document: YamlDocument, data: str) -> str:
    """The folder of the data, absolute; relative ones start at the recipe that states them."""
    if "://" in data:
        return data.rstrip("/")
    return os.path.normpath(document.place(_DATA).folder / Path(data).expanduser())


def _expand_against(document: YamlDocument, name: str, tasks: list[str]) -> None:
    section = document.data.get("decontaminate")
    against: Any = section.get("against") if isinstance(section, dict) else None
    if isinstance(section, dict) and isinstance(against, list) and name in against:
        expanded = [task for entry in against for task in (tasks if entry == name else [entry])]
        section["against"] = list(dict.fromkeys(expanded))


def _refuse_lone_names(document: YamlDocument, section: Any) -> None:
    """Refuse `data` without a suite, and a suite that only `decontaminate` names."""
    if isinstance(section, dict) and section.get("data") is not None:
        raise RecipeError(
            [
                f"{document.place(_DATA)}: evaluation.data: is read by evaluation.suite alone; "
                f"name one ({', '.join(suites.names())}), or remove it"
            ]
        )
    searching = document.data.get("decontaminate")
    against = searching.get("against") if isinstance(searching, dict) else None
    known = document.data.get("benchmarks") or {}
    for index, entry in enumerate(against if isinstance(against, list) else ()):
        if entry in suites.names() and entry not in known:
            place = document.place(("decontaminate", "against", index))
            raise RecipeError(
                [
                    f"{place}: decontaminate.against: {entry} is a suite; name it with evaluation: "
                    f"{{suite: {entry}, data: FOLDER}}"
                ]
            )
