"""A folder of a store on S3.

A file is one object, written by one deciding request, so that nobody sees half of it. Files are
created by conditional writes (`infra.remote.s3_writes`). What wants a path gets a copy in the
bounded cache of this machine (`infra.remote.holding`); what was written from here is kept there, as
it is likely to be read next.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from infra.io.files import sha256_file, temporary_beside
from infra.remote import cache, holding, s3_objects, s3_writes
from infra.remote.access import Access
from infra.remote.errors import NoSuchObject
from infra.remote.held import Held, HeldFolder
from infra.stage import Pin
from infra.store import marker
from infra.store.directory import Damaged, Directory
from infra.store.manifest import DataFile

T = TypeVar("T")
_IMPATIENT_S = 10.0


@dataclass(frozen=True)
class S3Directory(Directory):
    """See `Directory`. `access`: how S3 is asked, and where its cache is."""

    access: Access = field(default_factory=Access)

    @property
    def local_root(self) -> None:
        """None: there is no local folder."""
        return

    def _url(self, name: str) -> str:
        return f"{self.url}/{name}"

    def is_store(self) -> bool:
        """See `Directory`."""
        return marker.is_there(self)

    def make_store(self) -> None:
        """See `Directory`."""
        marker.make(self)

    def impatient(self) -> Self:
        """The same folder, for what may fail without harm: it gives up soon."""
        patience = min(self.access.retry_limit_s, _IMPATIENT_S)
        return replace(self, access=replace(self.access, retry_limit_s=patience))

    def exists(self, name: str) -> bool:
        """Whether a file of that name exists; S3 has no folders."""
        try:
            s3_objects.head(self._url(name), self.access)
        except NoSuchObject:
            return False
        return True

    def size(self, name: str) -> int:
        """See `Directory`."""
        return _found(lambda: s3_objects.head(self._url(name), self.access)).bytes

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """See `Directory`; one request for each thousand files."""
        found = s3_objects.listed(self._url(prefix), self.access).sizes
        return {prefix + name: size for name, size in sorted(found.items())}

    def files(self, prefix: str = "") -> list[str]:
        """See `Directory`."""
        return sorted(self.sizes(prefix))

    def folders(self) -> list[str]:
        """See `Directory`."""
        return sorted(s3_objects.listed(self._url(""), self.access, deep=False).folders)

    def read(self, name: str) -> bytes:
        """See `Directory`."""
        return _found(lambda: s3_objects.read(self._url(name), self.access))

    def read_jsons(self, names: Sequence[str]) -> list[dict[str, Any] | Damaged]:
        """See `Directory`; several at a time."""
        return s3_objects.each(self.json_or_damage, names)

    def sha256(self, name: str) -> str:
        """See `Directory`; of what the server holds, not of a copy."""
        return _found(lambda: s3_objects.sha256_of(self._url(name), self.access))

    def create(self, name: str, data: bytes) -> None:
        """See `Directory`."""
        s3_writes.create(self._url(name), data, "", self.access)

    def replace(self, name: str, data: bytes) -> None:
        """See `Directory`."""
        s3_writes.replace(self._url(name), data, self.access)

    def staging(self, name: str) -> Path:
        """A path in a new folder on the disk of the cache, which ends with this process."""
        parent = holding.folder_of_process(self.access)
        folder = tempfile.mkdtemp(prefix="staging-", dir=parent)
        return temporary_beside(Path(folder) / Path(name).name)

    def publish(self, staged: Path, name: str, sha256: str = "") -> None:
        """See `Directory`."""
        try:
            sha256 = sha256 or sha256_file(staged)
            s3_writes.create(self._url(name), staged, sha256, self.access)
            cache.keep(staged, sha256, self.access)
        finally:
            _remove_staged(staged)

    def replace_file(self, staged: Path, name: str) -> None:
        """See `Directory`."""
        try:
            s3_writes.replace(self._url(name), staged, self.access)
        finally:
            _remove_staged(staged)

    def place(self, name: str) -> str:
        """See `Directory`."""
        return self._url(name)

    def local(self, name: str, known: DataFile | None = None) -> Path:
        """A copy of the file in the cache, fetched when it is opened, on whichever machine that is;
        of a known file no request is needed if it is there.
        """
        if known is not None:
            return Held.of(self._pin(known), self.access, f"{_key(self.url)}/{name}")
        found = _found(lambda: s3_objects.head(self._url(name), self.access))
        pin = s3_objects.pin_of(self._url(name), found)
        return Held.of(pin, self.access, f"{_key(self.url + pin.identity)}/{name}")

    def local_folder(self, prefix: str = "", known: Iterable[DataFile] | None = None) -> Path:
        """A folder with copies of all files below `prefix`, under their names."""
        if known is None:
            names = self.files(f"{prefix}/" if prefix else "")
            heads = s3_objects.each(
                lambda name: s3_objects.head(self._url(name), self.access), names
            )
            pins = {
                name: s3_objects.pin_of(self._url(name), found)
                for name, found in zip(names, heads, strict=True)
            }
        else:
            pins = {file.path: self._pin(file) for file in known}
        return _found(lambda: HeldFolder.of(pins, self.access, _key(self.url), prefix))

    def _pin(self, known: DataFile) -> Pin:
        return Pin(self._url(known.path), known.path, known.sha256, known.bytes)

    def remove(self, name: str = "") -> None:
        """See `Directory`. Manifests go first: an artifact is whole, or it is not there."""
        prefix = self._url(f"{name}/" if name else "")
        if name:
            s3_objects.delete(self._url(name), self.access)
        names = [*s3_objects.listed(prefix, self.access).sizes]
        manifests = [found for found in names if found.rpartition("/")[2] == "manifest.json"]
        s3_objects.delete_all(prefix, manifests, self.access)
        s3_objects.delete_all(prefix, [*{*names} - {*manifests}], self.access)
        (self.child(name) if name else self)._clear_own_scratch()

    def remove_file(self, name: str) -> None:
        """See `Directory`; one request."""
        s3_objects.delete(self._url(name), self.access)

    def scratch(self) -> Path:
        """A folder in the cache, by the folder's own address: it survives a kill and a restart of
        the machine, and is of this machine alone. What others are to see is in objects below
        `scratch/` (`infra.store.exchange`).
        """
        self._scratch.mkdir(parents=True, exist_ok=True)
        return self._scratch

    @property
    def _scratch(self) -> Path:
        return self.access.cache / "scratch" / self.url.removeprefix("s3://")

    def clear_scratch(self) -> None:
        """See `Directory`; with the objects below `scratch/`, and the empty folders above."""
        prefix = self._url("scratch/")
        names = [*s3_objects.listed(prefix, self.access).sizes]
        s3_objects.delete_all(prefix, names, self.access)
        self._clear_own_scratch()

    def _clear_own_scratch(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)
        with contextlib.suppress(OSError):
            for folder in self._scratch.parents:
                if folder == self.access.cache:
                    return
                folder.rmdir()

    def tidy(self) -> None:
        """Give up what killed processes left of uploads in parts."""
        s3_writes.abort_uploads(self._url(""), self.impatient().access)


def _found(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except NoSuchObject as error:
        raise FileNotFoundError(str(error)) from None


def _key(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _remove_staged(staged: Path) -> None:
    staged.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the caller may have put other files there
        staged.parent.rmdir()
