"""`null` in a recipe means "without".

- A value that may be absent is absent. A required value refuses null even if it has a default: "no
  guard" must not silently mean "the guard's defaults". Maps and lists that are empty by default are
  empty.
- In a map of named things (`sources`, `benchmarks`, `mixture`) null removes the thing. A name that
  is not in the map is considered a misspelling and refused.
- A value of an extended recipe is withdrawn, and its default applies. (Sections are reset with {}
  instead.)
- An unknown key is refused by the models, with null as with any other value.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

import pydantic
from pydantic.fields import FieldInfo

from flows.recipe.errors import annotations_at, members, nearest
from flows.recipe.file import KeyPath, YamlDocument, dotted


def settle_nulls(document: YamlDocument, model: type[pydantic.BaseModel]) -> list[str]:
    """Apply the nulls in the document's data; returns a problem for each that has no meaning."""
    problems: list[str] = []
    _settle(document.data, (), document, model, problems)
    return problems


def _settle(
    value: Any,
    path: KeyPath,
    document: YamlDocument,
    model: type[pydantic.BaseModel],
    problems: list[str],
) -> None:
    if isinstance(value, list):
        for index, item in enumerate(value):
            _settle(item, (*path, index), document, model, problems)
    elif isinstance(value, dict):
        for key, item in list(value.items()):
            here = (*path, key)
            if item is not None:
                _settle(item, here, document, model, problems)
                continue
            stays, problem = _meaning(here, value, here in document.replaced, model)
            if problem:
                problems.append(f"{document.place(here)}: {dotted(here)}: {problem}")
            if not stays:
                del value[key]


def _meaning(
    path: KeyPath, siblings: Mapping[str, Any], replaced: bool, model: type[pydantic.BaseModel]
) -> tuple[bool, str]:
    """Whether a null stays in the data as a value, and what is wrong with it."""
    key, parents = str(path[-1]), annotations_at(model, path[:-1])
    fields = [
        info
        for parent in parents
        if isinstance(parent, type) and issubclass(parent, pydantic.BaseModel)
        for name, info in parent.model_fields.items()
        if key in (name, info.alias)
    ]
    if fields:
        return _of_field(fields[0], key, replaced)
    values = [typing.get_args(parent)[1] for parent in parents if typing.get_origin(parent) is dict]
    if not values:
        return True, ""  # an unknown key, or data of any form
    if Any in values or any(type(None) in members(value) for value in values):
        return True, ""
    if replaced:
        return False, ""
    names = [str(name) for name, value in siblings.items() if value is not None]
    return (
        False,
        "null removes something that an extended recipe has, and there is no "
        f"{key!r}{nearest(key, names)}; it has: {', '.join(names) or 'nothing'}",
    )


def _of_field(info: FieldInfo, key: str, replaced: bool) -> tuple[bool, str]:
    """`_meaning` for a field of a model."""
    kinds = members(info.annotation)
    if info.is_required():
        return True, ""  # refused by its type
    default = info.get_default(call_default_factory=True)
    if type(None) in kinds:
        return default is not None, ""
    if isinstance(default, (Mapping, list, tuple)) and not default:
        return False, ""
    if isinstance(default, pydantic.BaseModel) and isinstance(
        default.model_dump(), dict
    ):  # a duration is not a section
        keys = ", ".join(inner.alias or name for name, inner in type(default).model_fields.items())
        return (
            False,
            f"null means without, and {key} cannot be left out; write {{}} for its defaults, or "
            f"set {keys}",
        )
    if replaced:
        return False, ""
    empty = "[] for none, or " if isinstance(default, (list, tuple)) else ""
    return False, (
        f"null means without, and this cannot be left out; write {empty}a value, or remove the "
        f"line for the default ({_shown(default)})"
    )


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return (
        f"[{', '.join(map(str, default))}]" if isinstance(default, (list, tuple)) else str(default)
    )
