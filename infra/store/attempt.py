"""Unfinished work on one version: shards, their completion records, scratch space.

    <version>/<attempt>/data/...           published files of shards, never overwritten
    <version>/<attempt>/records/...        logs and plots
    <version>/<attempt>/shards/<key>.json  written after a shard's files: its result, their digests;
                                           removed at commit
    <version>/<attempt>/scratch/...        survives a kill, is removed at commit

A shard is done when its completion record exists. One that was killed between writing its files and
its record is run again; a bitwise stage must then write the same bytes, or `NotDeterministic` is
raised.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.io.files import sha256_file
from infra.stage import JSON, StageError
from infra.store.directory import Damaged, Directory
from infra.store.exchange import Exchange

_REFUSED = "refused"
_FILES = "files"


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
            self.data.publish(staged, name, digest)
        except FileExistsError:
            existing = self.data.sha256(name)
            if existing != digest and self.bitwise:
                raise NotDeterministic(
                    f"{self.data.url}/{name}: this run wrote sha256 {digest[:12]}, an earlier, "
                    f"interrupted run wrote {existing[:12]}. Either that file was damaged or "
                    "changed since, or the stage is not deterministic: remove the file and run "
                    "again; if it happens again, please report it"
                ) from None
            digest, size = existing, self.data.size(name)
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

    @property
    def exchange(self) -> Exchange:
        """What workers write for one another."""
        return Exchange(self._root.child("scratch"))

    def scratch(self) -> Path:
        """A local folder of this attempt that survives a kill; created on demand."""
        return self._root.scratch()

    def completed(self, key: str) -> dict[str, Any] | None:
        """The completion record of a shard, or None. See `completed_of`."""
        return self.completed_of([key]).get(key)

    def completed_of(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Key -> completion record of those shards that have one. How many requests of a store on
        S3 this takes depends on how many are complete, not on how many are asked for.

        A record that cannot be read, or whose files are missing or have another size, is removed
        together with these files, and the shard is run again.
        """
        if self.completions.local_root is not None:
            there = [key for key in keys if self.completions.exists(f"{key}.json")]
            has = self._has
        else:
            begun = self.completions.sizes()
            there = [key for key in keys if f"{key}.json" in begun]
            sizes = self.data.sizes() if there else {}

            def has(output: Mapping[str, JSON]) -> bool:
                return bool(sizes.get(output["path"]) == output["bytes"])

        records = self.completions.read_jsons([f"{key}.json" for key in there])
        found = {}
        for key, record in zip(there, records, strict=True):
            outputs: list[Any] = []
            try:
                if not isinstance(record, Damaged):
                    outputs = list(record["outputs"])
                    if record["key"] == key and "result" in record and all(map(has, outputs)):
                        found[key] = record
                        continue
            except (KeyError, TypeError):
                pass
            for output in outputs:
                self.data.remove_file(str(output["path"]))
            self.completions.remove_file(f"{key}.json")
        return found

    def _has(self, output: Mapping[str, JSON]) -> bool:
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

    def begin(self, files: str) -> None:
        """Begin, or go on with finished shards: but not with those of other files. `files` is
        `infra.store.damage.stamp_of` the user's files, and changes when one of them is written to,
        also when it was damaged and put back while nobody looked. Artifacts are compared with their
        checksums before they are read.
        """
        if not files:
            return
        try:
            known = self._root.read(_FILES).decode("ascii", "replace")
        except FileNotFoundError:
            known = ""
        if known == files:
            return
        if known:
            self.discard()
        with contextlib.suppress(FileExistsError):
            self._root.create(_FILES, files.encode())

    def discard(self) -> None:
        """Remove all of it."""
        self._root.clear_scratch()
        self.home.remove(self.id)

    def refuse(self) -> None:
        """Mark this attempt as refused: it is kept for comparison and never continued."""
        self._root.replace(_REFUSED, b"")

    def is_refused(self) -> bool:
        """Whether `refuse` was called."""
        return self._root.exists(_REFUSED)

    def was_finished(self) -> bool:
        """Whether it has data and no unfinished work (`finish`): it once was the artifact."""
        return bool(self.data.sizes()) and not self.completions.sizes()

    def finish(self) -> None:
        """Remove what only unfinished work needs: completion records, what the shards hold in
        scratch, and partial files of killed runs. A stage whose manifest is lost later then starts
        from its first shard: finished ones would read scratch that is gone.
        """
        self.completions.remove()
        self._root.remove_file(_FILES)
        self._root.clear_scratch()
        self._root.tidy()
        self.home.tidy_own()
