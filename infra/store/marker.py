"""The marker of a store on S3, `<root>/puna-store.json`: here is a store, and its server refuses to
overwrite objects where it is asked to.

It is the object that the server is tried on before each run: a conditional write of it must be
refused, by one request and in parts. Stores inside each other would delete each other's files; the
marker tells them.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from infra.remote import s3_objects, s3_writes
from infra.remote.errors import NoSuchBucket, NoSuchObject, RemoteError
from infra.remote.s3_writes import NoCondition
from infra.store.directory import NoBucket, NotExclusive, StoreUnusable

if TYPE_CHECKING:
    from infra.store.s3_directory import S3Directory

NAME = "puna-store.json"
_MOST_FOREIGN = 20_000
"""Objects below a new store's root that are looked through for other stores."""


def is_there(root: S3Directory) -> bool:
    """Whether a store has been made there; one request. Raises `NoBucket`, `Denied` ..., and
    `StoreUnusable` where something else has the marker's name.
    """
    try:
        content = s3_objects.read(f"{root.url}/{NAME}", root.access)
    except NoSuchBucket:
        bucket = root.url.removeprefix("s3://").partition("/")[0]
        where = root.access.endpoint or "Amazon S3"
        raise NoBucket(
            f"{root.url}: there is no bucket {bucket!r} at {where}; make it, name another store, "
            "or set AWS_ENDPOINT_URL to the address of the S3 that has it"
        ) from None
    except NoSuchObject:
        return False
    with contextlib.suppress(ValueError):
        said = json.loads(content)
        if isinstance(said, dict) and said.get("store") == "puna":
            return True
    raise StoreUnusable(
        f"{root.url}/{NAME} is no marker of a store (it begins {content[:30]!r}); check that "
        f"AWS_ENDPOINT_URL ({root.access.endpoint or 'Amazon S3'}) is the address of an S3, or "
        "name another prefix"
    )


def make(root: S3Directory) -> None:
    """Mark a store where there is none, and try whether the server keeps to conditions.

    Raises `NotExclusive` where it does not, `StoreUnusable` where a store would be inside another
    one or around it.
    """
    url = f"{root.url}/{NAME}"
    if not is_there(root):
        _refuse_nested(root)
        _try(root, url)  # makes it
    if not _try(root, url):
        raise NotExclusive(
            f"{root.url}: this S3 overwrites an object though it is asked not to "
            "(If-None-Match), so two runs could spoil each other's work; use a server that takes "
            "conditional writes, as Amazon S3 and MinIO do, or a folder"
        )
    _try_parts(root, url)


def _try(root: S3Directory, url: str) -> bool:
    """Write the marker on condition that it is not there; whether that was refused."""
    try:
        s3_writes.create(url, _content(), "", root.access)
    except FileExistsError:
        return True
    except NoCondition as error:
        raise NotExclusive(
            f"{error}, so two runs could spoil each other's work; use a server that does, as "
            "Amazon S3 and MinIO do, or a folder"
        ) from None
    return False


def _content() -> bytes:
    """Never the same, so that no other object passes for ours where an answer was lost."""
    return json.dumps({"store": "puna", "layout": 1, "tried": secrets.token_hex(8)}).encode()


def _try_parts(root: S3Directory, url: str) -> None:
    try:
        refused = s3_writes.refuses_parts(url, _content(), root.access)
    except NoCondition:
        refused = False
    if not refused:
        raise NotExclusive(
            f"{root.url}: this S3 takes conditions on writes of one request, but not on those in "
            f"parts (CompleteMultipartUpload), which files of more than "
            f"{s3_writes.WHOLE_BYTES >> 20} MiB are; use a server that does, as Amazon S3 does, "
            "or a folder"
        )


def _refuse_nested(root: S3Directory) -> None:
    bucket, _, path = root.url.removeprefix("s3://").partition("/")
    parts = path.split("/") if path else []
    for depth in range(len(parts)):
        above = "/".join([f"s3://{bucket}", *parts[:depth]])
        there = False
        with contextlib.suppress(RemoteError, StoreUnusable):  # what is above may not be ours
            there = is_there(replace(root, url=above))
        if there:
            raise StoreUnusable(
                f"{root.url} is inside the store {above}, whose clean-up would delete it; "
                "name a prefix beside it"
            )
    names = s3_objects.listed(f"{root.url}/", root.access, most=_MOST_FOREIGN).sizes
    inside = [name for name in names if name.endswith(f"/{NAME}")]
    if inside:
        raise StoreUnusable(
            f"{root.url} contains the store {root.url}/{inside[0].removesuffix(f'/{NAME}')}; name "
            "a prefix beside it"
        )
    if len(names) >= _MOST_FOREIGN:
        raise StoreUnusable(
            f"{root.url} holds {len(names):,} objects or more that are of no store; name a prefix "
            f"of its own, such as {root.url}/store"
        )
