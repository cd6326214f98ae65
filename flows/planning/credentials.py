"""Credentials in a run's options. Prefect stores a flow run's parameters in its database and shows
them on the dashboard, so a request that carries a credential is refused.

The same expression is in the schema of every deployment, where the server refuses a run before it
stores it (`Plain`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import WithJsonSchema

from flows.recipe.file import RecipeError

_NAMES = (
    "(^|api|access|secret|[^a-z])key([-_]?id)?",
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


CREDENTIAL = "|".join((r"://[^/?#\s]*@", *(f"{_either_case(name)}=" for name in _NAMES), *_SHAPES))
"""Found in text that carries a credential: a password before a host, a secret's name, a token."""

Plain = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": rf"^(?![\s\S]*?({CREDENTIAL}))"})
]
"""A string parameter that carries no credential, as far as its form tells."""


def refuse_credentials(words: Iterable[str]) -> None:
    """Raise `RecipeError` for options that carry a credential; the message does not repeat it."""
    problems = [
        f"{word.partition('=')[0] if '=' in word else word.partition('://')[0]}: carries a "
        "credential, and a run's options are stored; give it in the environment (AWS_*, HF_TOKEN), "
        "or in the worker's"
        for word in words
        if re.search(CREDENTIAL, word)
    ]
    if problems:
        raise RecipeError(problems)
