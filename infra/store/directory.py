"""A folder of a store: the contract that every kind of storage keeps.

- `create` and `publish` never overwrite: of several writers exactly one wins, and the others get
  `FileExistsError`.
- `replace` is atomic: a reader never sees half a file.

The implementations are `LocalDirectory` and `RemoteDirectory` (`infra.store.backends`, which has
`open_directory` to choose one by URL) and `S3Directory` (`infra.store.s3_directory`).
"""

from __future__ import annotations

import abc
import contextlib
import functools
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import fsspec

from infra.io.files import TEMPORARY_SUFFIX, sha256_file
from infra.stage import StageError
from infra.store.manifest import DataFile


class Damaged(StageError):
    """A file of the store is missing or was changed. The message says which, and what to do."""


class StoreUnusable(StageError):
    """A URL that is not a valid store: an unknown protocol, a file in the way, or not writable."""


class NotExclusive(StageError):
    """The storage cannot refuse to overwrite an existing file."""


class NoBucket(StageError):
    """The bucket of a folder is not there."""


def protocol_of(url: str) -> str:
    """The fsspec protocol of a URL; `file` for a plain path."""
    return url.partition("://")[0] if "://" in url else "file"


@functools.lru_cache(maxsize=8)
def filesystem(protocol: str) -> Any:
    """The fsspec file system of a protocol; `ValueError` or `ImportError` for an unknown one."""
    return fsspec.filesystem(protocol)


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(TEMPORARY_SUFFIX)


