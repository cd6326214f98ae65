"""Single objects of an S3: read, listed, deleted, each tried again while it may pass."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from infra.remote.access import Access
from infra.remote.errors import NoSuchObject, RemoteError
from infra.remote.http import UNSTATED
from infra.remote.s3_service import T, asked, bucket_of, filesystem, status_of
from infra.stage import Pin

A = TypeVar("A")

_BLOCK_BYTES = 8 << 20
_MOST_DELETED = 1000
_PAGE = 1000
WRITER, SHA256 = "puna-writer", "puna-sha256"
_REFUSED = ("may not be read or written", "")


@dataclass(frozen=True)
class Head:
    """What a server says of an object. `sha256` and `writer` are what we wrote with it; "" where
    the server keeps no metadata.
    """

    bytes: int
    etag: str
    sha256: str = ""
    writer: str = ""


def key_of(url: str) -> str:
    """The key of `s3://bucket/key`."""
    return url.removeprefix("s3://").partition("/")[2]


def read(url: str, access: Access) -> bytes:
    """All of a small object. Raises `NoSuchObject`."""
    from fsspec.asyn import sync

    system = filesystem(access)

    async def body() -> bytes:
        answer = await system._call_s3("get_object", Bucket=bucket_of(url), Key=key_of(url))
        async with answer["Body"] as stream:
            return bytes(await stream.read())

    return asked_of(url, access, lambda: bytes(sync(system.loop, body)))


def head(url: str, access: Access) -> Head:
    """Size and identity of an object. Raises `NoSuchObject`."""
    answer = call(url, access, "head_object")
    said = {name.lower(): value for name, value in answer.get("Metadata", {}).items()}
    return Head(
        int(answer["ContentLength"]),
        str(answer.get("ETag", "")).strip('"'),
        said.get(SHA256, ""),
        said.get(WRITER, ""),
    )


def pin_of(url: str, found: Head) -> Pin:
    """The pin of an object, by what its server says of it."""
    name = key_of(url).rpartition("/")[2]
    return Pin(url, name, found.sha256, found.bytes, found.etag or UNSTATED)


@dataclass(frozen=True)
class Listed:
    """What is below a prefix: name (relative to it) -> bytes, and the names of folders."""

    sizes: dict[str, int]
    folders: list[str]


def listed(prefix: str, access: Access, *, deep: bool = True, most: int = 0) -> Listed:
    """What is below `s3://bucket/prefix/`: everything, or (not `deep`) only what is directly
    there. `most`: stop after about so many, 0 for never.
    """
    system, key = filesystem(access), key_of(prefix)
    words: dict[str, Any] = {"Bucket": bucket_of(prefix), "Prefix": key, "MaxKeys": _PAGE}
    words |= {} if deep else {"Delimiter": "/"}
    sizes: dict[str, int] = {}
    folders: list[str] = []

    def ask() -> dict[str, Any]:
        return dict(system.call_s3("list_objects_v2", **words))

    while True:
        page = asked_of(prefix, access, ask)
        for entry in page.get("Contents", ()):
            sizes[entry["Key"][len(key) :]] = int(entry["Size"])
        for found in page.get("CommonPrefixes", ()):
            folders.append(found["Prefix"][len(key) :].rstrip("/"))
        if not page.get("IsTruncated") or (most and len(sizes) >= most):
            return Listed(sizes, folders)
        words["ContinuationToken"] = page["NextContinuationToken"]


def delete(url: str, access: Access) -> None:
    """Delete an object; nothing happens where there is none."""
    with contextlib.suppress(NoSuchObject):
        call(url, access, "delete_object")


def delete_all(prefix: str, names: Sequence[str], access: Access) -> None:
    """Delete objects by their names below a prefix, many by one request where the server can."""
    system, bucket, key = filesystem(access), bucket_of(prefix), key_of(prefix)
    for start in range(0, len(names), _MOST_DELETED):
        some = [{"Key": key + name} for name in names[start : start + _MOST_DELETED]]

        def ask(some: list[dict[str, str]] = some) -> dict[str, Any]:
            wanted = {"Objects": some, "Quiet": True}
            return dict(system.call_s3("delete_objects", Bucket=bucket, Delete=wanted))

        try:
            failed = asked_of(prefix, access, ask).get("Errors", ())
            left = [f"s3://{bucket}/{entry['Key']}" for entry in failed]
        except RemoteError as error:
            if status_of(error) not in (405, 501):
                raise
            left = [f"s3://{bucket}/{entry['Key']}" for entry in some]
        each(lambda url: delete(url, access), left)


def each(act: Callable[[A], T], items: Sequence[A]) -> list[T]:
    """What `act` returns for each, several at a time, in order."""
    if len(items) < 2:
        return [act(item) for item in items]
    with concurrent.futures.ThreadPoolExecutor(min(16, len(items))) as pool:
        return list(pool.map(act, items))


def sha256_of(url: str, access: Access) -> str:
    """sha256 of what the server holds, read block by block. Raises `NoSuchObject`."""
    from infra.remote.ranges import Range, read_ranges

    pin = pin_of(url, head(url, access))
    digest = hashlib.sha256()

    def blocks() -> Iterator[Range]:
        for start in range(0, pin.bytes, _BLOCK_BYTES):
            yield Range(pin, start, min(start + _BLOCK_BYTES, pin.bytes))

    for block in read_ranges(blocks(), access, gap=0):
        digest.update(block)
    return digest.hexdigest()


def call(url: str, access: Access, method: str, **words: Any) -> dict[str, Any]:
    """The answer to one request on an object."""
    system = filesystem(access)

    def ask() -> dict[str, Any]:
        return dict(system.call_s3(method, Bucket=bucket_of(url), Key=key_of(url), **words))

    return asked_of(url, access, ask)


def asked_of(url: str, access: Access, ask: Callable[[], T]) -> T:
    """What `ask` returns, tried again while its error may pass. Raises `RemoteError` in words."""
    return asked(url, access, ask, _REFUSED)
