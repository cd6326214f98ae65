"""Damage in the store: files that differ from their manifest, and the failures they cause.

A flipped bit in a text reads without an error, and what is made from it would keep its version. So
a process compares a file's checksum before it first reads it (`refuse_changed`: 1 to 2 GB/s), and a
stage commits nothing if its inputs were written to while it ran (`unwritten`, by size and time).
Sizes are compared before a stage starts (`refuse_shortened`). Damage may cause any error, so inputs
are read again after a failure (`blaming_inputs`).
"""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.io.files import sha256_file
from infra.remote.errors import RemoteError
from infra.remote.locations import is_remote
from infra.stage import Pin
from infra.store.artifact import Artifact
from infra.store.directory import Damaged
from infra.store.manifest import DataFile

CHECK_LIMIT_S = 120.0
"""Seconds that may be spent on reading the inputs again after a failure."""

CHECKED_AT_ONCE = 64 * 10**9
"""Bytes that are compared with their checksums before a reader gets them: a minute's reading. Of
more, which are a phase's bins, only sizes are compared; `puna artifacts verify` reads all.
"""

MOST_NAMED = 5
"""Damaged files that a message lists after the first."""


@dataclass(frozen=True)
class Damage:
    """One data file that differs from what its artifact's manifest lists."""

    artifact: Artifact
    file: str
    what: str
    """"is missing", "has 12 bytes, its manifest says 24", ..."""

    @property
    def place(self) -> str:
        """Path of the file, or its URL."""
        return self.artifact.data.place(self.file)


_MISSING = "is missing"


def of_sizes(artifact: Artifact) -> Iterator[Damage]:
    """Data files that are missing or have another size; reads none."""
    root = artifact.data.local_root
    if root is None:
        yield from _of_listed_sizes(artifact)
        return
    for output in artifact.manifest.outputs:
        try:
            status = (root / output.path).stat()
        except OSError:
            yield Damage(artifact, output.path, _MISSING)
            continue
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            yield Damage(artifact, output.path, "is not a file")
        elif size != output.bytes:
            yield Damage(artifact, output.path, _other_size(size, output.bytes))


def _of_listed_sizes(artifact: Artifact) -> Iterator[Damage]:
    sizes = artifact.data.sizes()
    for output in artifact.manifest.outputs:
        size = sizes.get(output.path)
        if size is None:
            yield Damage(artifact, output.path, _MISSING)
        elif size != output.bytes:
            yield Damage(artifact, output.path, _other_size(size, output.bytes))


def _other_size(size: int, stated: int) -> str:
    return f"has {size:,} bytes, its manifest says {stated:,}"


def of_contents(artifact: Artifact, until: float = float("inf")) -> Iterator[Damage]:
    """Data files that are missing or have other bytes, in name order. Reads them all, but stops at
    `until` (of `time.monotonic`).
    """
    for output in sorted(artifact.manifest.outputs, key=lambda output: output.path):
        if time.monotonic() > until:
            return
        name = output.path
        try:
            digest = artifact.data.sha256(name)
        except FileNotFoundError:
            yield Damage(artifact, name, _MISSING)
            continue
        except OSError as error:
            yield Damage(artifact, name, f"cannot be read ({error.strerror})")
            continue
        if digest != output.sha256:
            yield Damage(artifact, name, _other_sha256(digest, output.sha256))


def refuse_shortened(what: str, inputs: Iterable[Artifact]) -> None:
    """Raise `Damaged` if a file of an input has another size than when it was written. Missing
    files are left to the stage that reads them, and so are copies of files on other machines, which
    are compared with their checksums when they are made.
    """
    damaged = [
        damage
        for artifact in inputs
        if artifact.data.local_root is not None
        for damage in of_sizes(artifact)
        if damage.what != _MISSING
    ]
    if damaged:
        raise Damaged(_sentence(f"{what} cannot be built: its input", damaged))


class Written(Damaged):
    """An input was written to while a stage read it: nothing of what it made can be used."""


class DamagedInput(Damaged):
    """A file that was about to be read; `blaming_inputs` adds who reads it, and what else is
    damaged.
    """


_UNCHANGED: dict[tuple[str, str], tuple[int, int, int]] = {}
"""(path, sha256) -> size, time and inode of files that this process has found to hold just that."""


def refuse_changed(artifact: Artifact, files: Sequence[DataFile]) -> None:
    """Raise `Damaged` if a file of an artifact on a local disk holds other bytes than its manifest
    says. Each is read once by a process, unless it is written to in between.
    """
    if sum(file.bytes for file in files) > CHECKED_AT_ONCE:
        return
    damaged = []
    for file in files:
        path = artifact.data.local(file.path)
        stamp = _stamp(path)
        if _UNCHANGED.get((str(path), file.sha256)) == stamp:
            continue
        found = sha256_file(path)
        if found == file.sha256:
            _UNCHANGED[str(path), file.sha256] = stamp
        else:
            damaged.append(Damage(artifact, file.path, _other_sha256(found, file.sha256)))
    if damaged:
        raise DamagedInput(_sentence("", damaged))


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def _other_sha256(found: str, stated: str) -> str:
    return f"has sha256 {found[:12]}, its manifest says {stated[:12]}"


@contextlib.contextmanager
def unwritten(what: str, inputs: Sequence[Artifact], pins: Sequence[Pin]) -> Iterator[None]:
    """Raise `Written` after the block if a local file of `inputs` was written to meanwhile, or one
    of `pins` since the plan was made.
    """
    local = [artifact for artifact in inputs if artifact.data.local_root is not None]
    before = [(artifact, file, _stamp_of(artifact, file)) for artifact, file in _files(local)]
    yield
    written = [
        Damage(artifact, file, "was written to while it was read")
        for artifact, file, stamp in before
        if stamp and (now := _stamp_of(artifact, file)) and now != stamp
    ]
    if written:
        raise Written(_sentence(f"{what} is not kept: its input", written))
    if change := _change_of_pins(pins):
        raise Written(f"{what} is not kept, as a file it reads was changed: {change}")


def stamp_of(pins: Iterable[Pin], inputs: Iterable[Artifact] = ()) -> str:
    """A digest that changes when a local file among `pins` is written to or replaced, whatever its
    times say then, or when an input was built again with other data; "" if there is none.
    """
    stamps = [f"{artifact.identity}\0{artifact.digest}\n" for artifact in inputs]
    for path in sorted(pin.path for pin in pins if not is_remote(pin.path)):
        with contextlib.suppress(OSError):
            found = Path(path).stat()
            stamps.append(f"{path}\0{found.st_size}\0{found.st_ctime_ns}\0{found.st_ino}\n")
    joined = "".join(stamps).encode("utf-8", "surrogateescape")
    return hashlib.sha256(joined).hexdigest() if stamps else ""


def _files(artifacts: Iterable[Artifact]) -> Iterator[tuple[Artifact, str]]:
    for artifact in artifacts:
        yield from ((artifact, output.path) for output in artifact.manifest.outputs)


def _stamp_of(artifact: Artifact, file: str) -> tuple[int, int, int] | None:
    try:
        return _stamp(artifact.data.local(file))
    except OSError:
        return None


def require_sizes(artifact: Artifact) -> None:
    """Raise `Damaged` if a data file is missing or has another size than when it was written."""
    if damaged := list(of_sizes(artifact)):
        raise Damaged(_sentence("", damaged))


def in_short(artifact: Artifact) -> str:
    """What `of_sizes` finds, in a few words; "" if it finds nothing."""
    damaged = list(of_sizes(artifact))
    if not damaged:
        return ""
    more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
    return f"damaged: {damaged[0].file} {damaged[0].what}{more}"


@contextlib.contextmanager
def blaming_inputs(
    what: str, inputs: Iterable[Artifact], pins: Iterable[Pin] = ()
) -> Iterator[None]:
    """Raise `Damaged` in place of any failure if a file of `inputs` or `pins` has changed.

    The message begins with `what`, such as "select/web". The failure is chained. Interrupts pass
    through.
    """
    try:
        yield
    except DamagedInput as error:
        if damaged := _damaged(inputs):
            raise Damaged(_sentence(f"{what} cannot be built: its input", damaged)) from error
        raise
    except (Damaged, RemoteError):  # the network, or what it said, is no damage
        raise
    except Exception as error:
        if damaged := _damaged(inputs):
            reason = _sentence(f"{what} failed because its input", damaged)
            raise Damaged(
                f"{reason}\nIt failed with: {type(error).__name__}: {_first_line(error)}"
            ) from error
        if change := _change_of_pins(pins):
            raise Written(f"{what} failed while a file it reads was changed: {change}") from error
        raise


def _damaged(inputs: Iterable[Artifact]) -> list[Damage]:
    """What is damaged among inputs: files of other sizes, else those of other contents."""
    until = time.monotonic() + CHECK_LIMIT_S
    artifacts = list({artifact.identity: artifact for artifact in inputs}.values())
    with contextlib.suppress(RemoteError):  # the failure itself says more
        return [damage for artifact in artifacts for damage in of_sizes(artifact)] or [
            damage for artifact in artifacts for damage in of_contents(artifact, until)
        ]
    return []


def _sentence(begin: str, found: Sequence[Damage]) -> str:
    """The message: which files are damaged, and how to build them again."""
    first = found[0]
    listed = found[1 : 1 + MOST_NAMED]
    others = "".join(
        f"\n  also {damage.artifact.identity}: {damage.place} {damage.what}" for damage in listed
    )
    more = f"\n  and {len(found) - 1 - len(listed)} more" if len(found) - 1 > len(listed) else ""
    run = first.artifact.manifest.run
    recipe = f" (RECIPE: that of run {run})" if run else ""
    again = " ".join(
        f"--force {stage}" for stage in dict.fromkeys(_stage(damage) for damage in found)
    )
    store = f"--store {shlex.quote(first.artifact.store_url)}"
    return (
        f"{begin} {first.artifact.identity} is damaged: {first.place} {first.what}{others}{more}\n"
        f"Restore what is damaged, or build it again: puna run RECIPE {again}{recipe}. "
        f"To find other damage: puna artifacts verify {store}; to see what was made from it: puna "
        f"artifacts lineage {first.artifact.identity} --down {store}"
    ).strip()


def _stage(damage: Damage) -> str:
    return f"{damage.artifact.stage}/{damage.artifact.name}"


def _change_of_pins(pins: Iterable[Pin]) -> str:
    """The first pinned file that was changed since the plan, in words; "" if there is none."""
    for pin in pins:
        if is_remote(pin.path):
            # who fetches it compares it with its pin (`infra.remote.Changed`)
            continue
        path = Path(pin.path)
        try:
            size, modified_ns, _ = _stamp(path)
        except OSError as error:
            return (
                f"{path} existed when the run was planned and does not now ({error.strerror}); "
                "put it back"
            )
        if size != pin.bytes:
            return (
                f"{path} had {pin.bytes:,} bytes when the run was planned, and has {size:,} now; "
                "run again once nothing writes to it"
            )
        if pin.modified_ns not in (0, modified_ns) and sha256_file(path) != pin.sha256:
            return (
                f"{path} holds other bytes than when the run was planned; put it back, or run "
                "again once nothing writes to it: what it holds now is then read"
            )
    return ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]
