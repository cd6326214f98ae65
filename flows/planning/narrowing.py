"""A stage's parameters from a recipe's section; the name of a node that is alone of its stage."""

from __future__ import annotations

from typing import Any, TypeVar

from infra.stage import Parameters

MAIN = "main"
"""Name of the node where a recipe has only one of a stage."""

P = TypeVar("P", bound=Parameters)


def narrowed(kind: type[P], section: Parameters | None, /, **changes: Any) -> P:
    """A stage's parameters, taken from a recipe's section: a subclass with keys that the stage does
    not see.

    `changes` replace parameters. Raises `ValueError` for a section of another class.
    """
    if not isinstance(section, kind):
        raise ValueError(f"{type(section).__name__} is not a subclass of {kind.__name__}")
    if type(section) is kind and not changes:
        return section
    return kind(**{name: getattr(section, name) for name in kind.model_fields} | changes)
