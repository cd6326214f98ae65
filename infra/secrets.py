"""What secrets look like, and text without them.

Recipes and forms refuse what holds one (`flows.recipe.secrets`), addresses too
(`infra.remote.locations`). What libraries say cannot be refused: an error of theirs may repeat an
address with its password. Errors pass `without_secrets` where they leave a stage, a run or a
command, before anything logs or stores them.

The standard library only: training nodes import this before torch.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

SHAPES = {
    "a token of Hugging Face": "hf_[A-Za-z0-9]{16,}",
    "a key of AWS": "(?:AKIA|ASIA)[A-Z0-9]{16}",
    "a token of GitHub": r"(?:gh[oprsu]_[A-Za-z0-9]{16,}|github_pat_\w{20,})",
    "a token of GitLab": r"glpat-[\w-]{20,}",
    "a token of Slack": "xox[a-z]-[A-Za-z0-9-]{20,}",
    "a key of Google": r"AIza[\w-]{35}",
    "an API key": "sk-(?:proj-|ant-[a-z0-9]+-)?[A-Za-z0-9]{32,}",
    "a private key": "-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a password in an address": r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s@]*:[^/?#\s@]+@",
}
"""What it is -> an expression that finds it, in the syntax that Python and browsers share."""

NAMES = (
    "(?:token|secret|passw(?:or)?d|credentials?|(?:api|access|secret)[-_]?key"
    "|aws-?access-?key-?id)",
    "(?:^|[^a-z])(?:auth(?:orization)?|jwt|key|pwd|sig(?:nature)?)",
)
"""Expressions for the end of a name, in lower case, whose value is a secret: of a setting, a query
parameter, an environment variable.
"""

_NAME = re.compile(f"(?:{'|'.join(NAMES)})$", re.IGNORECASE)
_VARIABLE = re.compile(r"(?:AUTH_STRING|WEBHOOK(?:_URL)?)$", re.IGNORECASE)
"""Further environment variables whose values are secrets."""

_SHORTEST = 8
"""Characters of an environment variable's value below which it is no secret (`test`, `none`)."""

_FOUND = {what: re.compile(rf"(?<![A-Za-z0-9]){shape}") for what, shape in SHAPES.items()}
_KEY_BLOCK = re.compile(
    rf"{SHAPES['a private key']}(?:.*?-----END [A-Z ]*PRIVATE KEY-----|.*)", re.S
)
_LOGIN = re.compile(r"(?<=://)[^/?#\s@'\"]*:(?:[^/?#\s@]+@)+")
_TOKEN_LOGIN = re.compile(r"(?<=http://|ttps://)[^/?#\s@:'\"]+@", re.IGNORECASE)
"""A user without a password in an address of the web is most likely a token."""

_PARAMETER = re.compile(r"(?<=[?&;#])([\w.-]+)=(['\"]?)([^&;#\s'\"<>\\]+)")
_IN_JSON = re.compile(r"(?<=\\u0026)([\w.-]+)=()([^&;#\s'\"<>\\]+)")
_ENCODED = re.compile(r"(?<=%3F|%26)([\w.-]+)%3D()((?:(?!%26)[^&;#\s'\"<>\\])+)", re.IGNORECASE)
"""Parameters of an address: as it is, as JSON writes it, and as a parameter of another address."""

_HEADER = re.compile(
    r"\b((?:proxy-)?authorization|(?:set-)?cookie|x-[\w-]*(?:token|key)|api-key)"
    r"(['\"]?\s*[:=]\s*(?:b?['\"])?)([^\r\n'\"]{8,})",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(Bearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether the value of a setting or a query parameter of this name is a secret:
    `X-Amz-Signature`, `api_key`, `accessToken`.
    """
    return _NAME.search(name) is not None


def secret_in(text: str, environment: Mapping[str, str] | None = None) -> str:
    """In words, what secret a text holds: of a known shape, or of the environment; "" for none."""
    for what, shape in _FOUND.items():
        if shape.search(text):
            return what
    for value, name in of_environment(environment).items():
        if value in text:
            return f"the value of {name}"
    return ""


def redacted(text: str, environment: Mapping[str, str] | None = None) -> str:
    """The text with words in the place of each secret: of a known shape, of the environment, or in
    an address.
    """
    text = _LOGIN.sub("", _KEY_BLOCK.sub("[a private key]", text))
    text = _TOKEN_LOGIN.sub("", text)
    for shape in (_PARAMETER, _IN_JSON, _ENCODED):
        text = shape.sub(_without_value, text)
    text = _BEARER.sub(r"\1[secret]", _HEADER.sub(r"\1\2[secret]", text))
    for value, name in of_environment(environment).items():
        text = text.replace(value, f"[value of {name}]")
    for what, shape in _FOUND.items():
        text = shape.sub(f"[{what}]", text)
    return text


def of_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Secret -> the variable of the environment that holds it, the longest first: values of
    variables with such names, and passwords in addresses, as a proxy's.
    """
    found: dict[str, str] = {}
    for name, value in (os.environ if environment is None else environment).items():
        secret = is_secret_name(name) or _VARIABLE.search(name)
        # GOOGLE_APPLICATION_CREDENTIALS names a file, and PWD is no password
        held = [value] if secret and not (value.startswith("/") and Path(value).exists()) else []
        if name.upper().endswith("AUTH_STRING"):
            held.append(value.partition(":")[2])
        for login in _LOGIN.findall(value):
            password = login.partition(":")[2].removesuffix("@")
            held += [password, unquote(password)]
        found |= {secret: name for secret in held if len(secret) >= _SHORTEST}
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


def _without_value(found: re.Match[str]) -> str:
    if not is_secret_name(found[1]):
        return found[0]
    return found[0].removesuffix(found[3]) + "[secret]"


@contextlib.contextmanager
def without_secrets() -> Iterator[None]:
    """Errors that leave this hold no secret: neither they nor those they come from."""
    try:
        yield
    except Exception as error:
        clean = redacted_error(error)
        if clean is error:
            raise
        raise clean from None


def redacted_error(error: BaseException) -> BaseException:
    """The error itself, with secrets taken out of its text and of the errors that it comes from.

    One whose text cannot be changed is replaced by a `RuntimeError` that has its type and text.
    """
    errors = list(_all_of(error))
    for one in errors:
        if _holds_secret(one):
            _redact(one)
    if any(_holds_secret(one) for one in errors):
        return RuntimeError(f"{type(error).__name__}: {redacted(str(error))}")
    return error


def _all_of(error: BaseException) -> Iterator[BaseException]:
    """An error, the errors that it comes from, and those of groups."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            pending += [one.__cause__, one.__context__]
            pending += one.exceptions if isinstance(one, BaseExceptionGroup) else ()


def _holds_secret(error: BaseException) -> bool:
    text = "\n".join([str(error), repr(error), *getattr(error, "__notes__", ())])
    return redacted(text) != text


def _redact(error: BaseException) -> None:
    """Change what an error's text is made of: arguments, attributes, and an `OSError`'s fields."""
    error.args = tuple(_clean(value) for value in error.args)
    fields = ("filename", "filename2", "strerror") if isinstance(error, OSError) else ()
    for name in (*vars(error), *fields):
        value = getattr(error, name, None)
        if (clean := _clean(value)) != value:
            with contextlib.suppress(AttributeError, TypeError):
                setattr(error, name, clean)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, bytes):
        return redacted(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    if type(value) in (list, tuple):
        return type(value)(_clean(item) for item in value)
    return value
