"""Scheme `s3://`: listed by s3fs, read by signed HTTP requests, so that all that holds for HTTP
(pacing, retries, ranges, verification) holds here too.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Iterator
from typing import Any

from infra.remote.access import Access
from infra.remote.errors import NoMatch, NoSuchObject, RemoteError
from infra.remote.http import UNSTATED, stat_target
from infra.remote.request import Target
from infra.remote.s3_service import asked, filesystem, has_credentials, hint, pays
from infra.stage import Pin, StageError

_SIGNED_S = 6 * 3600
_RENEWED_S = 3600
"""Signatures hold for six hours (or as long as the credentials), and are made anew every hour."""

_MOST_NEAR = 5
_SUGGESTED_KEYS = 1000


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
    denied = f"{hint()}. (S3 refuses a missing object too where listing is not allowed)"
    paying = {"x-amz-request-payer": "requester"} if pays() and has_credentials() else {}
    return Target(address, paying, validator, denied, etagged=True)  # a signed header is sent too


@functools.lru_cache(maxsize=4096)
def _signed(url: str, access: Access, hour: int, process: int) -> str:
    system = filesystem(access)
    more = {"RequestPayer": "requester"} if pays() and has_credentials() else {}
    signed = asked(url, access, lambda: str(system.url(url, _SIGNED_S, **more)))
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


def _listed(reference: str, access: Access) -> list[dict[str, Any]]:
    """Objects that match, in the order of their keys."""
    system = filesystem(access)
    path = reference.removeprefix("s3://")

    def ask() -> dict[str, Any]:
        if any(sign in path for sign in "*?["):
            return dict(system.glob(path, detail=True))
        return dict(system.find(path, detail=True))

    found = [entry for _, entry in sorted(asked(reference, access, ask).items())]
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
                asked(
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
