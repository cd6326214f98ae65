"""Secrets in a recipe or in its overrides: refused, as both are written into records, manifests,
reports and the dashboard's database.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from flows.recipe.file import KeyPath, YamlDocument, dotted

ADVICE = (
    "recipes and overrides are stored with every run. Remove it, and give it to the process "
    "instead: in the environment (AWS_* for s3://, HF_TOKEN for hf://) or in a block of Prefect"
)

_SECRET_NAME = re.compile(
    r"(?:TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|PRIVATE_KEY|AUTH_STRING|CREDENTIALS?)$"
)
"""Environment variables whose values are secrets, by the end of their names."""

_SHORTEST = 8
"""Characters of an environment variable's value below which it is no secret (`test`, `none`)."""

_SHAPES = (
    ("a token of Hugging Face", re.compile(r"\bhf_[A-Za-z0-9]{20,}")),
    ("a key of AWS", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a token of GitHub", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{20,})")),
    ("a token of GitLab", re.compile(r"\bglpat-[\w-]{20,}")),
    ("an API key", re.compile(r"\bsk-(?:proj-|ant-[a-z0-9]+-)?[A-Za-z0-9]{32,}")),
    ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    ("a password in an address", re.compile(r"\b[a-z][a-z0-9+.-]*://[^/\s@]*:[^/\s@]+@", re.I)),
)


def secrets_in(document: YamlDocument) -> list[str]:
    """A problem for each value of a recipe that holds a secret; none repeats it."""
    return [
        f"{document.place(path)}: {_shown(path)}: holds {what}, and {ADVICE}"
        for path, text in _texts(document.data, ())
        if (what := secret_in(text))
    ]


def secret_in(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """In words, what secret a text holds: of a known shape, or the value of an environment variable
    that is named like a secret. "" for none.
    """
    for what, shape in _SHAPES:
        if shape.search(text):
            return what
    for name, value in environment.items():
        if len(value) >= _SHORTEST and value in text and _SECRET_NAME.search(name.upper()):
            return f"the value of {name}"
    return ""


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
