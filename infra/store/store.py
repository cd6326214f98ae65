"""The store: versioned artifacts, references to them, and the record of every run, on any fsspec
URL.

<root>/<stage>/<name>/<version>/manifest.json        written last: no manifest, no artifact
<root>/<stage>/<name>/<version>/<attempt>/data/...
<root>/refs/<recipe>/<stage>/<name>/<tag>.json
<root>/runs/<run>.json
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.stage import JSON, Stage, StageError
from infra.store.artifact import MANIFEST, Artifact
from infra.store.attempt import Attempt, NotDeterministic
from infra.store.backends import open_directory
from infra.store.directory import Damaged, Directory
from infra.store.identity import attempt_id
from infra.store.manifest import Manifest

LATEST = "latest"
_RESERVED = ("refs", "runs")
_REFERENCE_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RUN_KINDS: dict[str, type] = {
    "run": str,
    "recipe": str,
    "status": str,
    "owner": dict,
    "stages": list,
}
_STAGE_KEYS = ("stage", "name", "version")


class ArtifactMissing(StageError):
    """A reference names an artifact that the store does not hold."""


class StoreUnusable(StageError):
    """A URL that is not a valid store: an unknown protocol, a file in the way, or not writable."""


@dataclass(frozen=True)
class Store:
    """A store at a URL; holds no state of its own, so it is picklable and cheap."""

    root: Directory

    @classmethod
    def at(cls, url: str) -> Store:
        """The store at a URL; a plain path is made absolute. Raises `StoreUnusable`."""
        try:
            root = open_directory(url if "://" in url else str(Path(url).expanduser().resolve()))
            local = root.local_root
        except (ValueError, ImportError, RuntimeError) as error:
            raise StoreUnusable(
                f"{url} is not a valid store ({error}); name a folder, such as artifacts"
            ) from None
        if local is not None:
            nearest = next(place for place in (local, *local.parents) if place.exists())
            if not nearest.is_dir():
                raise StoreUnusable(
                    f"{url} is not a valid store: {nearest} is a file; name a folder, such as "
                    "artifacts"
                )
        return cls(root)

    def make(self) -> None:
        """Make the folder of a local store, so that one that cannot be written is refused before
        any work. Raises `StoreUnusable`, or `NotExclusive` for storage that cannot be one.
        """
        self.root.require_exclusive()
        local = self.root.local_root
        if local is None:
            return
        try:
            local.mkdir(parents=True, exist_ok=True)
        except OSError as error:
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
        try:
            manifest = Manifest(home.read_json(MANIFEST))
        except FileNotFoundError:
            return None
        if problem := manifest.damage():
            raise Damaged(
                f"{home.url}/{MANIFEST} is damaged ({problem}); remove that file and run the "
                "recipe again: the stage is built anew, from its finished shards where they are "
                "still there"
            )
        return Artifact(stage, name, version, home, manifest)

    def versions(self) -> Iterator[tuple[str, str, str]]:
        """Stage, name and version of every artifact's folder, committed or not, in that order."""
        for stage in self.root.folders():
            if stage in _RESERVED:
                continue
            for name in self.root.child(stage).folders():
                for version in self.root.child(f"{stage}/{name}").folders():
                    yield stage, name, version

    def artifacts(self, damaged: list[str] | None = None) -> Iterator[Artifact]:
        """Every committed artifact, by stage, name and version.

        Raises `Damaged` for a manifest that cannot be read; with a list for `damaged`, what is
        wrong goes there, and the others still come.
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
        """What is wrong with references and records of runs."""
        for prefix, read in (("refs/", self._reference_at), ("runs/", self._run_at)):
            for file in self._listed(prefix):
                try:
                    read(file)
                except Damaged as error:
                    yield str(error)

    def attempt(self, stage: Stage, name: str, version: str, *, fresh: bool = False) -> Attempt:
        """The attempt to work in: one that was killed is continued if code and libraries are the
        same.

        `fresh` never reuses one that was committed or refused, so the stage really runs again.
        """
        home = self.home(stage.name, name, version)
        base = attempt_id(stage)
        committed = self.find(stage.name, name, version) if fresh else None
        taken = committed.manifest.attempt if committed else None
        number = 1
        while True:
            attempt = Attempt(home, base if number == 1 else f"{base}-{number}", stage.bitwise)
            if attempt.id != taken and not (fresh and attempt.is_refused()):
                return attempt
            number += 1

    def commit(
        self, attempt: Attempt, stage: Stage, name: str, version: str, manifest: dict[str, JSON]
    ) -> Artifact:
        """Write the manifest, which makes the attempt the artifact.

        Where the version already exists: a bitwise stage's equal bytes keep the older artifact and
        drop the attempt (unless files of the older one are gone or damaged: then the attempt takes
        its place), differing ones raise `NotDeterministic`; a numeric stage's new attempt replaces
        the older one (which stays until gc), because its records are new even where its data is
        not.
        """
        home = attempt.home
        made = Manifest.sealed(manifest)
        try:
            home.create(MANIFEST, made.to_bytes())
        except FileExistsError:
            older = self.find(stage.name, name, version)
            same = older is not None and stage.bitwise and older.digest == made.digest
            if (
                older is not None
                and same
                and (older.manifest.attempt == attempt.id or older.is_whole())
            ):
                if older.manifest.attempt != attempt.id:
                    home.remove(attempt.id)
                return older
            if older is not None and stage.bitwise and not same:
                attempt.refuse()
                raise NotDeterministic(_other_bytes(older, made)) from None
            home.replace(MANIFEST, made.to_bytes())
        attempt.finish()
        return Artifact(stage.name, name, version, home, made)

    # References

    def set_reference(self, recipe: str, artifact: Artifact, tag: str, run: str = "") -> None:
        """Point `recipe`'s tag at an artifact."""
        for what, word in (("recipe", recipe), ("tag", tag)):
            if not _REFERENCE_WORD.fullmatch(word):
                raise StageError(
                    f"{what} {word!r}: use letters, digits and '._-', first a letter or digit"
                )
        body = {
            "stage": artifact.stage,
            "name": artifact.name,
            "version": artifact.version,
            "run": run,
        }
        self.root.replace(
            _reference_file(recipe, artifact.stage, artifact.name, tag), json.dumps(body).encode()
        )

    def reference(self, recipe: str, stage: str, name: str, tag: str = LATEST) -> str | None:
        """The version a tag points at, or None."""
        try:
            return str(self._read_reference(_reference_file(recipe, stage, name, tag))["version"])
        except FileNotFoundError:
            return None

    def references(self) -> list[dict[str, Any]]:
        """All references: recipe, tag, stage, name, version."""
        found = []
        for file in self._listed("refs/"):
            found.append(self._reference_at(file))
        return found

    def _listed(self, prefix: str) -> list[str]:
        """Files below `prefix`; a file that stands in that folder's place is one of them, so that
        it is found to be damaged.
        """
        name = prefix.rstrip("/")
        root = self.root.local_root
        return [name] if root is not None and (root / name).is_file() else self.root.files(prefix)

    def _reference_at(self, file: str) -> dict[str, Any]:
        words = file.removeprefix("refs/").removesuffix(".json").split("/")
        if len(words) != 4:
            raise Damaged(
                f"{self.root.url}/{file} is no reference (refs/recipe/stage/name/tag.json); remove "
                "that file"
            )
        recipe, stage, name, tag = words
        given = {"recipe": recipe, "tag": tag, "stage": stage, "name": name}
        return given | self._read_reference(file)

    def _read_reference(self, file: str) -> dict[str, Any]:
        body = self.root.read_json(file)
        if not isinstance(body.get("version"), str):
            raise Damaged(
                f"{self.root.url}/{file} is damaged (no version); remove that file and run the "
                "recipe again"
            )
        return body

    def open(self, reference: str, recipe: str | None = None) -> Artifact:
        """The artifact named `stage/name[@version-prefix-or-tag]`; `ArtifactMissing` lists what
        the store has.
        """
        path, _, selector = reference.partition("@")
        stage, _, name = path.partition("/")
        if not name:
            names = self.root.child(stage).folders()
            if not names:
                raise ArtifactMissing(
                    f"{self.root.url} has no stage {stage!r}; {self._meant(stage)}"
                )
            if len(names) != 1:
                there = ", ".join(f"{stage}/{n}" for n in names)
                raise ArtifactMissing(
                    f"{reference!r} names a stage; write stage/name, one of: {there}"
                )
            name = names[0]
        versions = self.root.child(f"{stage}/{name}").folders()
        wanted = {v for v in versions if selector and v.startswith(selector)}
        if not wanted:
            tag = selector or LATEST
            wanted = {
                r["version"]
                for r in self.references()
                if (r["stage"], r["name"], r["tag"]) == (stage, name, tag)
                and recipe in (None, r["recipe"])
            }
        found = [
            artifact for v in sorted(wanted) if (artifact := self.find(stage, name, v)) is not None
        ]
        if len(found) > 1 and not selector:
            found = [max(found, key=lambda artifact: artifact.manifest.finished)]
        if len(found) != 1:
            there = ", ".join(
                f"{stage}/{name}@{v}" + ("" if self.find(stage, name, v) else " (not finished)")
                for v in versions
            )
            there = there or f"nothing below {stage}/{name}"
            what = "is not in the store" if not found else f"matches {len(found)} versions in"
            raise ArtifactMissing(f"{reference!r} {what} {self.root.url}; it has: {there}")
        return found[0]

    def _meant(self, name: str) -> str:
        """What a word that is not a stage may have meant: artifacts of that name, else the store's
        stages.
        """
        stages = [stage for stage in self.root.folders() if stage not in _RESERVED]
        named = [f"{stage}/{name}" for stage in stages if name in self.root.child(stage).folders()]
        return (
            f"did you mean {' or '.join(named)}?"
            if named
            else f"it has: {', '.join(stages) or 'none'}"
        )

    # Runs

    def write_run(self, run: str, record: dict[str, JSON]) -> None:
        """Write or rewrite a run's record."""
        self.root.replace(
            f"runs/{run}.json", json.dumps(record, ensure_ascii=False, indent=1).encode()
        )

    def runs(self) -> list[dict[str, Any]]:
        """All run records, oldest first."""
        return [self._run_at(file) for file in self._listed("runs/")]

    def _run_at(self, file: str) -> dict[str, Any]:
        record = self.root.read_json(file)
        if problem := _problem_of_run(record):
            raise Damaged(f"{self.root.url}/{file} is damaged ({problem}); remove that file")
        return record


