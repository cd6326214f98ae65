"""Secrets in a recipe, in its overrides and in a run's options: refused, as all of these are
written into records, manifests, reports and Prefect's database.

A recipe is looked at when it is read. Prefect stores a flow run's parameters before that, so the
schema of every deployment has an expression by which the server refuses a run before it stores it
(`Plain`); it sees one text and no environment. What a secret is, `infra.secrets` knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import WithJsonSchema

from flows.recipe.file import KeyPath, YamlDocument, dotted
from infra.secrets import NAMES, SHAPES, secret_in

ADVICE = (
    "recipes and overrides are stored with every run. Remove it, and give it to the process "
    "instead: in the environment (AWS_* for s3://, HF_TOKEN for hf://), which a work pool can take "
    "from a block of Prefect"
)


def _either_case(expression: str) -> str:
    """The expression for both cases of its letters; browsers know no `(?i)`."""
    return re.sub(
        r"\[\^a-z]|\(\?:|[a-z]",
        lambda found: {"[^a-z]": "[^A-Za-z]", "(?:": "(?:"}.get(
            found[0], f"[{found[0].upper()}{found[0]}]"
        ),
        expression,
    )


CREDENTIAL = "|".join((*(f"{_either_case(name)}=" for name in NAMES), *SHAPES.values()))
"""Found in text that carries a credential: a secret's name with a value, or a secret's shape."""

Plain = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": rf"^(?![\s\S]*?({CREDENTIAL}))"})
]
"""A string parameter that carries no credential, as far as its form tells."""


def secrets_in(document: YamlDocument) -> list[str]:
    """A problem for each value of a recipe that holds a secret; none repeats it."""
    return [
        f"{document.place(path)}: {_shown(path)}: holds {what}, and {ADVICE}"
        for path, text in _texts(document.data, ())
        if (what := secret_in(text))
    ]


def _texts(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Every text of a recipe, keys of maps too, with its place."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield path, str(key)
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts(item, (*path, number))


def _shown(path: KeyPath) -> str:
    """The path, unless a key of it is the secret."""
    return "a key" if secret_in(dotted(path)) else dotted(path) or "a key"
