"""Pointers of Git LFS, which a clone holds in place of large files until they are pulled.

Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
"""

from __future__ import annotations

import re
from pathlib import Path

MOST_BYTES = 1024
"""A pointer is smaller than this."""
WHAT = "a pointer of Git LFS, and not the file itself"
ADVICE = "run `git lfs pull` in the clone that it is in"

_POINTER = re.compile(
    rb"version https://[^\s]*git-lfs[^\s]*/spec/v\d+\n(?:[a-z0-9.-]+ .*\n)*oid sha256:[0-9a-f]"
)


def is_pointer(head: bytes) -> bool:
    """Whether a file's first bytes are those of a pointer."""
    return _POINTER.match(head) is not None


def is_pointer_file(path: Path) -> bool:
    """Whether a local file is a pointer. Raises OSError where it cannot be read."""
    if path.stat().st_size >= MOST_BYTES:
        return False
    return is_pointer(path.read_bytes())