def _problem_of_run(record: Mapping[str, Any]) -> str:
    """What of a run's record is not as it was written; "" where it is whole."""
    if missing := sorted(_RUN_KINDS.keys() - record.keys()):
        return f"no {', '.join(missing)}"
    if wrong := [key for key, kind in _RUN_KINDS.items() if not isinstance(record[key], kind)]:
        return f"{', '.join(wrong)} of another type"
    owner, stages = record["owner"], record["stages"]
    if not (isinstance(owner.get("host"), str) and isinstance(owner.get("pid"), int)):
        return "its owner has no host and process"
    whole = (
        isinstance(stage, dict) and all(isinstance(stage.get(key), str) for key in _STAGE_KEYS)
        for stage in stages
    )
    return "" if all(whole) else f"a stage without {', '.join(_STAGE_KEYS)}"


def _other_bytes(older: Artifact, made: Manifest) -> str:
    """What differs, and the possible cause if the inputs are intact (`infra.store.damage` checks
    these).
    """
    before = {output.path: output.sha256 for output in older.manifest.outputs}
    after = {output.path: output.sha256 for output in made.outputs}
    differing = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    changes = [
        f"{what}.{key}: {was} -> {now}"
        for before_all, now_all, what in (
            (older.manifest.code, made.code, "code"),
            (older.manifest.environment, made.environment, "environment"),
        )
        for key, now in now_all.items()
        if (was := before_all.get(key)) != now and key not in ("git_sha", "dirty", "executable")
    ]
    cause = (
        f"Changed since it was built: {'; '.join(changes)}. If that may change the output, the "
        "stage's version has to be raised"
        if changes
        else "Its code and libraries are the same, so either the stage is not deterministic (a "
        "bug, please report it), or its input was damaged when it was first built and has been "
        "repaired since"
    )
    return (
        f"{older.identity} was rebuilt with other bytes: {', '.join(differing[:3])}"
        f"{f' and {len(differing) - 3} more files' if len(differing) > 3 else ''} differ. {cause}. "
        f"The older artifact is kept; the new one is in {older.home.url}/{made.attempt}. "
        f"To take the new one, remove {older.home.url} and run again"
    )


def _reference_file(recipe: str, stage: str, name: str, tag: str) -> str:
    return f"refs/{recipe}/{stage}/{name}/{tag}.json"
