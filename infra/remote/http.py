"""Scheme `http://` and `https://`: objects at plain addresses, which cannot be listed."""

from __future__ import annotations

import contextlib

from infra.remote.access import Access
from infra.remote.answers import Response, validator_of
from infra.remote.bodies import surely_a_page
from infra.remote.errors import Foreign, RemoteError
from infra.remote.locations import name_of, shown
from infra.remote.request import Target, request
from infra.remote.retry import persist
from infra.stage import Pin, StageError

UNSTATED = "unstated"
"""The `etag` of an object whose server states none: its size is all that is known of it."""


def stat(url: str, access: Access) -> Pin:
    """The pin of the object at an address."""
    return stat_target(Target(url), url, name_of(url), access)


def expand(reference: str, access: Access) -> list[Pin]:
    """The one object at an address. Raises `StageError` for patterns and folders."""
    path = reference.partition("?")[0]
    if "*" in path or "[" in path or path.endswith("/"):
        raise StageError(
            f"{shown(reference)}: a web server cannot be listed; name each file, or use s3:// or "
            "hf:// where the data is there too"
        )
    return [stat(reference, access)]


def target(pin: Pin, access: Access) -> Target:
    """Where to GET a pinned object."""
    return Target(pin.path, validator="" if pin.etag == UNSTATED else pin.etag)


def stat_target(target: Target, path: str, name: str, access: Access, head: bool = True) -> Pin:
    """The pin of what a target answers with: size and validator, by HEAD, or by the first byte
    where the server does not answer HEAD, or a signature is for GET (`head` False).

    HEAD is asked once. Servers that allow GET alone refuse it with any status, have no answer, or
    state a length of 0; what is refused, missing or empty is so for GET too.
    """
    what = shown(path)
    methods = iter(["HEAD"] if head else [])

    def ask() -> Pin:
        for method in methods:
            with (
                contextlib.suppress(RemoteError),
                request(target, access, method, what=what) as response,
            ):
                size = _whole_size(response)
                if size and response.status == 200:
                    return _pin(response, size, path, name)
        with request(target, access, headers={"Range": "bytes=0-0"}, what=what) as response:
            size = _whole_size(response)
            if size is None:
                raise RemoteError(
                    f"{what}: the server does not say how long it is, so that a cut would not be "
                    "noticed; download it, and name the local path"
                )
            return _pin(response, size, path, name)

    return persist(ask, what, target.host, access)


def _pin(response: Response, size: int, path: str, name: str) -> Pin:
    kind = response.headers.get("Content-Type", "")
    if surely_a_page(name, kind):
        raise Foreign(
            f"{shown(path)}: the server answers with {kind.partition(';')[0]}, which {name} is "
            "not; perhaps it needs a login. Download it, and name the local path"
        )
    return Pin(path, name, "", size, validator_of(response) or UNSTATED)


def _whole_size(response: Response) -> int | None:
    """Bytes of the whole object, of which the response may be a range; None where not stated."""
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    if response.status in (206, 416):
        return int(total) if total.isdigit() else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None
