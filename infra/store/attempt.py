"""Unfinished work on one version: shards, their completion records, scratch space.

    <version>/<attempt>/data/...           published files of shards, never overwritten
    <version>/<attempt>/records/...        logs and plots
    <version>/<attempt>/shards/<key>.json  written after a shard's files: its result, their digests
    <version>/<attempt>/scratch/...        survives a kill, is removed at commit

A shard is done when its completion record exists. One that was killed between writing its files and
its record is run again; a bitwise stage must then write the same bytes, or `NotDeterministic` is
raised.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.io.files import TEMPORARY_SUFFIX, sha256_file
from infra.stage import JSON, StageError
from infra.store.directory import Damaged, Directory

_REFUSED = "refused"


class NotDeterministic(StageError):
    """The same version was built twice with different bytes."""


@dataclass
class Shard:
    """The writer a shard function gets; its outputs are recorded when the function returns."""

    key: str
    data: Directory
    bitwise: bool = True
    outputs: list[dict[str, JSON]] = field(default_factory=list)

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[Path]:
        """Yield a local path to write to. On a clean exit the file is published as `data/<name>`;
        on an error it is removed.
        """
        staged = self.data.staging(name)
        try:
            yield staged
            self._publish(staged, name)
        finally:
            staged.unlink(missing_ok=True)

    def publish(self, folder: Path, prefix: str = "") -> None:
        """Publish every file of a finished local folder below `data/<prefix>`, in name order."""
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = f"{prefix}/{path.relative_to(folder)}".lstrip("/")
            with self.create(name) as staged:
                shutil.copyfile(path, staged)

    def _publish(self, staged: Path, name: str) -> None:
        digest, size = sha256_file(staged), staged.stat().st_size
        try:
            self.data.publish(staged, name)
        except FileExistsError:
            existing = sha256_file(self.data.local(name))
            if existing != digest and self.bitwise:
                raise NotDeterministic(
                    f"{self.data.url}/{name}: this run wrote sha256 {digest[:12]}, an earlier, "
                    f"interrupted run wrote {existing[:12]}. Either that file was damaged or "
                    "changed since, or the stage is not deterministic: remove the file and run "
                    "again; if it happens again, please report it"
                ) from None
            digest, size = existing, self.data.local(name).stat().st_size
        self.outputs.append({"path": name, "bytes": size, "sha256": digest})


@dataclass(frozen=True)
class Attempt:
    """One folder of unfinished work. Picklable."""

    home: Directory
    id: str
    bitwise: bool

    @property
    def _root(self) -> Directory:
        return self.home.child(self.id)

    @property
    def data(self) -> Directory:
        """Where shards publish."""
        return self._root.child("data")

    @property
    def records(self) -> Directory:
        """Where logs and plots go."""
        return self._root.child("records")

    @property
    def completions(self) -> Directory:
        """One JSON file per finished shard."""
        return self._root.child("shards")

    def scratch(self) -> Path:
        """A local folder of this attempt that survives a kill; created on demand."""
        if self._root.local_root is not None:
            path = self._root.local_root / "scratch"
        else:
            key = hashlib.sha256(self._root.url.encode()).hexdigest()[:16]
            path = Path(tempfile.gettempdir()) / "puna-scratch" / key
        path.mkdir(parents=True, exist_ok=True)
        return path

    def completed(self, key: str) -> dict[str, Any] | None:
        """The completion record of a shard, or None.

        A record that cannot be read, or whose files are missing or have another size, is removed
        together with these files, and the shard is run again.
        """
        name = f"{key}.json"
        if not self.completions.exists(name):
            return None
        outputs: list[Any] = []
        try:
            record = self.completions.read_json(name)
            outputs = list(record["outputs"])
            if record["key"] == key and "result" in record and all(map(self._exists, outputs)):
                return record
        except (Damaged, KeyError, TypeError):
            pass
        for output in outputs:
            self.data.remove(str(output["path"]))
        self.completions.remove(name)
        return None

    def _exists(self, output: Mapping[str, JSON]) -> bool:
        try:
            return bool(self.data.size(output["path"]) == output["bytes"])
        except (FileNotFoundError, NotADirectoryError):
            return False

    def complete(self, shard: Shard, result: JSON) -> dict[str, Any]:
        """Write a shard's completion record. If another writer was faster, its record is kept."""
        record = {"key": shard.key, "result": result, "outputs": shard.outputs}
        with contextlib.suppress(FileExistsError):
            self.completions.create(
                f"{shard.key}.json", json.dumps(record, ensure_ascii=False).encode()
            )
        return record

    def refuse(self) -> None:
        """Mark this attempt as refused: it is kept for comparison and never continued."""
        self._root.replace(_REFUSED, b"")

    def is_refused(self) -> bool:
        """Whether `refuse` was called."""
        return self._root.exists(_REFUSED)

    def finish(self) -> None:
        """Remove what only unfinished work needs: scratch, and partial files of killed runs."""
        shutil.rmtree(self.scratch(), ignore_errors=True)
        if self.data.local_root is not None:
            for staged in self.data.local_root.rglob(f".*{TEMPORARY_SUFFIX}"):
                staged.unlink(missing_ok=True)
