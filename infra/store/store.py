"""The store: versioned artifacts, references to them, and the record of every run, on any fsspec
URL.

<root>/<stage>/<name>/<version>/manifest.json        written last: no manifest, no artifact
<root>/<stage>/<name>/<version>/<attempt>/data/...
<root>/refs/..., <root>/runs/...                     see `infra.store.records`
"""

from __future__ import annotations

import errno
import itertools
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.remote.access import Access
from infra.remote.locations import shown
from infra.stage import JSON, Stage, StageError
from infra.store import rebuilt, records
from infra.store.addresses import at_store_endpoint, check_address
from infra.store.artifact import MANIFEST, Artifact
from infra.store.attempt import Attempt, NotDeterministic
from infra.store.backends import open_directory
from infra.store.directory import Damaged, Directory, StoreUnusable
from infra.store.identity import attempt_id
from infra.store.manifest import Manifest

LATEST = "latest"


class ArtifactMissing(StageError):
    """A reference names an artifact that the store does not hold."""


@dataclass(frozen=True)
class Store:
    """A store at a URL; holds no state of its own, so it is picklable and cheap."""

    root: Directory

    @classmethod
    def at(cls, url: str, access: Access | None = None) -> Store:
        """The store at a URL; a plain path is made absolute. `access`: how S3 is asked, at the
        address that the environment names, or else at that of `access`.

        Raises `StoreUnusable`, `NoBucket`, and what asking S3 raises (`infra.remote.errors`).
        """
        try:
            check_address(url)
            place = url if "://" in url else str(Path(url).expanduser().resolve())
            root = open_directory(place, at_store_endpoint(access or Access()))
            local = root.local_root
        except (ValueError, ImportError, RuntimeError) as error:
            raise StoreUnusable(
                f"{shown(url)} is not a valid store ({error}); name a folder, such as artifacts, "
                "or s3://bucket/prefix"
            ) from None
        if local is not None:
            nearest = next(place for place in (local, *local.parents) if place.exists())
            if not nearest.is_dir():
                raise StoreUnusable(
                    f"{url} is not a valid store: {nearest} is a file; name a folder, such as "
                    "artifacts"
                )
        else:
            root.impatient().is_store()  # or it says why that cannot be told: somebody waits
        return cls(root)

    def make(self) -> None:
        """Make the folder of a local store: one that cannot be written is refused before any work.

        Raises `StoreUnusable`, `OSError` for a full disk, or `NotExclusive` for storage that can
        lose a write.
        """
        self.root.make_store()
        local = self.root.local_root
        if local is None:
            return
        try:
            local.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise StoreUnusable(
                f"{local} cannot be created ({error.strerror}); name a folder you may write to"
            ) from None
        if not os.access(local, os.W_OK | os.X_OK):
            raise StoreUnusable(
                f"{local} is not writable; make it writable, or name another folder with --store"
            )

    def home(self, stage: str, name: str, version: str) -> Directory:
        """The folder of one version."""
        return self.root.child(f"{stage}/{name}/{version}")

    def find(self, stage: str, name: str, version: str) -> Artifact | None:
        """The committed artifact, or None."""
        home = self.home(stage, name, version)
        remedy = (
            f"run the recipe again with --force {stage}/{name}, which builds it again. To find "
            f"other damage: puna artifacts verify --store {shlex.quote(self.root.url)}"
        )
        try:
            manifest = Manifest(home.read_json(MANIFEST, remedy))
        except FileNotFoundError:
            return None
        if problem := manifest.damage():
            raise Damaged(
                f"{home.url}/{MANIFEST} is damaged ({problem}); remove that file and {remedy}"
            )
        return Artifact(stage, name, version, home, manifest)

    def versions(self) -> Iterator[tuple[str, str, str]]:
        """Stage, name and version of every artifact's folder, committed or not, in that order."""
        for stage in self.root.folders():
            if stage in records.FOLDERS:
                continue
            for name in self.root.child(stage).folders():
                for version in self.root.child(f"{stage}/{name}").folders():
                    yield stage, name, version

    def artifacts(self, damaged: list[str] | None = None) -> Iterator[Artifact]:
        """Every committed artifact, by stage, name and version.

        Raises `Damaged` for a manifest that cannot be read; given a list `damaged`, appends the
        problem to it instead and goes on.
        """
        for stage, name, version in self.versions():
            try:
                artifact = self.find(stage, name, version)
            except Damaged as error:
                if damaged is None:
                    raise
                damaged.append(str(error))
                continue
            if artifact is not None:
                yield artifact

    def damaged_records(self) -> Iterator[str]:
        """What is wrong with references and records of runs, one line each."""
        return records.damaged(self.root)

    def attempt(self, stage: Stage, name: str, version: str, *, fresh: bool = False) -> Attempt:
        """The attempt to work in: that of a killed run, if code and libraries are the same.

        `fresh` reuses none that was committed or refused, so that the stage really runs again.
        """
        home = self.home(stage.name, name, version)
        base = attempt_id(stage)
        committed = self.find(stage.name, name, version) if fresh else None
        taken = committed.manifest.attempt if committed else None
        ids = (base if number == 1 else f"{base}-{number}" for number in itertools.count(1))
        attempts = (Attempt(home, id, stage.bitwise) for id in ids)
        if not fresh:
            return next(attempts)
        return next(
            a for a in attempts if a.id != taken and not a.is_refused() and not a.was_finished()
        )

    def commit(
        self, attempt: Attempt, stage: Stage, name: str, version: str, manifest: dict[str, JSON]
    ) -> Artifact:
        """Write the manifest, which makes the attempt the artifact.

        Where the version already exists:

        - bitwise stage, equal bytes: the older artifact stays and the attempt is dropped, unless
          files of the older one are gone or damaged: then the attempt takes its place;
        - bitwise stage, other bytes: `NotDeterministic`;
        - bitwise stage whose inputs held other data then, as a numeric stage before it was built
          again: the attempt takes the older one's place;
        - numeric stage: the attempt takes the older one's place (whose files stay until gc),
          because its records are new even where its data is not.
        """
        home = attempt.home
        made = Manifest.sealed(manifest)
        if stage.bitwise and (first := self._first_of_the_same(stage.name, name, version, made)):
            made = Manifest.sealed({**manifest, "same_as": first})
        try:
            home.create(MANIFEST, made.to_bytes())
        except FileExistsError:
            older = self.find(stage.name, name, version)
            if older is not None and stage.bitwise and older.manifest.read_the_same(made):
                if older.digest != made.digest:
                    attempt.refuse()
                    raise NotDeterministic(rebuilt.explain(older, made)) from None
                if older.manifest.attempt == attempt.id:
                    return older
                if older.is_whole():
                    home.remove(attempt.id)
                    return older
            home.replace(MANIFEST, made.to_bytes())
        attempt.finish()
        return Artifact(stage.name, name, version, home, made)

    def _first_of_the_same(self, stage: str, name: str, version: str, made: Manifest) -> str:
        """The first version of a stage and name that holds what `made` does; "" for none."""
        for other in self.root.child(f"{stage}/{name}").folders():
            try:
                found = self.find(stage, name, other) if other != version else None
            except Damaged:
                continue
            if found is not None and found.manifest.holds_the_same(made):
                return found.manifest.same_as or found.version
        return ""

    def set_reference(self, recipe: str, artifact: Artifact, tag: str, run: str = "") -> None:
        """Point `recipe`'s tag at an artifact."""
        records.set_reference(self.root, recipe, artifact, tag, run)

    def reference(self, recipe: str, stage: str, name: str, tag: str = LATEST) -> str | None:
        """The version a tag points at, or None."""
        return records.reference(self.root, recipe, stage, name, tag)

    def references(self) -> list[dict[str, Any]]:
        """All references: recipe, tag, stage, name, version, run."""
        return records.references(self.root)

    def write_run(self, run: str, record: dict[str, JSON]) -> None:
        """Write or rewrite a run's record."""
        records.write_run(self.root, run, record)

    def runs(self) -> list[dict[str, Any]]:
        """All run records, oldest first."""
        return records.runs(self.root)

    def open(self, reference: str, recipe: str | None = None) -> Artifact:
        """The artifact named `stage/name[@version-prefix-or-tag]`; `ArtifactMissing` lists what
        the store has.
        """
        path, _, selector = reference.partition("@")
        stage, _, name = path.partition("/")
        name = name or self._only_name(stage, reference)
        versions = self.root.child(f"{stage}/{name}").folders()
        wanted = {version for version in versions if selector and version.startswith(selector)}
        wanted = wanted or self._tagged(stage, name, selector or LATEST, recipe)
        candidates = (self.find(stage, name, version) for version in sorted(wanted))
        matches = [artifact for artifact in candidates if artifact is not None]
        if not matches and not selector and recipe is None:  # a copy has no references
            every = (self.find(stage, name, version) for version in versions)
            finished = [artifact for artifact in every if artifact is not None]
            matches = finished if len(finished) == 1 else []
        if len(matches) > 1 and not selector:
            matches = [max(matches, key=lambda artifact: artifact.manifest.finished)]
        if len(matches) == 1:
            return matches[0]
        problem = f"matches {len(matches)} versions in" if matches else "is not in the store"
        listed = [
            f"{stage}/{name}@{version}"
            + ("" if self.find(stage, name, version) else " (not finished)")
            for version in versions
        ]
        raise ArtifactMissing(
            f"{reference!r} {problem} {self.root.url}; it has: "
            f"{', '.join(listed) or f'nothing below {stage}/{name}'}"
        )

    def _only_name(self, stage: str, reference: str) -> str:
        """The name of a stage's only artifact. Raises `ArtifactMissing` for several or none."""
        names = self.root.child(stage).folders()
        if not names:
            raise ArtifactMissing(f"{self.root.url} has no stage {stage!r}; {self._guess(stage)}")
        if len(names) > 1:
            listed = ", ".join(f"{stage}/{name}" for name in names)
            raise ArtifactMissing(
                f"{reference!r} names a stage; write stage/name, one of: {listed}"
            )
        return names[0]

    def _tagged(self, stage: str, name: str, tag: str, recipe: str | None) -> set[str]:
        """Versions that the tag points at, of one recipe or (None) of any."""
        return {
            entry["version"]
            for entry in self.references()
            if (entry["stage"], entry["name"], entry["tag"]) == (stage, name, tag)
            and recipe in (None, entry["recipe"])
        }

    def _guess(self, word: str) -> str:
        """What a word that is not a stage may have meant: artifacts of that name, else the store's
        stages.
        """
        stages = [stage for stage in self.root.folders() if stage not in records.FOLDERS]
        named = [f"{stage}/{word}" for stage in stages if word in self.root.child(stage).folders()]
        if named:
            return f"did you mean {' or '.join(named)}?"
        return f"it has: {', '.join(stages) or 'none'}"
