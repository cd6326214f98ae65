"""Paths of local copies that travel: what a stage hands to a worker, any node can open.

A path of this process means nothing on another machine. These paths are pickled as what they are
copies of, and are made anew where they are unpickled, in the cache of that machine. To name a file
costs nothing: it is fetched when it is opened, or its path asked for as a string.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PosixPath
from typing import Any, Self

from infra.remote import holding
from infra.remote.access import Access
from infra.remote.errors import Changed, NoSuchObject
from infra.remote.locations import is_remote
from infra.stage import Pin

Blame = Callable[[Exception], Exception]
"""What to raise where an object is gone or another one; picklable."""


class Held(PosixPath):
    """The path of a file with the content of a pin. Paths derived from it (`parent`, `/`) are plain
    ones.

    Whatever opens it raises as `infra.remote.cache.local_copy` does, `FileNotFoundError` where
    there is no such object, and instead of these what `blaming` says.
    """

    _copy: tuple[Pin, Access, str, Blame | None] | None = None

    @classmethod
    def of(cls, pin: Pin, access: Access, place: str, blame: Blame | None = None) -> Self:
        """A path, `place` below this process's folder of the cache. See `infra.remote.holding`."""
        path = cls(holding.folder_of_process(access) / place)
        path._copy = (pin, access, place, blame)
        return path

    def blaming(self, blame: Blame) -> Self:
        """The same path, with what to raise where its object is gone or another one."""
        assert self._copy is not None
        return type(self).of(*self._copy[:3], blame)

    @property
    def pin(self) -> Pin:
        """What it is a copy of."""
        assert self._copy is not None
        return self._copy[0]

    @property
    def access(self) -> Access:
        """How it is fetched."""
        assert self._copy is not None
        return self._copy[1]

    def __str__(self) -> str:
        # os.fspath() and open() come here too
        if self._copy is not None:
            pin, access, place, blame = self._copy
            try:
                holding.hold(pin, access, place)
            except (NoSuchObject, Changed) as error:
                if blame is not None:
                    raise blame(error) from None
                if isinstance(error, NoSuchObject):
                    raise FileNotFoundError(pin.path) from None
                raise
        return super().__str__()

    def __repr__(self) -> str:
        return f"Held({self._copy[0].path!r})" if self._copy else super().__repr__()

    def __reduce__(self) -> Any:
        if self._copy is None:
            return PosixPath, self.parts
        return type(self).of, self._copy


class HeldFolder(PosixPath):
    """A folder with copies of several files under their names. All of them are there, and where it
    is unpickled they are fetched at once.
    """

    _copies: tuple[dict[str, Pin], Access, str, str] | None = None

    @classmethod
    def of(cls, files: Mapping[str, Pin], access: Access, place: str, prefix: str = "") -> Self:
        """The folder `prefix` of `place`, where `files` are: name below `place` -> its pin."""
        for name, pin in files.items():
            holding.hold(pin, access, f"{place}/{name}")
        folder = cls(holding.folder_of_process(access) / place / prefix)
        Path(folder).mkdir(parents=True, exist_ok=True)
        folder._copies = (dict(files), access, place, prefix)
        return folder

    def __reduce__(self) -> Any:
        if self._copies is None:
            return PosixPath, self.parts
        return type(self).of, self._copies


def held(pin: Pin, access: Access) -> Path:
    """A path of what is pinned: a local file's own, that of a copy for one on another machine."""
    if not is_remote(pin.path):
        return Path(pin.path)
    return Held.of(pin, access, f"pinned/{_key([pin])}/{_inside(pin.name)}")


def held_folder(pins: Sequence[Pin], access: Access) -> Path:
    """A folder with copies of objects on other machines, named as their pins."""
    files = {str(_inside(pin.name)): pin for pin in pins}
    folder = os.path.commonpath([Path(name).parent for name in files])
    return HeldFolder.of(files, access, f"pinned/{_key(pins)}", folder)


def _inside(name: str) -> Path:
    """A pin's name as a path below another folder; a key of S3 may have `..` in it."""
    return Path(*([part for part in name.split("/") if part not in ("", ".", "..")] or ["file"]))


def _key(pins: Sequence[Pin]) -> str:
    known = "\0".join(f"{pin.path}\0{pin.sha256 or pin.identity}" for pin in pins)
    return hashlib.sha256(known.encode()).hexdigest()[:16]


def place_of(path: Path) -> str:
    """Where a file is, by a name that is the same on every machine."""
    return path.pin.path if isinstance(path, Held) and path._copy else str(path)
