"""Checkpoints of a running phase: atomic, checksummed, pruned; a corrupt one is skipped.

A checkpoint is a folder `step-00000042` with `model.safetensors`, `optimizer.safetensors`,
`state.json` and, written last, `checksums.json`. It is built under another name, synced to disk and
renamed. There are no pickles.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from infra.io.files import flush_to_disk, sha256_file

KEEP = 2
"""Checkpoints kept: the last, and the one before to fall back to."""

_LOG = logging.getLogger(__name__)
_PREFIX = "step-"


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write safetensors."""
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read safetensors."""
    loaded: dict[str, Tensor] = load_file(path)
    return loaded


def save(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> Path:
    """Write checkpoint `step`: one safetensors file per entry of `tensors`, and `state` as JSON."""
    final = folder / f"{_PREFIX}{step:08d}"
    building = folder / f".{final.name}.{os.getpid()}"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    for name, entries in tensors.items():
        save_tensors(building / f"{name}.safetensors", entries)
    (building / "state.json").write_text(json.dumps(state, sort_keys=True))
    checksums = {path.name: sha256_file(path) for path in sorted(building.iterdir())}
    (building / "checksums.json").write_text(json.dumps(checksums, sort_keys=True))
    for path in [*building.iterdir(), building]:
        flush_to_disk(path)
    shutil.rmtree(final, ignore_errors=True)
    building.rename(final)
    flush_to_disk(folder)
    for old in _checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old)
    for left in folder.glob(f".{_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    return final


def load(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]] | None:
    """The newest intact checkpoint (tensors by file, state), or None; corrupt ones are removed."""
    for path in reversed(_checkpoints(folder)):
        if problem := _problem(path):
            _LOG.warning(
                "checkpoint %s is not usable (%s); falling back to the one before",
                path.name,
                problem,
            )
            shutil.rmtree(path)
            continue
        tensors = {file.stem: load_tensors(file) for file in sorted(path.glob("*.safetensors"))}
        return tensors, json.loads((path / "state.json").read_text())
    return None


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*"), key=lambda path: int(path.name.removeprefix(_PREFIX)))


def _problem(path: Path) -> str:
    try:
        checksums = json.loads((path / "checksums.json").read_text())
    except (OSError, ValueError) as error:
        return f"no checksums: {error}"
    for name, expected in checksums.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if sha256_file(file) != expected:
            return f"{name} does not match its checksum"
    return ""
