"""Damage in the store: files that differ from their manifest, and the failures they cause.

Damaged inputs may cause any error, so they are read again after a failure (`blaming_inputs`). Sizes
are compared before a stage starts (`refuse_shortened`): that is cheap, and truncated text reads
without an error.
"""

from __future__ import annotations

import contextlib
import shlex
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.remote.errors import RemoteError
from infra.remote.locations import is_remote
from infra.stage import Pin
from infra.store.artifact import Artifact
from infra.store.directory import Damaged

CHECK_LIMIT_S = 120.0
"""Seconds that may be spent on reading the inputs again after a failure."""

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
            yield Damage(
                artifact,
                name,
                f"has sha256 {digest[:12]}, its manifest says {output.sha256[:12]}",
            )


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
    except (Damaged, RemoteError):  # the network, or what it said, is no damage
        raise
    except Exception as error:
        until = time.monotonic() + CHECK_LIMIT_S
        artifacts = list({artifact.identity: artifact for artifact in inputs}.values())
        damaged: list[Damage] = []
        with contextlib.suppress(RemoteError):  # the failure itself says more
            damaged = [damage for artifact in artifacts for damage in of_sizes(artifact)]
            damaged = damaged or [
                damage for artifact in artifacts for damage in of_contents(artifact, until)
            ]
        if damaged:
            reason = _sentence(f"{what} failed because its input", damaged)
            raise Damaged(
                f"{reason}\nIt failed with: {type(error).__name__}: {_first_line(error)}"
            ) from error
        if change := _change_of_pins(pins):
            raise Damaged(f"{what} failed while a file it reads was changed: {change}") from error
        raise


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
    """The first pinned file that is missing or has another size, in words; "" if there is none."""
    for pin in pins:
        if is_remote(pin.path):
            # who fetches it compares it with its pin (`infra.remote.Changed`)
            continue
        path = Path(pin.path)
        try:
            size = path.stat().st_size
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
    return ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]
