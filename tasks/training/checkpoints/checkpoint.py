"""Checkpoints of a running phase on disk: atomic, checksummed, pruned; a corrupt one is skipped.

A checkpoint is a folder `step-00000042`:

    rank-00000.safetensors   tensors of a rank, in parts (`tasks.training.distributed.parts`)
    rank-00000.json          sha256 of that file, written after it
    state.json               progress
    checksums.json           sha256 of every file

Every rank writes its own files below another name, at its own pace. The main rank waits for all,
writes the rest, syncs to disk and renames the folder, so a folder of that name is complete. Ranks
need only a common file system; nothing is sent between them. There are no pickles.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.io.files import flush_to_disk, sha256_file

if TYPE_CHECKING:  # the pipeline's process looks at checkpoints without torch
    from torch import Tensor

    from tasks.training.distributed.parts import Part

POLL_S = 0.02
"""Pause between looks for the files of other ranks."""

_PREFIX = "step-"
_FAILED = ".failed"


class CheckpointError(Exception):
    """A checkpoint could not be written; those before it are intact."""


def name_of(step: int) -> str:
    """The folder's name."""
    return f"{_PREFIX}{step:08d}"


def building_folder(folder: Path, step: int, token: str) -> Path:
    """Where the checkpoint of a step is written before it is complete.

    `token`: of the run, so that the ranks of an earlier one never write into it.
    """
    return folder / f".{name_of(step)}.{token}"


def write_rank(
    building: Path, rank: int, tensors: Mapping[str, Tensor], parts: Mapping[str, Part]
) -> None:
    """Write a rank's files; says in the folder where that fails.

    Raises:
        Exception: what writing raised (a full disk).
    """
    from tasks.training.distributed.parts import write_parts

    stem = building / f"rank-{rank:05d}"
    try:
        building.mkdir(parents=True, exist_ok=True)
        path = stem.with_suffix(".safetensors")
        write_parts(path, tensors, parts)
        digest = sha256_file(path)
        flush_to_disk(path)
        _write_json(stem.with_suffix(".json"), digest)
    except Exception as error:
        with contextlib.suppress(OSError):
            stem.with_suffix(_FAILED).write_text(str(error))
        raise


def complete(
    building: Path,
    final: Path,
    world_size: int,
    state: Mapping[str, Any],
    wait: Callable[[], None] = lambda: time.sleep(POLL_S),
) -> None:
    """Once all ranks have written their files, give the checkpoint its name.

    `wait`: called between looks; may raise to give up.

    Raises:
        CheckpointError: a rank could not write its files.
    """
    for rank in range(world_size):
        stem = building / f"rank-{rank:05d}"
        while not stem.with_suffix(".json").exists():
            if stem.with_suffix(_FAILED).exists():
                raise CheckpointError(f"rank {rank}: {stem.with_suffix(_FAILED).read_text()}")
            wait()
    checksums = {}
    for path in sorted(building.glob("rank-*.json")):
        checksums[f"{path.stem}.safetensors"] = json.loads(path.read_text())
        checksums[path.name] = sha256_file(path)
    _write_json(building / "state.json", state)
    checksums["state.json"] = sha256_file(building / "state.json")
    _write_json(building / "checksums.json", checksums)
    flush_to_disk(building)
    shutil.rmtree(final, ignore_errors=True)
    building.rename(final)
    flush_to_disk(final.parent)


def _write_json(path: Path, value: Any) -> None:
    """Write atomically: another rank may look at the file at any time."""
    partial = path.with_name(f".{path.name}")
    partial.write_text(json.dumps(value, sort_keys=True))
    flush_to_disk(partial)
    partial.replace(path)


def prune(folder: Path, keep: int) -> None:
    """Remove all checkpoints but the newest `keep`."""
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)


def remove(path: Path) -> None:
    """Remove a checkpoint, finished or not."""
    shutil.rmtree(path, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what killed runs left."""
    for left in folder.glob(f".{_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    found = [path for path in folder.glob(f"{_PREFIX}*") if _number(path) is not None]
    return sorted(found, key=lambda path: _number(path) or 0)


def _number(path: Path) -> int | None:
    digits = path.name.removeprefix(_PREFIX)
    return int(digits) if digits.isdecimal() else None


def read_state(path: Path) -> dict[str, Any]:
    """The state of a checkpoint."""
    state: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    return state


def problem(path: Path, share: tuple[int, int] = (0, 1)) -> str:
    """What is wrong with a checkpoint's files; "" if nothing is.

    `share`: (i, n) checks every n-th file from the i-th on: each rank checks some.
    """
    try:
        checksums = json.loads((path / "checksums.json").read_text())
        names = sorted(checksums)
    except (OSError, ValueError) as error:
        return f"no checksums: {error}"
    for name in names[share[0] :: share[1]]:
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if sha256_file(file) != checksums[name]:
            return f"{name} does not match its checksum"
    return ""


def tensor_files(path: Path) -> list[Path]:
    """The files of tensors of a checkpoint."""
    return sorted(path.glob("rank-*.safetensors"))


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that a folder is on."""
    stats = os.statvfs(folder)
    return stats.f_bavail * stats.f_frsize
