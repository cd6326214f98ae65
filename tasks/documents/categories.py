"""Categories of documents, the names that mixtures and bins go by: which of them a source feeds.

    category: web-en                                    one for all documents of the source
    category: {en: web-en, zh: web-zh}                  by language
    category: {field: meta.kind, of: [books, code]}     by a field of the records

Imports only pydantic and `infra.stage`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic

from infra.stage import Parameters

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

CategoryName = Annotated[str, pydantic.Field(pattern=f"^{_NAME.pattern}$", max_length=100)]
"""Categories become folders."""


class FieldCategory(Parameters):
    """Records carry their own category, in `field` (dotted: a path into objects).

    `of`: the values that are categories, as a list, or as a map {value: category} where a value is
    no name of a category, or several are one. `rest`: the category of records that have another
    value there, or none; without it these records are dropped, and counted by value.
    """

    field: str = pydantic.Field(min_length=1)
    of: dict[str, CategoryName] = pydantic.Field(default_factory=dict, validate_default=True)
    rest: CategoryName | None = None

    @pydantic.field_validator("of", mode="before")
    @classmethod
    def _by_value(cls, value: object) -> object:
        if not value:
            raise ValueError(
                "state which values of the field are categories, as mixtures name these: "
                "of: [books, code], or of: {value: category}"
            )
        if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
            return value
        for one in value:
            if not _NAME.fullmatch(one):
                raise ValueError(
                    f"{one!r} cannot be a category, which is a folder (letters, digits, '._-'); "
                    f"write a map of values and categories: {{{one}: NAME, ...}}"
                )
        return {one: one for one in value}

    @pydantic.field_validator("of")
    @classmethod
    def _one_line(cls, of: dict[str, str]) -> dict[str, str]:
        for value in of:
            if value != " ".join(value.split()) or not value:
                raise ValueError(
                    f"the value {value!r} is never read: fields are read with single blanks "
                    "between words and none around them; write it so"
                )
        return of


def _kind(value: Any) -> str:
    if isinstance(value, FieldCategory) or (isinstance(value, Mapping) and "field" in value):
        return "by field"
    return "by language" if isinstance(value, Mapping) else "of all"


Category = Annotated[
    Annotated[CategoryName, pydantic.Tag("of all")]
    | Annotated[dict[CategoryName, CategoryName], pydantic.Tag("by language")]
    | Annotated[FieldCategory, pydantic.Tag("by field")],
    pydantic.Discriminator(_kind),
]
"""One category, language -> category, or a field of the records."""


def categories_fed(category: str | dict[str, str] | FieldCategory | None) -> tuple[str, ...]:
    """The categories that a source with this setting feeds."""
    if category is None:
        return ()
    if isinstance(category, str):
        return (category,)
    if isinstance(category, dict):
        return tuple(dict.fromkeys(category.values()))
    rest = (category.rest,) if category.rest else ()
    return tuple(dict.fromkeys((*category.of.values(), *rest)))
