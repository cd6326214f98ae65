"""The store's own records: references to artifacts, and runs. Small JSON files, rewritten whole.

<root>/refs/<recipe>/<stage>/<name>/<tag>.json       the version that a recipe's tag points at
<root>/runs/<run>.json                               what a run planned, and how it ended
<root>/promotions/...                                see `infra.store.promotions`
<root>/answers/...                                   see `infra.context.Context.answers`
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.stage import JSON, StageError
from infra.store.artifact import Artifact
from infra.store.directory import Damaged, Directory

FOLDERS = ("refs", "runs", "promotions", "answers")
"""Folders at the top of a store that are not stages."""

PROBES = "runs/.probes"
"""Small files that a run and the nodes of its cluster write for one another while it runs."""

_REFERENCE_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RUN_KINDS: dict[str, type] = {
    "run": str,
    "recipe": str,
    "status": str,
    "owner": dict,
    "stages": list,
}
"""Keys that every run's record has, and the type of each."""

_STAGE_KEYS = ("stage", "name", "version")


def set_reference(root: Directory, recipe: str, artifact: Artifact, tag: str, run: str) -> None:
    """Point a recipe's tag at an artifact. Raises `StageError` for words that cannot be names."""
    for kind, word in (("recipe", recipe), ("tag", tag)):
        if not _REFERENCE_WORD.fullmatch(word):
            raise StageError(
                f"{kind} {word!r}: use letters, digits and '._-', first a letter or digit"
            )
    body = {
        "stage": artifact.stage,
        "name": artifact.name,
        "version": artifact.version,
        "run": run,
    }
    file = _reference_file(recipe, artifact.stage, artifact.name, tag)
    root.replace(file, json.dumps(body).encode())


def reference(root: Directory, recipe: str, stage: str, name: str, tag: str) -> str | None:
    """The version a tag points at, or None."""
    try:
        file = _reference_file(recipe, stage, name, tag)
        return str(_checked_reference(root, file, root.read_json(file))["version"])
    except FileNotFoundError:
        return None


def references(root: Directory) -> list[dict[str, Any]]:
    """All references: recipe, tag, stage, name, version, run."""
    files = _files(root, "refs")
    return [
        _reference_of(root, file, body)
        for file, body in zip(files, root.read_jsons(files), strict=True)
    ]


def _reference_file(recipe: str, stage: str, name: str, tag: str) -> str:
    return f"refs/{recipe}/{stage}/{name}/{tag}.json"


def _reference_of(root: Directory, file: str, body: dict[str, Any] | Damaged) -> dict[str, Any]:
    words = file.removeprefix("refs/").removesuffix(".json").split("/")
    if len(words) != 4:
        raise Damaged(
            f"{root.url}/{file} is not a reference (refs/recipe/stage/name/tag.json); remove that "
            "file"
        )
    recipe, stage, name, tag = words
    from_path = {"recipe": recipe, "tag": tag, "stage": stage, "name": name}
    return from_path | _checked_reference(root, file, body)


def _checked_reference(
    root: Directory, file: str, body: dict[str, Any] | Damaged
) -> dict[str, Any]:
    if isinstance(body, Damaged):
        raise body
    if not isinstance(body.get("version"), str):
        raise Damaged(
            f"{root.url}/{file} is damaged (no version); remove that file and run the recipe again"
        )
    return body


def write_run(root: Directory, run: str, record: Mapping[str, JSON]) -> None:
    """Write or rewrite a run's record."""
    root.replace(f"runs/{run}.json", json.dumps(record, ensure_ascii=False, indent=1).encode())


def runs(root: Directory) -> list[dict[str, Any]]:
    """All run records, oldest first."""
    files = _files(root, "runs")
    return [
        _run_of(root, file, record)
        for file, record in zip(files, root.read_jsons(files), strict=True)
    ]


def _run_of(root: Directory, file: str, record: dict[str, Any] | Damaged) -> dict[str, Any]:
    if isinstance(record, Damaged):
        raise record
    if problem := _run_problem(record):
        raise Damaged(f"{root.url}/{file} is damaged ({problem}); remove that file")
    return record


def _run_problem(record: Mapping[str, Any]) -> str:
    """What is wrong with a run's record; "" for nothing."""
    if missing := sorted(_RUN_KINDS.keys() - record.keys()):
        return f"no {', '.join(missing)}"
    if wrong := [key for key, kind in _RUN_KINDS.items() if not isinstance(record[key], kind)]:
        return f"wrong type of {', '.join(wrong)}"
    owner = record["owner"]
    if not (isinstance(owner.get("host"), str) and isinstance(owner.get("pid"), int)):
        return "its owner has no host and process"
    for stage in record["stages"]:
        if not isinstance(stage, dict) or not all(
            isinstance(stage.get(key), str) for key in _STAGE_KEYS
        ):
            return f"a stage without {', '.join(_STAGE_KEYS)}"
    return ""


def damaged(root: Directory) -> Iterator[str]:
    """What is wrong with references, records of runs and promotions, one line each."""
    readers = (("refs", _reference_of), ("runs", _run_of), ("promotions", _promotion_of))
    for folder, read in readers:
        files = _files(root, folder)
        for file, body in zip(files, root.read_jsons(files), strict=True):
            try:
                read(root, file, body)
            except Damaged as error:
                yield str(error)


def _promotion_of(root: Directory, file: str, found: dict[str, Any] | Damaged) -> dict[str, Any]:
    if isinstance(found, Damaged):
        raise found
    if missing := [key for key in ("recipe", "at", "who", "from") if key not in found]:
        raise Damaged(f"{root.url}/{file} is damaged (no {', '.join(missing)}); remove that file")
    return found


def _files(root: Directory, folder: str) -> list[str]:
    """Files below a folder, but for those of folders within it whose names begin with a dot, which
    are no records (`PROBES`). A file in the folder's place is listed too: reading it reports the
    damage.
    """
    local = root.local_root
    if local is not None and (local / folder).is_file():
        return [folder]
    return [name for name in root.files(f"{folder}/") if "/." not in name]
