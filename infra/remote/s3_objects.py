"""Single objects of an S3: read, written, listed, deleted, each tried again while it may pass.

`create` never overwrites: the condition (`If-None-Match: *`) is part of the write itself, and of a
large object's last request. An answer that is lost leaves open whether the object was written. The
next try then finds it there (412); whether it is ours is told by the mark that we wrote with it, or
where the server keeps none, by its content.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from infra.io.files import sha256_file
from infra.remote.access import Access
from infra.remote.errors import NoSuchObject, RemoteError, Transient
from infra.remote.http import UNSTATED
from infra.remote.s3_service import T, asked, bucket_of, code_of, filesystem, status_of
from infra.stage import Pin

A = TypeVar("A")

PART_BYTES = 16 << 20
WHOLE_BYTES = 4 * PART_BYTES
"""Objects up to this size are written by one request, larger ones in parts."""

_PARTS_AT_ONCE = 4
_MOST_PARTS = 10_000
_MOST_DELETED = 1000
_PAGE = 1000
_MOST_BEGUN = 5
"""How often an upload in parts is begun, where others write the same object."""

_WRITER, _SHA256 = "puna-writer", "puna-sha256"
_REFUSED = ("may not be read or written", "")


class NoCondition(RemoteError):
    """The server does not take conditions on a write."""


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

    return _asked(url, access, lambda: bytes(sync(system.loop, body)))


def head(url: str, access: Access) -> Head:
    """Size and identity of an object. Raises `NoSuchObject`."""
    answer = _call(url, access, "head_object")
    said = {name.lower(): value for name, value in answer.get("Metadata", {}).items()}
    return Head(
        int(answer["ContentLength"]),
        str(answer.get("ETag", "")).strip('"'),
        said.get(_SHA256, ""),
        said.get(_WRITER, ""),
    )


def pin_of(url: str, found: Head) -> Pin:
    """The pin of an object, by what its server says of it."""
    name = key_of(url).rpartition("/")[2]
    return Pin(url, name, found.sha256, found.bytes, found.etag or UNSTATED)


def replace(url: str, content: bytes | Path, access: Access) -> None:
    """Write an object, over an older one where there is one."""
    body = content if isinstance(content, bytes) else None
    if body is None and Path(content).stat().st_size > WHOLE_BYTES:  # type: ignore[arg-type]
        _in_parts(_Write(url, Path(content), access, exclusive=False))  # type: ignore[arg-type]
        return
    body = Path(content).read_bytes() if body is None else body  # type: ignore[arg-type]
    _call(url, access, "put_object", Body=body)


def create(url: str, content: bytes | Path, sha256: str, access: Access) -> None:
    """Write a new object. Raises `FileExistsError` where there is one, `NoCondition` where the
    server cannot tell. `sha256`: of the content, "" where it is to be computed.
    """
    if isinstance(content, bytes):
        sha256 = sha256 or hashlib.sha256(content).hexdigest()
        _whole(_Write(url, content, access, sha256))
        return
    sha256 = sha256 or sha256_file(content)
    if _size(content) <= WHOLE_BYTES:
        create(url, content.read_bytes(), sha256, access)
        return
    with contextlib.suppress(NoSuchObject):  # gigabytes need not travel to be refused
        head(url, access)
        raise FileExistsError(url)
    _in_parts(_Write(url, content, access, sha256))


@dataclass
class _Write:
    """One write, and whether a request of it ended without an answer, so that it may be done."""

    url: str
    content: bytes | Path
    access: Access
    sha256: str = ""
    exclusive: bool = True
    writer: str = field(default_factory=lambda: secrets.token_hex(8))
    doubtful: bool = False

    @property
    def condition(self) -> dict[str, str]:
        return {"IfNoneMatch": "*"} if self.exclusive else {}

    @property
    def metadata(self) -> dict[str, str]:
        found = {_WRITER: self.writer, _SHA256: self.sha256}
        return {name: value for name, value in found.items() if value}

    def is_there(self) -> bool:
        """Whether the object that is there is the one that we wrote."""
        try:
            found = head(self.url, self.access)
        except NoSuchObject:
            return False
        if found.writer:
            return found.writer == self.writer
        size = len(self.content) if isinstance(self.content, bytes) else _size(self.content)
        return found.bytes == size and bool(self.sha256) and self._holds_the_same()

    def _holds_the_same(self) -> bool:
        return sha256_of(self.url, self.access) == self.sha256

    def judged(self, error: Exception) -> None:
        """Note or raise what an error of the deciding request means; return where the object is
        ours after all.
        """
        code, status = code_of(error)[0], status_of(error)
        if code in ("PreconditionFailed", "412") or status == 412:
            if self.doubtful and self.is_there():
                return
            raise FileExistsError(self.url) from None
        if status == 501 or code in ("NotImplemented", "501"):
            raise NoCondition(
                f"{self.url}: this S3 does not take conditional writes ({error})"
            ) from None
        if code in ("ConditionalRequestConflict", "409") or status == 409:
            raise Transient(f"another writer is at work ({code})") from None
        self.doubtful = True
        raise error


def _whole(write: _Write) -> None:
    """Write an object by one request."""
    system = filesystem(write.access)

    def put() -> None:
        try:
            system.call_s3(
                "put_object",
                Bucket=bucket_of(write.url),
                Key=key_of(write.url),
                Body=write.content,
                Metadata=write.metadata,
                **write.condition,
            )
        except Exception as error:
            write.judged(error)

    _asked(write.url, write.access, put)


class _Again(RemoteError):
    """An upload in parts has to be begun again."""


def _in_parts(write: _Write) -> None:
    """Write a large file; what is there is either all of it or nothing."""
    for _ in range(_MOST_BEGUN):
        begun = _call(write.url, write.access, "create_multipart_upload", Metadata=write.metadata)
        upload = str(begun["UploadId"])
        try:
            parts = _send_parts(write, upload)
            _complete(write, upload, parts)
        except _Again:
            write.doubtful = False
            _abort(write, upload)
        except BaseException:
            _abort(write, upload)
            raise
        else:
            return
    raise RemoteError(
        f"{write.url}: others were writing it each of {_MOST_BEGUN} times; run again once they "
        "are done"
    )


def _send_parts(write: _Write, upload: str) -> list[dict[str, Any]]:
    path = Path(write.content)  # type: ignore[arg-type]
    size = _size(path)
    length = max(PART_BYTES, -(-size // _MOST_PARTS))

    def send(number: int) -> dict[str, Any]:
        with path.open("rb") as file:
            file.seek((number - 1) * length)
            body = file.read(length)
        sent = _call(
            write.url, write.access, "upload_part", Body=body, PartNumber=number, UploadId=upload
        )
        return {"PartNumber": number, "ETag": sent["ETag"]}

    with concurrent.futures.ThreadPoolExecutor(_PARTS_AT_ONCE) as pool:
        try:
            return list(pool.map(send, range(1, -(-size // length) + 1)))
        except NoSuchObject:  # somebody has removed the upload
            raise _Again from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _complete(write: _Write, upload: str, parts: Sequence[dict[str, Any]]) -> None:
    system = filesystem(write.access)

    def complete() -> None:
        try:
            system.call_s3(
                "complete_multipart_upload",
                Bucket=bucket_of(write.url),
                Key=key_of(write.url),
                UploadId=upload,
                MultipartUpload={"Parts": list(parts)},
                **write.condition,
            )
        except Exception as error:
            code, status = code_of(error)[0], status_of(error)
            if code == "NoSuchUpload" or status == 404:
                if write.doubtful and write.is_there():
                    return
                raise _Again from None
            if code == "ConditionalRequestConflict" or status == 409:
                raise _Again from None
            write.judged(error)

    _asked(write.url, write.access, complete)


def refuses_parts(url: str, content: bytes, access: Access) -> bool:
    """Whether the server refuses to write an object in parts over the one that is there. Raises
    `NoCondition`.
    """
    write = _Write(url, content, access)
    upload = str(_call(url, access, "create_multipart_upload")["UploadId"])
    try:
        sent = _call(url, access, "upload_part", Body=content, PartNumber=1, UploadId=upload)
        _complete(write, upload, [{"PartNumber": 1, "ETag": sent["ETag"]}])
    except FileExistsError:
        return True
    finally:
        _abort(write, upload)
    return False


def _abort(write: _Write, upload: str) -> None:
    """Give an upload in parts up, so that its parts cost nothing; best effort."""
    with contextlib.suppress(Exception):
        _call(write.url, write.access.impatient(), "abort_multipart_upload", UploadId=upload)


def abort_uploads(prefix: str, access: Access) -> int:
    """Give up what killed processes left of uploads below `s3://bucket/prefix`; returns how many.
    Servers that cannot list uploads keep them.
    """
    system = filesystem(access)
    bucket, count = bucket_of(prefix), 0
    with contextlib.suppress(RemoteError):
        listed = _asked(
            prefix,
            access,
            lambda: system.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=key_of(prefix)),
        )
        for upload in listed.get("Uploads", ()):
            url = f"s3://{bucket}/{upload['Key']}"
            _abort(_Write(url, b"", access), str(upload["UploadId"]))
            count += 1
    return count


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
        page = _asked(prefix, access, ask)
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
        _call(url, access, "delete_object")


def delete_all(prefix: str, names: Sequence[str], access: Access) -> None:
    """Delete objects by their names below a prefix, many by one request where the server can."""
    system, bucket, key = filesystem(access), bucket_of(prefix), key_of(prefix)
    for start in range(0, len(names), _MOST_DELETED):
        some = [{"Key": key + name} for name in names[start : start + _MOST_DELETED]]

        def ask(some: list[dict[str, str]] = some) -> dict[str, Any]:
            wanted = {"Objects": some, "Quiet": True}
            return dict(system.call_s3("delete_objects", Bucket=bucket, Delete=wanted))

        try:
            failed = _asked(prefix, access, ask).get("Errors", ())
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
        for start in range(0, pin.bytes, PART_BYTES // 2):
            yield Range(pin, start, min(start + PART_BYTES // 2, pin.bytes))

    for block in read_ranges(blocks(), access, gap=0):
        digest.update(block)
    return digest.hexdigest()


def _call(url: str, access: Access, method: str, **words: Any) -> dict[str, Any]:
    """The answer to one request on an object."""
    system = filesystem(access)

    def ask() -> dict[str, Any]:
        return dict(system.call_s3(method, Bucket=bucket_of(url), Key=key_of(url), **words))

    return _asked(url, access, ask)


def _asked(url: str, access: Access, ask: Callable[[], T]) -> T:
    return asked(url, access, ask, _REFUSED)


def _size(path: Path) -> int:
    return path.stat().st_size