@dataclass(frozen=True)
class Directory(abc.ABC):
    """A folder named by URL (`/path`, `file:///path`, `memory://name`, `s3://bucket/prefix`). It
    need not exist yet. Subclasses differ in how they write.
    """

    url: str

    @property
    def _fs(self) -> Any:
        return filesystem(protocol_of(self.url))

    @property
    def _root(self) -> str:
        return str(self._fs._strip_protocol(self.url)).rstrip("/")

    def _full(self, name: str) -> str:
        return f"{self._root}/{name}"

    def child(self, name: str) -> Self:
        """The folder `name` inside this one."""
        return replace(self, url=f"{self.url.rstrip('/')}/{name}")

    def is_store(self) -> bool:
        """Whether a store has been made here, as far as that can be told. Raises `NoBucket`."""
        return self.local_root is None or self.local_root.is_dir()

    def make_store(self) -> None:  # noqa: B027 (nothing to do is an answer)
        """Make it fit for a store. Raises `StoreUnusable`, or `NotExclusive` for storage that can
        lose a write.
        """

    def impatient(self) -> Self:
        """The same folder, for what may fail without harm: it gives up soon."""
        return self

    def exists(self, name: str) -> bool:
        """Whether a file or folder of that name exists."""
        return bool(self._fs.exists(self._full(name)))

    def size(self, name: str) -> int:
        """Size of a file in bytes; `FileNotFoundError` if there is none."""
        return int(self._fs.size(self._full(name)))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Name -> bytes of what `files` lists."""
        return {name: self.size(name) for name in self.files(prefix)}

    def files(self, prefix: str = "") -> list[str]:
        """Sorted names, relative to this folder, of all finished files at any depth whose name
        starts with `prefix`.
        """
        base = self._full(prefix.rpartition("/")[0]).rstrip("/") if "/" in prefix else self._root
        with contextlib.suppress(FileNotFoundError):
            names = (str(path)[len(self._root) + 1 :] for path in self._fs.find(base))
            return sorted(
                name
                for name in names
                if name.startswith(prefix) and not _is_temporary(name.rpartition("/")[2])
            )
        return []

    def folders(self) -> list[str]:
        """Sorted names of the folders directly in this one."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            entries = self._fs.ls(self._root, detail=True)
            return sorted(
                entry["name"].rstrip("/").rpartition("/")[2]
                for entry in entries
                if entry.get("type") == "directory"
            )
        return []

    def read(self, name: str) -> bytes:
        """The content of a file; `FileNotFoundError` if there is none."""
        return bytes(self._fs.cat_file(self._full(name)))

    def read_jsons(self, names: Sequence[str]) -> list[dict[str, Any] | Damaged]:
        """As `read_json` for each file, with `Damaged` in place of what cannot be read. Raises
        `FileNotFoundError`.
        """
        return [self.json_or_damage(name) for name in names]

    def json_or_damage(self, name: str) -> dict[str, Any] | Damaged:
        """As `read_json`, with `Damaged` as a value."""
        try:
            return self.read_json(name)
        except Damaged as error:
            return error

    def sha256(self, name: str) -> str:
        """Hex sha256 of what the storage holds; `FileNotFoundError` if there is none."""
        return sha256_file(self.local(name))

    def read_json(self, name: str, remedy: str = "run the recipe again") -> dict[str, Any]:
        """The JSON object in a file; `FileNotFoundError` if there is no file, `Damaged` if it holds
        anything else. `remedy`: what to do once the damaged file is removed.
        """
        try:
            value = json.loads(self.read(name))
        except FileNotFoundError:
            raise
        except (IsADirectoryError, NotADirectoryError) as error:
            raise Damaged(in_the_way(Path(self._full(name)), error)) from None
        except OSError as error:  # a disk that cannot read it
            value, problem = None, error.strerror or str(error)
        except (ValueError, RecursionError) as error:
            value, problem = None, str(error)
        else:
            problem = "not a JSON object"
        if not isinstance(value, dict):
            raise Damaged(
                f"{self.url}/{name} is damaged ({problem}); remove that file and {remedy}"
            )
        return value

    @property
    @abc.abstractmethod
    def local_root(self) -> Path | None:
        """The folder itself if the store is on a local disk, else None."""

    @abc.abstractmethod
    def create(self, name: str, data: bytes) -> None:
        """Write a small new file; `FileExistsError` if the name exists."""

    @abc.abstractmethod
    def replace(self, name: str, data: bytes) -> None:
        """Write a small file atomically, replacing an older one."""

    @abc.abstractmethod
    def staging(self, name: str) -> Path:
        """A local path to write the file `name` to before `publish`; its folder exists."""

    @abc.abstractmethod
    def publish(self, staged: Path, name: str, sha256: str = "") -> None:
        """Move a finished local file here under its name, or raise `FileExistsError`. The staged
        file is removed either way. `sha256`: of its content, where that is known.
        """

    @abc.abstractmethod
    def replace_file(self, staged: Path, name: str) -> None:
        """Move a finished local file here under its name, replacing an older one."""

    @abc.abstractmethod
    def place(self, name: str) -> str:
        """Where a person finds a file: its path, or its URL."""

    @abc.abstractmethod
    def local(self, name: str, known: DataFile | None = None) -> Path:
        """A local path with the file's content, `FileNotFoundError` if there is none. A copy of a
        file on another machine is checked against what is `known` of it.
        """

    @abc.abstractmethod
    def local_folder(self, prefix: str = "", known: Iterable[DataFile] | None = None) -> Path:
        """The local folder `prefix` with all files below it, or those that are `known`."""

    @abc.abstractmethod
    def remove(self, name: str = "") -> None:
        """Delete a file, or a folder with everything in it; does nothing if it does not exist."""

    def remove_file(self, name: str) -> None:
        """Delete a file; does nothing if it does not exist."""
        self.remove(name)

    @abc.abstractmethod
    def scratch(self) -> Path:
        """A local folder that belongs to this one and survives a kill; made where it is missing."""

    def clear_scratch(self) -> None:
        """Remove `scratch`."""
        shutil.rmtree(self.scratch(), ignore_errors=True)

    def tidy_own(self) -> None:  # noqa: B027
        """As `tidy`, of files of this folder alone, while this process may write others."""

    def tidy(self) -> None:  # noqa: B027
        """Remove what killed processes left half-written; nobody else may be writing."""


def in_the_way(path: Path, error: OSError) -> str:
    """The message for a file where the store needs a folder, or a folder where it needs a file."""
    for place in reversed(path.parents):
        if place.exists() and not place.is_dir():
            return f"{place} is a file, and a folder of the store belongs there; remove it"
    if path.is_dir():
        return f"{path} is a folder, and a file of the store belongs there; remove it"
    return f"{path} is in the way ({error.strerror}); remove it"
