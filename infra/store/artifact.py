"""A committed artifact: its manifest and its data files."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from infra.ledger import Ledger
from infra.remote.errors import Changed
from infra.remote.held import Held
from infra.store.directory import Damaged, Directory
from infra.store.manifest import DataFile, Manifest

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Artifact:
    """One version of a stage's output. Picklable, so it travels to worker processes."""

    stage: str
    name: str
    version: str
    home: Directory
    manifest: Manifest = field(repr=False, compare=False)

    @property
    def identity(self) -> str:
        """`stage/name@version`."""
        return f"{self.stage}/{self.name}@{self.version}"

    @property
    def content_identity(self) -> str:
        """The identity of the first version that holds the same, itself included: what roles with
        `content` go by.
        """
        return f"{self.stage}/{self.name}@{self.manifest.same_as or self.version}"

    @property
    def store_url(self) -> str:
        """URL of its store, as `--store` takes it."""
        return self.store_root.url

    @property
    def store_root(self) -> Directory:
        """The folder of its store."""
        return replace(self.home, url=self.home.url.rsplit("/", 3)[0])

    @property
    def data(self) -> Directory:
        """The folder of data files."""
        return self.home.child(self.manifest.attempt).child("data")

    @property
    def records(self) -> Directory:
        """The folder of logs, plots and metrics; no version or digest depends on them."""
        return self.home.child(self.manifest.attempt).child("records")

    @property
    def statistics(self) -> dict[str, Any]:
        """What the stage measured."""
        return self.manifest.statistics

    @property
    def ledger(self) -> Ledger:
        """What became of every document; empty for stages that handle none."""
        return self.manifest.ledger

    @property
    def digest(self) -> str:
        """sha256 over the names and contents of all data files."""
        return self.manifest.digest

    def files(self, prefix: str = "") -> list[str]:
        """Sorted names of the data files that start with `prefix`, as the manifest lists them."""
        return sorted(out.path for out in self.manifest.outputs if out.path.startswith(prefix))

    def path(self, file: str) -> Path:
        """A local path of one data file, fit for memory mapping. Of a store on S3 it is that of a
        copy, made when it is opened, wherever that is (`infra.remote.held`); the copy stays while
        the work in hand does.
        """
        known = next((out for out in self.manifest.outputs if out.path == file), None)
        if known is None:
            raise FileNotFoundError(
                f"{self.identity} has no data file {file!r}; it has {self.files()[:5]} ..."
            )
        self._refuse_missing([file])
        path = self.data.local(file, known)
        if isinstance(path, Held):
            return path.blaming(functools.partial(_blamed, self._who(), file))
        self._refuse_changed([known])
        return path

    def folder(self, prefix: str = "") -> Path:
        """A local folder with the data files (below `prefix`), for readers that need a folder."""
        self._refuse_missing(self.files(prefix))
        known = [out for out in self.manifest.outputs if out.path.startswith(prefix)]
        try:
            folder = self.data.local_folder(prefix, known)
        except (FileNotFoundError, Changed) as error:
            raise _blamed(self._who(), prefix, error) from None
        self._refuse_changed(known)
        return folder

    def is_whole(self) -> bool:
        """Whether every data file exists with the sha256 in the manifest; reads them all."""
        return all(map(self._holds, self.manifest.outputs))

    def _holds(self, file: DataFile) -> bool:
        try:
            return self.data.sha256(file.path) == file.sha256
        except FileNotFoundError:
            return False

    def _refuse_missing(self, files: list[str]) -> None:
        root = self.data.local_root
        missing = [file for file in files if root is not None and not (root / file).exists()]
        if missing:
            raise self._loss(missing[0], str(root))

    def _refuse_changed(self, files: Sequence[DataFile]) -> None:
        """Raise `Damaged` if a file on a local disk holds other bytes than its manifest says.
        Copies from elsewhere were compared when they were made.
        """
        from infra.store import damage  # which imports this module

        if self.data.local_root is not None:
            damage.refuse_changed(self, files)

    def _who(self) -> _Who:
        return _Who(self.identity, f"{self.stage}/{self.name}", self.store_url)

    def _loss(self, file: str, where: str) -> Damaged:
        return _lost(self._who(), file, where)


@dataclass(frozen=True)
class _Who:
    """What messages say of an artifact, without its manifest: paths that travel hold it."""

    identity: str
    step: str
    store: str


def _blamed(who: _Who, file: str, error: Exception) -> Exception:
    """What an object is that is gone, or another one."""
    if isinstance(error, Changed):
        return Damaged(
            f"{who.identity} is damaged ({str(error).partition(';')[0]}); restore its file, or "
            f"build it again: puna run RECIPE --force {who.step}"
        )
    return _lost(who, file, str(error))


def _lost(who: _Who, file: str, where: str) -> Damaged:
    return Damaged(
        f"{who.identity} has lost its data file {file} (expected in {where}); restore it, or build "
        f"it again: puna run RECIPE --force {who.step}. "
        f"To find other damage: puna artifacts verify --store {shlex.quote(who.store)}"
    )
