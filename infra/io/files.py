"""Atomic writes of local files.

A file is written under a hidden name next to its target, flushed to disk, and then linked or
renamed into place: a kill at any moment leaves either no file or the finished one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

TEMPORARY_SUFFIX = ".partial"
"""Ending of files that are being written; their names also start with a dot."""

_BLOCK_BYTES = 1 << 20


def sha256_file(path: Path) -> str:
    """Hex sha256 of a local file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


class NoFile(OSError):
    """Something that reads like no file: it has no end, waits for a writer, or leads nowhere."""


def only_files(paths: Iterable[Path]) -> list[Path]:
    """The files among paths, without folders. Raises `NoFile` for anything else."""
    files = []
    for path in paths:
        if not _is_utf8(path.name):
            raise NoFile(None, f"{path.name!a} is a name that is no UTF-8; rename it", str(path))
        if path.is_file():
            files.append(path)
        elif kind := special_kind(path):
            raise NoFile(None, f"{path.name} {kind}; take it away", str(path))
    return files


def _is_utf8(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def special_kind(path: Path) -> str:
    """What a path is that is neither file nor folder, as a predicate; "" for those."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return "is a link that leads nowhere" if path.is_symlink() else ""
    kinds = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"} | dict.fromkeys(
        (stat.S_IFCHR, stat.S_IFBLK), "device"
    )
    kind = kinds.get(stat.S_IFMT(mode), "")
    return f"is a {kind}, no file" if kind else ""


def files_in(folder: Path) -> list[Path]:
    """Every file below a folder, sorted by path, except hidden ones (`.git`, `.DS_Store`, the
    `.cache` of a download). Raises `NoFile` where something else lies there.
    """

    def is_hidden(path: Path) -> bool:
        return any(part.startswith(".") for part in path.relative_to(folder).parts)

    return sorted(only_files(path for path in folder.rglob("*") if not is_hidden(path)))


def temporary_beside(path: Path) -> Path:
    """A new hidden name in the folder of `path`; listings of a store skip such names."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")


def flush_to_disk(path: Path) -> None:
    """Ask the kernel to write a finished file (or a folder's entries) to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def link_exclusively(temporary: Path, path: Path) -> None:
    """Give a finished temporary file its final name, or raise `FileExistsError`. The temporary name
    is removed either way.
    """
    try:
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path. On a clean exit that file replaces `path` atomically; on an error it
    is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        flush_to_disk(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)
