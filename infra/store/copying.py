"""Copies artifacts from one store to another, whatever both are on.

A copy is built as the artifact was: data files are created exclusively, the manifest last, so that
it is whole or not there. Every file is compared with its checksum on the way. A copy that was
broken off goes on with the files that are missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from infra.io.files import sha256_file
from infra.remote import holding
from infra.stage import StageError
from infra.store.artifact import MANIFEST, Artifact
from infra.store.attempt import Attempt
from infra.store.directory import Damaged, Directory
from infra.store.manifest import DataFile
from infra.store.store import Store

Told = Callable[[int, int], None]
"""Called with the bytes that are there, and all."""


def with_inputs(store: Store, artifact: Artifact) -> Iterator[Artifact]:
    """What an artifact was made from, as far as the store still has it, then the artifact: each
    after what it was made from.
    """
    seen: set[str] = set()

    def visit(current: Artifact) -> Iterator[Artifact]:
        if current.identity in seen:
            return
        seen.add(current.identity)
        for given in current.manifest.inputs.values():
            for reference in given:
                upstream = store.find(reference.stage, reference.name, reference.version)
                if upstream is not None:
                    yield from visit(upstream)
        yield current

    yield from visit(artifact)


def copy(artifact: Artifact, target: Store, told: Told = lambda done, total: None) -> bool:
    """Copy an artifact's data, records and manifest; False if the target has it already.

    Raises `Damaged` for a file that differs from its manifest, and `StageError` where the target
    has another artifact of that version.
    """
    if _has(artifact, target):
        return False
    home = target.home(artifact.stage, artifact.name, artifact.version)
    attempt = Attempt(home, artifact.manifest.attempt, bool(artifact.manifest.data.get("bitwise")))
    there = attempt.data.sizes()
    total, done = sum(file.bytes for file in artifact.manifest.outputs), 0
    for file in artifact.manifest.outputs:
        with holding.while_open():
            if there.get(file.path) != file.bytes:
                _publish(artifact, file, attempt.data)
            elif attempt.data.sha256(file.path) != file.sha256:
                raise _other(attempt.data, file)
        done += file.bytes
        told(done, total)
    for name in artifact.records.files():
        with holding.while_open():
            staged = attempt.records.staging(name)
            shutil.copyfile(artifact.records.local(name), staged)
            attempt.records.replace_file(staged, name)
    try:
        home.create(MANIFEST, artifact.home.read(MANIFEST))
    except FileExistsError:
        _has(artifact, target)
    attempt.finish()
    return True


def _has(artifact: Artifact, target: Store) -> bool:
    found = target.find(artifact.stage, artifact.name, artifact.version)
    if found is not None and found.digest != artifact.digest:
        raise StageError(
            f"{target.root.url} has another {artifact.identity}: its digest is "
            f"{found.digest[:12]}, that of {artifact.store_url} is {artifact.digest[:12]}; "
            f"to replace it, remove {found.home.url}, or copy to another store"
        )
    return found is not None


def _publish(artifact: Artifact, file: DataFile, data: Directory) -> None:
    source = artifact.path(file.path)
    staged = data.staging(file.path)
    try:
        shutil.copyfile(source, staged)
        _require(artifact, file, staged)
        data.publish(staged, file.path, file.sha256)
    except FileExistsError:
        if data.sha256(file.path) != file.sha256:
            raise _other(data, file) from None
    finally:
        staged.unlink(missing_ok=True)


def _require(artifact: Artifact, file: DataFile, copied: Path) -> None:
    found = sha256_file(copied)
    if found != file.sha256:
        raise Damaged(
            f"{artifact.identity} is damaged: {artifact.data.place(file.path)} has sha256 "
            f"{found[:12]}, its manifest says {file.sha256[:12]}; restore it, or build it again: "
            f"puna run RECIPE --force {artifact.stage}/{artifact.name}"
        )


def _other(data: Directory, file: DataFile) -> Damaged:
    return Damaged(
        f"{data.place(file.path)} has other bytes than the file to be copied there, from an "
        "earlier copy or run; remove it, and copy again"
    )
