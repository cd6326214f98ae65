"""References to remote objects: their scheme, their name, and what must not stand in them."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import parse_qsl, unquote, urlsplit

from infra.secrets import is_secret_name
from infra.stage import StageError

MODULES = {
    "http": "infra.remote.http",
    "https": "infra.remote.http",
    "s3": "infra.remote.s3",
    "hf": "infra.remote.hub",
}
"""Scheme -> the module that knows it (`infra.remote.schemes.Scheme`)."""

_USER = re.compile(r"^([^:/?#]+://)[^/?#]*@")
_PASSWORD = re.compile(r"^([^:/?#]+://)[^/?#@]*:[^/?#]*@")  # hf://org@v1 has none


def scheme_of(reference: str) -> str:
    """The scheme of a reference, in lower case; "" for a path."""
    scheme, separator, _ = reference.partition("://")
    return scheme.lower() if separator else ""


def is_remote(reference: str) -> bool:
    """Whether a reference has a scheme, known or not, that is not `file`."""
    return scheme_of(reference) not in ("", "file")


def name_of(url: str) -> str:
    """The last part of a URL's path, such as `part-0.warc.gz`; the host where there is none."""
    parts = urlsplit(url)
    return unquote(posixpath.basename(parts.path.rstrip("/"))) or parts.netloc


def shown(url: str) -> str:
    """A URL for messages: without a password and, on the web, without its query, which may hold a
    signature.
    """
    web = scheme_of(url) in ("http", "https")
    url = url.partition("#")[0].partition("?")[0] if web else url
    return (_USER if web else _PASSWORD).sub(r"\1", url)


def check(reference: str) -> None:
    """Raise `StageError` for a reference of an unknown scheme, without a host, or with a secret in
    it.
    """
    scheme = scheme_of(reference)
    if (stated := reference.partition("://")[0]) not in MODULES:
        known = ", ".join(f"{name}://" for name in MODULES)
        raise StageError(
            f"{shown(reference)}: {stated}:// is not supported; use a local path, or {known}"
        )
    try:
        parts = urlsplit(reference)
        host = parts.hostname if scheme in ("http", "https") else parts.netloc
        _ = parts.port if scheme in ("http", "https") else None
    except ValueError as error:
        raise StageError(f"{shown(reference)}: is not a URL ({error})") from None
    if not host:
        raise StageError(f"{shown(reference)}: names no {'bucket' if scheme == 's3' else 'host'}")
    if scheme in ("http", "https", "s3") and "@" in parts.netloc:
        without = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
        raise StageError(
            f"{without}: a password in an address would be written into manifests; remove it. "
            "Credentials come from the environment: AWS_* for s3://, HF_TOKEN for hf://"
        )
    if scheme in ("http", "https"):
        stated = f"{parts.query}&{parts.fragment}"
        names = [name for name, _ in parse_qsl(stated, keep_blank_values=True)]
        if secret := [name for name in names if is_secret_name(name)]:
            raise StageError(
                f"{shown(reference)}: its {secret[0]!r} is a secret, which would be written into "
                "manifests; name the object as s3:// or hf:// with credentials in the environment, "
                "or download it and name the local path"
            )
