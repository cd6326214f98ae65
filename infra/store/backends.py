"""The two kinds of directory: on a local disk, and on any other fsspec file system."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from infra.io.files import flush_to_disk, link_exclusively, replace_bytes, temporary_beside
from infra.stage import StageError
from infra.store.directory import Damaged, Directory, filesystem, in_the_way, protocol_of

CONDITIONAL_CREATE = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az")
"""Protocols whose fsspec package (s3fs, gcsfs, adlfs) passes `mode="create"` on to the service as a
condition of the write itself (If-None-Match, ifGenerationMatch=0), for single and multipart
uploads. fsspec's default checks first and writes afterwards, so that two writers may both succeed.
A service that speaks S3 but ignores the condition cannot be recognised here.
"""

_MEMORY = threading.Lock()
"""Lock for `memory://`, a dictionary of this process: its `mode="create"` checks, then writes."""


class NotExclusive(StageError):
    """The storage cannot refuse to overwrite an existing file."""


class NoBucket(StageError):
    """The bucket of a folder is not there, or cannot be listed."""


def open_directory(url: str) -> Directory:
    """The folder at a URL. Raises `ValueError` or `ImportError` for an unknown protocol."""
    if isinstance(filesystem(protocol_of(url)), LocalFileSystem):
        return LocalDirectory(url)
    return RemoteDirectory(url)


@dataclass(frozen=True)
class LocalDirectory(Directory):
    """A folder on a local or mounted disk. Files are created by link(2), replaced by rename(2)."""

    @property
    def local_root(self) -> Path:
        """See `Directory`."""
        return Path(self._root)

    def require_exclusive(self) -> None:
        """link(2) never overwrites."""

    def require_bucket(self) -> None:
        """Folders are made when they are written to."""

    def create(self, name: str, data: bytes) -> None:
        """See `Directory`."""
        staged = self.staging(name)
        staged.write_bytes(data)
        self.publish(staged, name)

    def replace(self, name: str, data: bytes) -> None:
        """See `Directory`."""
        path = self.local_root / name
        _make_folder(path.parent)
        try:
            replace_bytes(path, data)
        except (IsADirectoryError, NotADirectoryError) as error:
            raise Damaged(in_the_way(path, error)) from None

    def staging(self, name: str) -> Path:
        """A hidden path next to the target, so that publishing is a link on one file system."""
        path = self.local_root / name
        _make_folder(path.parent)
        return temporary_beside(path)

    def publish(self, staged: Path, name: str) -> None:
        """See `Directory`."""
        target = self.local_root / name
        _make_folder(target.parent)
        flush_to_disk(staged)
        link_exclusively(staged, target)

    def local(self, name: str) -> Path:
        """The file itself."""
        return self.local_root / name

    def local_folder(self) -> Path:
        """The folder itself."""
        return self.local_root

    def remove(self, name: str = "") -> None:
        """See `Directory`."""
        path = Path(self._full(name) if name else self._root)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise Damaged(in_the_way(path / "file", error)) from None


@dataclass(frozen=True)
class RemoteDirectory(Directory):
    """A folder of an object store, or in this process's memory. A file is written in one upload.

    If the storage cannot create files exclusively, it can be read, but `create` and `publish` raise
    `NotExclusive`.
    """

    @property
    def local_root(self) -> None:
        """None: there is no local folder."""
        return

    def require_exclusive(self) -> None:
        """See `Directory`."""
        protocol = protocol_of(self.url)
        if protocol not in ("memory", *CONDITIONAL_CREATE):
            raise NotExclusive(
                f"{self.url}: {protocol}:// cannot refuse to overwrite a file, so two runs could "
                "spoil each other's work; keep the store in a local folder, or on s3://, gs:// or "
                "abfs://"
            )

    def require_bucket(self) -> None:
        """See `Directory`. Nothing is made here: few may make buckets."""
        bucket = self._root.partition("/")[0]
        if protocol_of(self.url) not in CONDITIONAL_CREATE:
            return
        try:
            self._fs.ls(bucket, detail=False, refresh=True)
        except FileNotFoundError:
            raise NoBucket(
                f"{self.url}: there is no bucket {bucket!r}; make it, or name another store"
            ) from None
        except Exception as error:  # every service has errors of its own
            raise NoBucket(
                f"{self.url}: bucket {bucket!r} cannot be listed ({error}); check its name, and "
                "address and credentials in the environment"
            ) from None

    def _writing(self) -> contextlib.AbstractContextManager[object]:
        """Admits one writer at a time for `memory://`, where fsspec checks, then writes."""
        return _MEMORY if protocol_of(self.url) == "memory" else contextlib.nullcontext()

    def create(self, name: str, data: bytes) -> None:
        """See `Directory`."""
        self.require_exclusive()
        with self._writing():
            self._fs.pipe_file(self._full(name), data, mode="create")

    def replace(self, name: str, data: bytes) -> None:
        """See `Directory`."""
        with self._writing():
            self._fs.pipe_file(self._full(name), data)

    def staging(self, name: str) -> Path:
        """A path in a new temporary folder."""
        return temporary_beside(Path(tempfile.mkdtemp(prefix="puna-")) / Path(name).name)

    def publish(self, staged: Path, name: str) -> None:
        """See `Directory`."""
        try:
            self.require_exclusive()
            with self._writing():
                self._fs.put_file(str(staged), self._full(name), mode="create")
        finally:
            staged.unlink()
            with contextlib.suppress(OSError):  # the caller may have put other files there
                staged.parent.rmdir()

    def local(self, name: str) -> Path:
        """A copy of the file in the cache of remote artifacts."""
        path = _cache_folder(self.url) / name
        if not path.exists():
            replace_bytes(path, self.read(name))
        return path

    def local_folder(self) -> Path:
        """A folder with copies of all files, in the cache of remote artifacts."""
        for name in self.files():
            self.local(name)
        return _cache_folder(self.url)

    def remove(self, name: str = "") -> None:
        """See `Directory`."""
        target = self._full(name) if name else self._root
        if self._fs.exists(target):
            self._fs.rm(target, recursive=True)


def _cache_folder(url: str) -> Path:
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / "puna-cache" / key
