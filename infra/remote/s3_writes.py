"""Objects of an S3 are written: by one request or in parts, each tried again while it may pass.

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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.io.files import sha256_file
from infra.remote import s3_objects
from infra.remote.access import Access
from infra.remote.errors import NoSuchObject, RemoteError, Transient
from infra.remote.s3_objects import asked_of, call, key_of
from infra.remote.s3_service import bucket_of, code_of, filesystem, status_of

PART_BYTES = 16 << 20
WHOLE_BYTES = 4 * PART_BYTES
"""Objects up to this size are written by one request, larger ones in parts."""

_PARTS_AT_ONCE = 4
_MOST_PARTS = 10_000
_MOST_BEGUN = 5
"""How often an upload in parts is begun, where others write the same object."""


class NoCondition(RemoteError):
    """The server does not take conditions on a write."""


def replace(url: str, content: bytes | Path, access: Access) -> None:
    """Write an object, over an older one where there is one."""
    body = content if isinstance(content, bytes) else None
    if body is None and Path(content).stat().st_size > WHOLE_BYTES:  # type: ignore[arg-type]
        _in_parts(_Write(url, Path(content), access, exclusive=False))  # type: ignore[arg-type]
        return
    body = Path(content).read_bytes() if body is None else body  # type: ignore[arg-type]
    call(url, access, "put_object", Body=body)


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
        s3_objects.head(url, access)
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
        found = {s3_objects.WRITER: self.writer, s3_objects.SHA256: self.sha256}
        return {name: value for name, value in found.items() if value}

    def is_there(self) -> bool:
        """Whether the object that is there is the one that we wrote."""
        try:
            found = s3_objects.head(self.url, self.access)
        except NoSuchObject:
            return False
        if found.writer:
            return found.writer == self.writer
        size = len(self.content) if isinstance(self.content, bytes) else _size(self.content)
        return found.bytes == size and bool(self.sha256) and self._holds_the_same()

    def _holds_the_same(self) -> bool:
        return s3_objects.sha256_of(self.url, self.access) == self.sha256

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

    asked_of(write.url, write.access, put)


class _Again(RemoteError):
    """An upload in parts has to be begun again."""


def _in_parts(write: _Write) -> None:
    """Write a large file; what is there is either all of it or nothing."""
    for _ in range(_MOST_BEGUN):
        begun = call(write.url, write.access, "create_multipart_upload", Metadata=write.metadata)
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
        sent = call(
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

    asked_of(write.url, write.access, complete)


def refuses_parts(url: str, content: bytes, access: Access) -> bool:
    """Whether the server refuses to write an object in parts over the one that is there. Raises
    `NoCondition`.
    """
    write = _Write(url, content, access)
    upload = str(call(url, access, "create_multipart_upload")["UploadId"])
    try:
        sent = call(url, access, "upload_part", Body=content, PartNumber=1, UploadId=upload)
        _complete(write, upload, [{"PartNumber": 1, "ETag": sent["ETag"]}])
    except FileExistsError:
        return True
    finally:
        _abort(write, upload)
    return False


def _abort(write: _Write, upload: str) -> None:
    """Give an upload in parts up, so that its parts cost nothing; best effort."""
    with contextlib.suppress(Exception):
        call(write.url, write.access.impatient(), "abort_multipart_upload", UploadId=upload)


def abort_uploads(prefix: str, access: Access) -> int:
    """Give up what killed processes left of uploads below `s3://bucket/prefix`; returns how many.
    Servers that cannot list uploads keep them.
    """
    system = filesystem(access)
    bucket, count = bucket_of(prefix), 0
    with contextlib.suppress(RemoteError):
        listed = asked_of(
            prefix,
            access,
            lambda: system.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=key_of(prefix)),
        )
        for upload in listed.get("Uploads", ()):
            url = f"s3://{bucket}/{upload['Key']}"
            _abort(_Write(url, b"", access), str(upload["UploadId"]))
            count += 1
    return count


def _size(path: Path) -> int:
    return path.stat().st_size
