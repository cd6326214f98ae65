"""Validation errors for newcomers: file, line, value, what is allowed, the nearest known key."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Union

import pydantic

from flows.recipe.file import KeyPath, YamlDocument, dotted

_SHOWN_CHARACTERS = 80


def problems_of(
    error: pydantic.ValidationError, model: type[pydantic.BaseModel], document: YamlDocument
) -> list[str]:
    """One line for every place that is wrong."""
    by_place: dict[KeyPath, list[tuple[KeyPath, Any]]] = {}
    details = error.errors()
    inside = {detail["loc"][:length] for detail in details for length in range(len(detail["loc"]))}
    for detail in details:
        if detail["type"] == "too_short" and detail["loc"] in inside:
            # pydantic counts a list's bad items as missing; they have a problem of their own
            continue
        path = _data_path(detail["loc"], document.data)
        by_place.setdefault(path, []).append((tuple(detail["loc"]), detail))
    problems = []
    for path, found in by_place.items():
        place = document.place(path if found[0][1]["type"] != "missing" else path[:-1])
        what = dotted(path) or "recipe"
        # Where a value may be a number or a word, the number's reason lacks only the word.
        words = [
            detail["ctx"]["expected"] for _, detail in found if detail["type"] == "literal_error"
        ]
        others = (
            [detail for _, detail in found if detail["type"] != "literal_error"]
            if len(found) > 1
            else []
        )
        reasons = [
            _reason(detail, path, model).removeprefix(f"{what}: ")
            for detail in others or [found[0][1]]
        ]
        reasons += [f"write {word}" for word in words if others]
        problems.append(f"{place}: {what}: {'; or '.join(dict.fromkeys(reasons))}")
    return problems


def located_problem(problem: str, document: YamlDocument) -> str:
    """Put file and line before a problem that starts with its dotted path."""
    path: list[str | int] = []
    data: Any = document.data
    for word in problem.partition(":")[0].split("."):
        names = (
            [item.get("name") for item in data if isinstance(item, Mapping)]
            if isinstance(data, list)
            else []
        )
        step: str | int = names.index(word) if word in names else word
        if not (isinstance(data, Mapping) and step in data) and not isinstance(step, int):
            break
        path.append(step)
        data = data[step]
    return f"{document.place(tuple(path))}: {problem}"


def _data_path(location: tuple[str | int, ...], data: Any) -> KeyPath:
    """The part of pydantic's location that exists in the recipe (it adds the names of union
    members).
    """
    path: list[str | int] = []
    for position, step in enumerate(location):
        last = position == len(location) - 1
        in_map = isinstance(data, Mapping) and step in data
        if in_map or (isinstance(data, list) and isinstance(step, int) and step < len(data)):
            path.append(step)
            data = data[step]
        elif (
            last
            and isinstance(data, Mapping)
            and isinstance(step, str)
            and "[" not in step
            and step.islower()
        ):
            path.append(step)
    return tuple(path)


_LIMITS = {
    "greater_than_equal": ("ge", "must be at least"),
    "greater_than": ("gt", "must be more than"),
    "less_than_equal": ("le", "must be at most"),
    "less_than": ("lt", "must be less than"),
}

_KINDS = {"int": "a whole number", "float": "a number"}


def _reason(detail: Any, path: KeyPath, model: type[pydantic.BaseModel]) -> str:
    kind, value, context = detail["type"], detail.get("input"), detail.get("ctx", {})
    if kind == "extra_forbidden":
        known = sorted(_keys_at(model, path[:-1]))
        return (
            f"unknown key{nearest(str(path[-1]), known)}; known keys here: "
            f"{', '.join(known) or 'none'}"
        )
    if kind == "missing":
        return "is required and missing"
    if kind == "literal_error":
        allowed = context.get("expected", "")
        choices = [word.strip("' ") for word in allowed.replace(" or ", ", ").split(",")]
        return f"{_show(value)} is not allowed{nearest(str(value), choices)}; allowed: {allowed}"
    if kind in _LIMITS:
        name, must = _LIMITS[kind]
        number = float(value)  # of text too: pydantic reads numbers in quotes
        share = (
            f" (for {number:g} % write {number / 100:g})"
            if context[name] == 1 and 1 < number <= 100
            else ""
        )
        return f"{_show(value)} {must} {context[name]:,.10g}{share}"
    if kind in ("tuple_type", "list_type"):
        return (
            f"{_show(value)} is not a list; write {[value] if isinstance(value, str) else '[...]'}"
        )
    if kind in ("model_type", "model_attributes_type"):
        keys = ", ".join(sorted(_keys_at(model, path)))
        return f"{_show(value)} is not a map; write {{key: value}}, with keys of: {keys}"
    if kind == "dict_type":
        return f"{_show(value)} is not a map; write {{name: value}}"
    if kind == "string_type":
        quote = "; put it in quotes" if isinstance(value, (bool, int, float)) else ""
        return f"{_show(value)} is not text{quote}"
    if kind in ("bool_parsing", "bool_type"):
        return f"{_show(value)} is neither true nor false"
    if (
        kind.partition("_")[0] in _KINDS and kind != "float_finite"
    ):  # int_parsing, int_from_float, ...
        return f"{_show(value)} is not {_KINDS[kind.partition('_')[0]]}"
    if kind == "too_short":
        return f"is empty; state at least {context.get('min_length', 1)}"
    if kind == "value_error":
        message = str(context.get("error", detail["msg"]))
        message = message.replace("None is", "null is") if value is None else message
        return (
            message
            if _show(value) in message or isinstance(value, (dict, list))
            else f"{_show(value)}: {message}"
        )
    return f"{_show(value)}: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def nearest(word: str, known: list[str]) -> str:
    """` (did you mean 'x'?)` where something known is close, else nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _show(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def _keys_at(model: Any, path: KeyPath) -> set[str]:
    """Keys that the models allow below `path`, over all members of unions on the way."""
    return {
        info.alias or name
        for found in _models_at(model, path)
        for name, info in found.model_fields.items()
    }


def _models_at(model: Any, path: KeyPath) -> list[type[pydantic.BaseModel]]:
    return [found for found in annotations_at(model, path) if isinstance(found, type)]


def annotations_at(model: Any, path: KeyPath) -> list[Any]:
    """Models, maps and lists that are allowed at `path`, over all members of unions on the way."""
    candidates = _models(model)
    for step in path:
        following: list[Any] = []
        for candidate in candidates:
            if isinstance(candidate, type) and issubclass(candidate, pydantic.BaseModel):
                for name, info in candidate.model_fields.items():
                    if step in (name, info.alias):
                        following += _models(info.annotation)
            elif (typing.get_origin(candidate) is dict) == isinstance(step, str):
                following += _models(typing.get_args(candidate)[-1 if isinstance(step, str) else 0])
        candidates = following
    return candidates


def members(annotation: Any) -> list[Any]:
    """The members of a union, nested unions included; any other annotation is its own only
    member.
    """
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return members(typing.get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [found for member in typing.get_args(annotation) for found in members(member)]
    return [annotation]


def _models(annotation: Any) -> list[Any]:
    """Models, maps and lists that an annotation allows."""
    return [
        found
        for found in members(annotation)
        if typing.get_origin(found) in (dict, list, tuple)
        or (isinstance(found, type) and issubclass(found, pydantic.BaseModel))
    ]
