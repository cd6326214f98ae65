"""Directories on a local disk, in this process's memory, and on fsspec file systems that are only
read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from infra.io.files import (
    TEMPORARY_SUFFIX,
    flush_to_disk,
    link_exclusively,
    replace_bytes,
    temporary_beside,
)
from infra.remote.access import Access
from infra.store.directory import (
    Damaged,
    Directory,
    NotExclusive,
    filesystem,
    in_the_way,
    protocol_of,
)
from infra.store.manifest import DataFile

_MEMORY = threading.Lock()
"""Lock for `memory://`, a dictionary of this process: its `mode="create"` checks, then writes."""


def open_directory(url: str, access: Access | None = None) -> Directory:
    """The folder at a URL; `access` says how S3 is asked. Raises `ValueError` or `ImportError` for
    an unknown protocol.
    """
    if protocol_of(url) == "s3":
        from infra.store.s3_directory import S3Directory  # s3fs is an extra

        return S3Directory(url.rstrip("/"), access or Access())
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

    def create(self, name: str, data: bytes) -> None:
        """See `Directory`."""

        def write() -> None:
            staged = self.staging(name)
            try:
                staged.write_bytes(data)
                self.publish(staged, name)
            finally:
                staged.unlink(missing_ok=True)

        _twice(write)

    def replace(self, name: str, data: bytes) -> None:
        """See `Directory`."""
        path = self.local_root / name
        _make_folder(path.parent)
        try:
            _twice(lambda: replace_bytes(path, data))
        except (IsADirectoryError, NotADirectoryError) as error:
            raise Damaged(in_the_way(path, error)) from None

    def staging(self, name: str) -> Path:
        """A hidden path next to the target, so that publishing is a link on one file system."""
        path = self.local_root / name
        _make_folder(path.parent)
        return temporary_beside(path)

    def publish(self, staged: Path, name: str, sha256: str = "") -> None:
        """See `Directory`."""
        target = self.local_root / name
        _make_folder(target.parent)
        flush_to_disk(staged)
        link_exclusively(staged, target)

    def replace_file(self, staged: Path, name: str) -> None:
        """See `Directory`."""
        flush_to_disk(staged)
        staged.replace(self.local_root / name)

    def place(self, name: str) -> str:
        """See `Directory`."""
        return str(self.local_root / name)

    def local(self, name: str, known: DataFile | None = None) -> Path:
        """The file itself."""
        return self.local_root / name

    def local_folder(self, prefix: str = "", known: Iterable[DataFile] | None = None) -> Path:
        """The folder itself."""
        return self.local_root / prefix

    def remove(self, name: str = "") -> None:
        """See `Directory`."""
        path = Path(self._full(name) if name else self._root)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def scratch(self) -> Path:
        """A folder inside this one."""
        path = self.local_root / "scratch"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def tidy_own(self) -> None:
        """See `Directory`."""
        for staged in self.local_root.glob(f".*{TEMPORARY_SUFFIX}"):
            if f".{os.getpid()}-" not in staged.name:
                staged.unlink(missing_ok=True)

    def tidy(self) -> None:
        """See `Directory`."""
        for staged in self.local_root.rglob(f".*{TEMPORARY_SUFFIX}"):
            staged.unlink(missing_ok=True)


def _twice(write: Callable[[], None]) -> None:
    """Write a file, and again where another process took its half-written one for one that a killed
    process left (`tidy_own`).
    """
    try:
        write()
    except FileNotFoundError:
        write()


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise Damaged(in_the_way(path / "file", error)) from None


@dataclass(frozen=True)
class RemoteDirectory(Directory):
    """A folder in this process's memory, or on an fsspec file system that is only read: its
    `create` and `publish` raise `NotExclusive`.
    """

    @property
    def local_root(self) -> None:
        """None: there is no local folder."""
        return

    def require_exclusive(self) -> None:
        """Raise `NotExclusive` where `create` could overwrite a file: fsspec checks whether a file
        exists, and writes afterwards.
        """
        protocol = protocol_of(self.url)
        if protocol != "memory":
            raise NotExclusive(
                f"{self.url}: {protocol}:// cannot refuse to overwrite a file as far as is tested, "
                "so two runs could spoil each other's work; keep the store in a local folder, or "
                "on s3://"
            )

    def make_store(self) -> None:
        """See `Directory`."""
        self.require_exclusive()

    def create(self, name: str, data: bytes) -> None:
        """See `Directory`."""
        self.require_exclusive()
        with _MEMORY:
            self._fs.pipe_file(self._full(name), data, mode="create")

    def replace(self, name: str, data: bytes) -> None:
        """See `Directory`."""
        with _MEMORY:
            self._fs.pipe_file(self._full(name), data)

    def staging(self, name: str) -> Path:
        """A path in a new temporary folder."""
        return temporary_beside(Path(tempfile.mkdtemp(prefix="puna-")) / Path(name).name)

    def publish(self, staged: Path, name: str, sha256: str = "") -> None:
        """See `Directory`."""
        try:
            self.create(name, staged.read_bytes())
        finally:
            _remove_staged(staged)

    def replace_file(self, staged: Path, name: str) -> None:
        """See `Directory`."""
        try:
            self.replace(name, staged.read_bytes())
        finally:
            _remove_staged(staged)

    def place(self, name: str) -> str:
        """See `Directory`."""
        return f"{self.url}/{name}"

    def local(self, name: str, known: DataFile | None = None) -> Path:
        """A copy of the file in a folder of this machine."""
        path = _cache_folder(self.url) / name
        if not path.exists():
            replace_bytes(path, self.read(name))
        return path

    def local_folder(self, prefix: str = "", known: Iterable[DataFile] | None = None) -> Path:
        """A folder with copies of all files below `prefix`."""
        for name in self.files(f"{prefix}/" if prefix else ""):
            self.local(name)
        return _cache_folder(self.url) / prefix

    def remove(self, name: str = "") -> None:
        """See `Directory`."""
        target = self._full(name) if name else self._root
        if self._fs.exists(target):
            self._fs.rm(target, recursive=True)
        shutil.rmtree(_cache_folder(f"{self.url}/{name}".rstrip("/")), ignore_errors=True)

    def scratch(self) -> Path:
        """A temporary folder, by this folder's address."""
        path = _cache_folder(self.url) / "scratch"
        path.mkdir(parents=True, exist_ok=True)
        return path


def _remove_staged(staged: Path) -> None:
    staged.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the caller may have put other files there
        staged.parent.rmdir()


def _cache_folder(url: str) -> Path:
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / "puna-cache" / key
