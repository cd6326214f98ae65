"""Credentials in a run's options. Prefect stores a flow run's parameters in its database and shows
them on the dashboard, so the schema of every deployment has an expression by which the server
refuses a run before it stores it (`Plain`).

It sees one text and no environment. `flows.recipe.secrets` looks more closely, when the recipe is
read.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import WithJsonSchema

_NAMES = (
    "(^|api|access|secret|[^a-z])key",
    "(^|[^a-z])(auth(orization)?|passw(or)?d|secret|sig(nature)?|token)",
    "credentials?",
)
"""Names of settings and of query parameters whose value is a secret."""

_SHAPES = ("hf_[A-Za-z0-9]{16}", "A[KS]IA[A-Z0-9]{16}", "gh[oprsu]_[A-Za-z0-9]{16}")
"""How tokens of Hugging Face, AWS and GitHub begin."""


def _either_case(expression: str) -> str:
    """The expression for both cases of its letters; browsers know no `(?i)`."""
    return re.sub(
        r"\[\^a-z]|[a-z]",
        lambda found: "[^A-Za-z]" if len(found[0]) > 1 else f"[{found[0].upper()}{found[0]}]",
        expression,
    )


CREDENTIAL = "|".join(
    (r"://[^/?#\s@]*:[^/?#\s@]+@", *(f"{_either_case(name)}=" for name in _NAMES), *_SHAPES)
)
"""Found in text that carries a credential: a password before a host, a secret's name, a token."""

Plain = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": rf"^(?![\s\S]*?({CREDENTIAL}))"})
]
"""A string parameter that carries no credential, as far as its form tells."""
