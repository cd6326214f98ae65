"""A folder of a store, on any fsspec URL, with the few operations artifacts need.

The contract every backend must keep: `create` and `publish` never overwrite (of several writers
exactly one wins, the others get `FileExistsError`), `replace` is atomic, and a reader never sees
half a file. Locally this is link(2) and rename(2); elsewhere it is fsspec's exclusive create
(`mode="create"`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from infra.io.files import (
    TEMPORARY_SUFFIX,
    flush_to_disk,
    link_exclusively,
    replace_bytes,
    temporary_beside,
)
from infra.stage import StageError


class Damaged(StageError):
    """A file of the store is not what was written, or is gone; says which one and what to do."""


@functools.lru_cache(maxsize=8)
def _filesystem(protocol: str) -> Any:
    return fsspec.filesystem(protocol)


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(TEMPORARY_SUFFIX)


@dataclass(frozen=True)
class Directory:
    """A folder named by URL (`/path`, `file:///path`, `memory://name`, `s3://bucket/prefix`); need
    not exist yet.
    """

    url: str

    @property
    def local_root(self) -> Path | None:
        """The folder itself where the store lies on local disk, else None."""
        return Path(self._root) if isinstance(self._fs, LocalFileSystem) else None

    @property
    def _fs(self) -> Any:
        return _filesystem(self.url.partition("://")[0] if "://" in self.url else "file")

    @property
    def _root(self) -> str:
        return str(self._fs._strip_protocol(self.url)).rstrip("/")

    def child(self, name: str) -> Directory:
        """The folder `name` inside this one."""
        return Directory(f"{self.url.rstrip('/')}/{name}")

    def _full(self, name: str) -> str:
        return f"{self._root}/{name}"

    def exists(self, name: str) -> bool:
        """Whether a file or folder of that name is there."""
        return bool(self._fs.exists(self._full(name)))

    def files(self, prefix: str = "") -> list[str]:
        """Sorted names, relative to this folder, of all finished files that start with `prefix`, at
        any depth.
        """
        base = self._full(prefix.rpartition("/")[0]).rstrip("/") if "/" in prefix else self._root
        with contextlib.suppress(FileNotFoundError):
            found = (str(path)[len(self._root) + 1 :] for path in self._fs.find(base))
            return sorted(
                name
                for name in found
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
                if _is_folder(entry)
            )
        return []

    def read(self, name: str) -> bytes:
        """A whole file; `FileNotFoundError` where there is none."""
        return bytes(self._fs.cat_file(self._full(name)))

    def read_json(self, name: str) -> dict[str, Any]:
        """A whole JSON object; `FileNotFoundError` where there is no file, `Damaged` where it holds
        something else.
        """
        try:
            found = json.loads(self.read(name))
        except FileNotFoundError:
            raise
        except (IsADirectoryError, NotADirectoryError) as error:
            raise Damaged(in_the_way(Path(self._full(name)), error)) from None
        except OSError as error:  # a disk that cannot read it
            found, problem = None, error.strerror or str(error)
        except (ValueError, RecursionError) as error:
            found, problem = None, str(error)
        else:
            problem = "no JSON object"
        if not isinstance(found, dict):
            raise Damaged(
                f"{self.url}/{name} is damaged ({problem}); remove that file and run the recipe "
                "again"
            )
        return found

    def create(self, name: str, data: bytes) -> None:
        """Write a small new file; `FileExistsError` when the name is taken."""
        if self.local_root is not None:
            path = self.local_root / name
            _make_folder(path.parent)
            temporary = temporary_beside(path)
            temporary.write_bytes(data)
            flush_to_disk(temporary)
            link_exclusively(temporary, path)
        else:
            self._fs.pipe_file(self._full(name), data, mode="create")

    def replace(self, name: str, data: bytes) -> None:
        """Write a small file in one step, over an older one where there is one."""
        if self.local_root is not None:
            path = self.local_root / name
            _make_folder(path.parent)
            try:
                replace_bytes(path, data)
            except (IsADirectoryError, NotADirectoryError) as error:
                raise Damaged(in_the_way(path, error)) from None
        else:
            self._fs.pipe_file(self._full(name), data)

    def staging(self, name: str) -> Path:
        """A local path to write the file `name` to before `publish`; its folder exists."""
        if self.local_root is not None:
            path = self.local_root / name
            _make_folder(path.parent)
            return temporary_beside(path)
        return temporary_beside(Path(tempfile.mkdtemp(prefix="puna-")) / Path(name).name)

    def publish(self, staged: Path, name: str) -> None:
        """Give a finished local file its name here, or raise `FileExistsError`; the staged file is
        gone either way.
        """
        if self.local_root is not None:
            target = self.local_root / name
            _make_folder(target.parent)
            flush_to_disk(staged)
            link_exclusively(staged, target)
            return
        try:
            if self._fs.exists(self._full(name)):
                raise FileExistsError(name)
            self._fs.put_file(str(staged), self._full(name))
        finally:
            staged.unlink()

    def local(self, name: str) -> Path:
        """A local path with the file's content: the file itself, or a copy in the cache of remote
        artifacts.
        """
        if self.local_root is not None:
            return self.local_root / name
        path = _cache_folder(self.url) / name
        if not path.exists():
            replace_bytes(path, self.read(name))
        return path

    def local_folder(self) -> Path:
        """A local folder with all files: the folder itself, or a copy in the cache of remote
        artifacts.
        """
        if self.local_root is not None:
            return self.local_root
        for name in self.files():
            self.local(name)
        return _cache_folder(self.url)

    def remove(self, name: str = "") -> None:
        """Delete a file or a folder with all it holds; nothing happens where there is none."""
        target = self._full(name) if name else self._root
        if self.local_root is not None:
            path = Path(target)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        elif self._fs.exists(target):
            self._fs.rm(target, recursive=True)


def in_the_way(path: Path, error: OSError) -> str:
    """Which file stands where a folder of the store belongs, or which folder where a file does, and
    what to do about it.
    """
    for place in reversed(path.parents):
        if place.exists() and not place.is_dir():
            return f"{place} is a file, and a folder of the store belongs there; remove it"
    if path.is_dir():
        return f"{path} is a folder, and a file of the store belongs there; remove it"
    return f"{path} is in the way ({error.strerror}); remove it"


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise Damaged(in_the_way(path / "file", error)) from None


def _is_folder(entry: dict[str, Any]) -> bool:
    return entry.get("type") == "directory"


def _cache_folder(url: str) -> Path:
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / "puna-cache" / key
