"""Scheme `s3://`: listed by s3fs, read by signed HTTP requests, so that all that holds for HTTP
(pacing, retries, ranges, verification) holds here too.

Credentials are those of the environment (AWS_* variables, or a profile); without any, requests are
anonymous.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from infra.remote.access import Access
from infra.remote.answers import ADVICE, PASSING_CODES, another_region
from infra.remote.errors import Denied, NoMatch, NoSuchObject, RemoteError, Transient
from infra.remote.http import UNSTATED, stat_target
from infra.remote.request import Target
from infra.remote.retry import persist
from infra.stage import Pin, StageError

T = TypeVar("T")

_SIGNED_S = 6 * 3600
_RENEWED_S = 3600
"""Signatures hold for six hours (or as long as the credentials), and are made anew every hour."""

_MOST_NEAR = 5
_SUGGESTED_KEYS = 1000
_WITH_CREDENTIALS = "the credentials of the environment do not allow it; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, of an account that may read it"  # noqa: E501
_PAYER = "a bucket whose reader pays (requester pays) needs AWS_REQUEST_PAYER=requester"
_ANONYMOUS = "no credentials are set; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, of an account that may read it"  # noqa: E501


def stat(url: str, access: Access) -> Pin:
    """The pin of one object; a missing one is refused with its nearest neighbours."""
    _, key = _split(url)
    try:
        name = key.rpartition("/")[2]
        return stat_target(_target(url, access), url, name, access, head=False)
    except NoSuchObject:
        raise NoSuchObject(f"{url}: no such object{_neighbours(url, access)}") from None


def expand(reference: str, access: Access) -> list[Pin]:
    """Objects that a key, a pattern (`*`, `?`, `[...]`, `**`) or a prefix ending in `/` names, in
    the order of their keys. Names are relative to what the pattern has in common, as for folders.
    """
    bucket, key = _split(reference)
    if not any(sign in key for sign in "*?[") and key and not key.endswith("/"):
        try:
            return [stat(reference, access)]
        except NoSuchObject as error:
            if not (below := _listed(f"{reference}/", access)):
                raise NoMatch(str(error)) from None
            return _pins(below, f"{bucket}/{key}/")
    found = _listed(reference, access)
    if not found and key and not key.endswith("/"):
        with contextlib.suppress(NoSuchObject):  # `[1]` may be part of a name
            return [stat(reference, access)]
    if not found:
        raise NoMatch(f"{reference}: no object matches{_neighbours(reference, access)}")
    fixed = key.partition("*")[0].partition("?")[0].partition("[")[0].rpartition("/")[0]
    return _pins(found, f"{bucket}/{fixed}/" if fixed else f"{bucket}/")


def target(pin: Pin, access: Access) -> Target:
    """Where to GET a pinned object: a signed address."""
    return _target(pin.path, access, "" if pin.etag == UNSTATED else pin.etag)


def _target(url: str, access: Access, validator: str = "") -> Target:
    address = _signed(url, access, int(time.time() // _RENEWED_S), os.getpid())
    denied = f"{_hint()}. (S3 refuses a missing object too where listing is not allowed)"
    paying = {"x-amz-request-payer": "requester"} if pays() and has_credentials() else {}
    return Target(address, paying, validator, denied, etagged=True)  # a signed header is sent too


def _hint() -> str:
    if not has_credentials():
        return _ANONYMOUS
    return _WITH_CREDENTIALS if pays() else f"{_WITH_CREDENTIALS}; {_PAYER}"


def pays() -> bool:
    """Whether the environment agrees to pay for what is read from requester-pays buckets."""
    return os.environ.get("AWS_REQUEST_PAYER", "").lower() == "requester"


@functools.lru_cache(maxsize=4096)
def _signed(url: str, access: Access, hour: int, process: int) -> str:
    system = filesystem(access)
    more = {"RequestPayer": "requester"} if pays() and has_credentials() else {}
    signed = _asked(url, access, lambda: str(system.url(url, _SIGNED_S, **more)))
    return _keeping_dots(signed)


def _keeping_dots(url: str) -> str:
    """A URL in which `.` and `..` are parts of a key, and no way to another one."""
    address, mark, query = url.partition("?")
    parts = (
        part.replace(".", "%2E") if part in (".", "..") else part for part in address.split("/")
    )
    return "/".join(parts) + mark + query


def _split(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


def has_credentials() -> bool:
    """Whether the environment has AWS credentials of any kind."""
    names = (
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    )
    file = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials"
    return any(os.environ.get(name) for name in names) or Path(file).is_file()


def filesystem(access: Access) -> Any:
    """The s3fs file system of these settings. Raises `StageError` where s3fs is not installed."""
    try:
        import s3fs
    except ImportError:
        raise StageError(
            "s3:// needs the package s3fs, which is not installed: pip install 'puna[s3]'"
        ) from None

    endpoint = access.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3")
    anonymous = not has_credentials()
    style = "path" if endpoint or os.environ.get("AWS_ENDPOINT_URL") else "auto"
    system = s3fs.S3FileSystem(
        anon=anonymous,
        endpoint_url=endpoint or os.environ.get("AWS_ENDPOINT_URL"),
        cache_regions=not anonymous and style == "auto",
        use_listings_cache=False,
        requester_pays=pays() and not anonymous,
        config_kwargs={
            "s3": {"addressing_style": style},
            "signature_version": None if anonymous else "s3v4",
            "connect_timeout": access.connect_timeout_s,
            "read_timeout": access.read_timeout_s,
            "retries": {"max_attempts": 1},
        },
    )
    system.retries = 1  # `persist` tries again
    return system


def _listed(reference: str, access: Access) -> list[dict[str, Any]]:
    """Objects that match, in the order of their keys."""
    system = filesystem(access)
    path = reference.removeprefix("s3://")

    def ask() -> dict[str, Any]:
        if any(sign in path for sign in "*?["):
            return dict(system.glob(path, detail=True))
        return dict(system.find(path, detail=True))

    found = [entry for _, entry in sorted(_asked(reference, access, ask).items())]
    for entry in found:
        if entry["name"].endswith("/") and int(entry["size"] or 0):
            raise RemoteError(
                f"s3://{entry['name']}: holds {entry['size']} bytes, but its key ends in / as that "
                "of a folder does; copy it to another key, or name the others by a pattern such as "
                "*.gz"
            )
    return [entry for entry in found if entry["type"] == "file" and not entry["name"].endswith("/")]


def _pins(entries: list[dict[str, Any]], root: str) -> list[Pin]:
    return [
        Pin(
            f"s3://{entry['name']}",
            str(entry["name"]).removeprefix(root),
            "",
            int(entry["size"]),
            str(entry.get("ETag", "")).strip('"') or UNSTATED,
        )
        for entry in entries
    ]


def _neighbours(reference: str, access: Access) -> str:
    """What is there instead, for a message; "" where it cannot be listed."""
    from difflib import get_close_matches

    bucket, key = _split(reference)
    fixed = key.partition("*")[0].partition("?")[0].partition("[")[0].rstrip("/")
    folder = fixed.rpartition("/")[0]
    try:
        names = [
            name.rpartition("/")[2]
            for name in _first(
                _asked(
                    reference,
                    access,
                    lambda: filesystem(access).ls(f"{bucket}/{folder}", detail=False),
                )
            )
        ]
    except (RemoteError, StageError):
        return "; check bucket and key"
    if not names:
        return f"; there is nothing below s3://{bucket}/{folder}"
    near = get_close_matches(fixed.rpartition("/")[2], names, n=1, cutoff=0.6)
    guess = f" (did you mean {near[0]!r}?)" if near else ""
    more = ", ..." if len(names) > _MOST_NEAR else ""
    return f"{guess}; s3://{bucket}/{folder} has: {', '.join(names[:_MOST_NEAR])}{more}"


def _first(names: list[str]) -> Iterator[str]:
    yield from (name.rstrip("/") for name in names[:_SUGGESTED_KEYS])


def _asked(reference: str, access: Access, ask: Callable[[], T]) -> T:
    """The answer of s3fs, with its errors in words and retried as all are."""

    def attempt() -> T:
        try:
            return ask()
        except FileNotFoundError:
            bucket, _ = _split(reference)
            raise NoSuchObject(
                f"{reference.rstrip('/')}: there is no bucket {bucket!r}, or nothing in it; check "
                "its name"
            ) from None
        except PermissionError as error:
            code, _ = _code_of(error)
            if code in ADVICE:
                raise Denied(f"{reference}: refused ({code}: {error}); {ADVICE[code]}") from None
            raise Denied(
                f"{reference}: may not be listed ({error}); {_hint()}, or name each object: those "
                "of known names may be readable without permission to list"
            ) from None
        except StageError:
            raise
        except Exception as error:
            code, region = _code_of(error)
            if elsewhere := another_region(code, region):
                raise RemoteError(f"{reference}: refused ({code}); {elsewhere}") from None
            if code in ADVICE:
                raise Denied(f"{reference}: refused ({code}: {error}); {ADVICE[code]}") from None
            if code in PASSING_CODES or _passes(error):
                raise Transient(str(error) or type(error).__name__) from None
            said = f"{type(error).__name__}: {error}".rstrip(": ")
            raise RemoteError(
                f"{reference}: {said}; check bucket, key, and the AWS_* settings of the environment"
            ) from error

    return persist(attempt, reference, access.endpoint or "s3", access)


def _code_of(error: BaseException) -> tuple[str, str]:
    """(S3's code, the bucket's region) of what s3fs raised; "" for what is not known."""
    inner: BaseException | None = error
    while inner is not None and not hasattr(inner, "response"):
        inner = inner.__cause__ or inner.__context__
    answer = getattr(inner, "response", None)
    if not isinstance(answer, dict):
        return "", ""
    stated = answer.get("Error", {})
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region") or stated.get("Region", "")
    return str(stated.get("Code", "")), str(region)


def _passes(error: Exception) -> bool:
    """Whether an error of s3fs, botocore or aiohttp may pass by itself."""
    if isinstance(error, OSError):
        return error.errno != errno.EINVAL
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"HTTPClientError", "ConnectionError", "ClientError"})
