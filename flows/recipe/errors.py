"""Turns validation errors into sentences: file, line, value, what is allowed, the nearest key."""

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
    """One line for every value that is wrong."""
    by_path: dict[KeyPath, list[Any]] = {}
    details = error.errors()
    inside = {detail["loc"][:length] for detail in details for length in range(len(detail["loc"]))}
    for detail in details:
        if detail["type"] == "too_short" and detail["loc"] in inside:
            # pydantic counts a list's invalid items as missing; these have errors themselves
            continue
        path = _data_path(detail["loc"], document.data, model)
        by_path.setdefault(path, []).append(detail)
    problems = []
    for path, at_path in by_path.items():
        place = document.place(path if at_path[0]["type"] != "missing" else path[:-1])
        key = dotted(path) or "recipe"
        # If a value may be a number or a word, explain the number and append the words.
        words = [d["ctx"]["expected"] for d in at_path if d["type"] == "literal_error"]
        others = [d for d in at_path if d["type"] != "literal_error"] if len(at_path) > 1 else []
        reasons = [
            _reason(detail, path, model).removeprefix(f"{key}: ")
            for detail in others or at_path[:1]
        ]
        reasons += [f"write {word}" for word in words if others]
        problems.append(f"{place}: {key}: {'; or '.join(dict.fromkeys(reasons))}")
    return problems


def located_problem(problem: str, document: YamlDocument) -> str:
    """A problem that starts with its dotted path, prefixed with its file and line."""
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


def _data_path(
    location: tuple[str | int, ...], data: Any, model: type[pydantic.BaseModel]
) -> KeyPath:
    """The part of pydantic's location that exists in the recipe, or is missing in it; without the
    names of union members that pydantic adds.
    """
    path: list[str | int] = []
    for position, step in enumerate(location):
        last = position == len(location) - 1
        in_map = isinstance(data, Mapping) and step in data
        if in_map or (isinstance(data, list) and isinstance(step, int) and step < len(data)):
            path.append(step)
            data = data[step]
        elif last and isinstance(data, Mapping) and step in _keys_at(model, tuple(path)):
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
        number = float(value)  # may be text: pydantic accepts numbers in quotes
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
    number_kind = _KINDS.get(kind.partition("_")[0])  # of int_parsing, int_from_float, ...
    if number_kind is not None and kind != "float_finite":
        return f"{_show(value)} is not {number_kind}"
    if kind == "string_too_short" and not value:
        return "is empty text; state it, or remove the key"
    if kind == "string_pattern_mismatch" and context["pattern"] == "^[A-Za-z0-9][A-Za-z0-9._-]*$":
        return f"{_show(value)}: use letters, digits and '._-', first a letter or digit"
    if kind == "too_short":
        return f"is empty; state at least {context.get('min_length', 1)}"
    if kind == "value_error":
        message = str(context.get("error", detail["msg"]))
        message = message.replace("None is", "null is") if value is None else message
        if _show(value) in message or isinstance(value, (dict, list)):
            return message
        if path and path[-1] == "key":  # what stands there by mistake may be a credential
            return message
        return f"{_show(value)}: {message}"
    return f"{_show(value)}: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def nearest(word: str, known: list[str]) -> str:
    """` (did you mean 'x'?)` for the closest known word; "" if none is close."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _show(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def _keys_at(model: Any, path: KeyPath) -> set[str]:
    """Keys that the models allow below `path`, for all members of the unions on it."""
    return {
        info.alias or name
        for allowed in _models_at(model, path)
        for name, info in allowed.model_fields.items()
    }


def _models_at(model: Any, path: KeyPath) -> list[type[pydantic.BaseModel]]:
    return [allowed for allowed in annotations_at(model, path) if isinstance(allowed, type)]


def annotations_at(model: Any, path: KeyPath) -> list[Any]:
    """Models, maps and lists allowed at `path`, considering every member of unions along it."""
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
    """The members of a union and of unions nested in it; [annotation] if it is not a union."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return members(typing.get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [inner for member in typing.get_args(annotation) for inner in members(member)]
    return [annotation]


def _models(annotation: Any) -> list[Any]:
    """Models, maps and lists that an annotation allows."""
    return [
        member
        for member in members(annotation)
        if typing.get_origin(member) in (dict, list, tuple)
        or (isinstance(member, type) and issubclass(member, pydantic.BaseModel))
    ]
