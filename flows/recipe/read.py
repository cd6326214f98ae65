"""From a recipe's file to a checked `Recipe` whose file references are absolute."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import Any

import pydantic

from flows.recipe.checks import problems_between
from flows.recipe.errors import located_problem, problems_of
from flows.recipe.file import KeyPath, RecipeError, YamlDocument, dotted, load
from flows.recipe.nulls import settle_nulls
from flows.recipe.references import (
    ARTIFACT_SCHEME,
    NAMED_FILES,
    ArtifactReference,
    hub_model,
    may_be_hub_model,
)
from flows.recipe.secrets import secrets_in
from flows.recipe.sections import Recipe
from flows.recipe.suites import expand_suite
from infra.remote.locations import check, is_remote
from infra.stage import FILE, Parameters, StageError
from tasks.embeddings.stage import BASE


def read_recipe(file: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe, with file references made absolute. Raises `RecipeError` with all
    problems found.
    """
    document = load(file, overrides)
    if problems := secrets_in(document):
        raise RecipeError(problems)
    absent = expand_suite(document)
    meaningless = settle_nulls(document, Recipe)
    for language, section in (document.data.get("language_models") or {}).items():
        if isinstance(section, dict):
            section.setdefault("language", language)
            _find_folder(section, ("language_models", language), document)
            _place_files_of_folder(("language_models", language), document)
    try:
        recipe = Recipe.model_validate(document.data)
    except pydantic.ValidationError as error:
        raise RecipeError([*meaningless, *problems_of(error, Recipe, document)]) from None
    problems = [
        *meaningless,
        *(located_problem(problem, document) for problem in problems_between(recipe)),
    ]
    if problems:
        raise RecipeError(problems)
    located: Recipe = _locate(recipe, (), document)
    problems = _bad_references(located, document)
    if problems:
        raise RecipeError(problems)
    located._absent = absent
    located._places.update({dotted(path): str(place) for path, place in document.places.items()})
    for path, references in located.file_references().items():
        place = str(document.place(_key_path(path)))
        located._places.update(dict.fromkeys((*references, path), place))
    for number, phase in enumerate(located.training.phases if located.training else ()):
        stated = ("training", "phases", number)
        located._places[f"training.phases.{phase.name}"] = str(document.place(stated))
    for number, reference in enumerate(located.dedup.history if located.dedup else ()):
        located._places[reference] = str(document.place(("dedup", "history", number)))
    return located


def _key_path(path: str) -> KeyPath:
    """`evaluation.models.1.model` -> its keys and indices."""
    return tuple(int(word) if word.isdecimal() else word for word in path.split("."))


def _find_folder(section: dict[str, Any], path: KeyPath, document: YamlDocument) -> None:
    """A folder of language models that is no path here, and could be a name of the hub, is one."""
    stated = section.get("folder")
    if isinstance(stated, str) and not (document.place(path).folder / stated).exists():
        section["folder"] = hub_model(stated) or stated


def _place_files_of_folder(section: KeyPath, document: YamlDocument) -> None:
    """Files that `folder` stands for are relative to the recipe that states the folder."""
    if (*section, "folder") in document.places:
        place = document.place((*section, "folder"))
        document.places.update({(*section, "lm"): place, (*section, "sentencepiece"): place})


def recipe_schema() -> dict[str, Any]:
    """JSON schema of recipes, for editors."""
    return Recipe.model_json_schema()


def _locate(value: Any, path: KeyPath, document: YamlDocument) -> Any:
    """Make file references absolute, relative to the folder of the file that states them."""
    if isinstance(value, Parameters):
        changes: dict[str, Any] = {}
        for name, info in type(value).model_fields.items():
            item, here = getattr(value, name), (*path, info.alias or name)
            if FILE not in info.metadata:
                changes[name] = _locate(item, here, document)
            elif isinstance(item, str):
                changes[name] = _absolute(item, here, document)
            elif item is not None:
                changes[name] = tuple(
                    _absolute(reference, (*here, index), document)
                    for index, reference in enumerate(item)
                )
        changed = {name: item for name, item in changes.items() if item is not getattr(value, name)}
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, dict):
        return {key: _locate(item, (*path, key), document) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_locate(item, (*path, index), document) for index, item in enumerate(value))
    return value


def _absolute(reference: str, path: KeyPath, document: YamlDocument) -> str:
    """An absolute path; names of packaged files, hub names, URLs and artifacts stay unchanged."""
    if reference in NAMED_FILES or "://" in reference or reference.startswith(ARTIFACT_SCHEME):
        return reference
    if path == ("embeddings", "model") and reference == BASE:
        return reference
    if not reference:
        raise RecipeError(
            [f"{document.place(path)}: {dotted(path)}: is an empty path; name a file"]
        )
    stated = Path(reference)
    # `~unknown-user` is left unchanged, and reported as a missing file
    with contextlib.suppress(RuntimeError):
        stated = stated.expanduser()
    absolute = (document.place(path).folder / stated).absolute()
    looks_like_path = reference.startswith((".", "/", "~")) or any(
        sign in reference for sign in "*?["
    )
    if may_be_hub_model(reference, path) and not absolute.exists():
        return reference
    if (
        looks_like_path
        or "/" not in reference
        or Path(reference).suffix
        or absolute.exists()
        or glob(str(absolute))
    ):
        return str(_normal(absolute) if ".." in absolute.parts else absolute)
    return reference


def _normal(path: Path) -> Path:
    """The path without `..`; links are not followed."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return Path(*parts)


def _bad_references(recipe: Recipe, document: YamlDocument) -> list[str]:
    problems = []
    for path, references in recipe.file_references().items():
        for reference in references:
            if reference.startswith(ARTIFACT_SCHEME):
                try:
                    ArtifactReference.parse(reference)
                except ValueError as error:
                    problems.append(f"{document.place(_key_path(path))}: {path}: {error}")
            elif is_remote(reference):
                try:
                    check(reference)
                except StageError as error:
                    problems.append(f"{document.place(_key_path(path))}: {path}: {error}")
    return problems
