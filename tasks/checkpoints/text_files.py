"""Reads a checkpoint's small text files (JSON, templates), which a download may have damaged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.stage import StageError

_LFS = b"version https://git-lfs"


def refuse_pointer(path: Path) -> None:
    """`StageError` if a file is a Git LFS pointer rather than the content."""
    with path.open("rb") as stream:
        if stream.read(len(_LFS)) == _LFS:
            raise StageError(
                f"{path} is a Git LFS pointer, not the file; fetch it (git lfs pull) and run again"
            )


def read_text(path: Path) -> str:
    """The text of a file; `StageError` if it is not UTF-8."""
    refuse_pointer(path)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise StageError(f"{path} is not UTF-8 text ({error}); download it again") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; `StageError` if the file is not JSON or not an object."""
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise StageError(f"{path} is not JSON ({error}); download it again") from error
    if not isinstance(value, dict):
        raise StageError(
            f"{path} holds a {type(value).__name__}, not an object with settings; download it again"
        )
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON with sorted keys, two spaces of indentation and a final line feed."""
    path.write_text(
        json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )
