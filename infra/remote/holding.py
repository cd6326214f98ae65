"""Local copies that stay where they are while this process works with them.

What wants a path (memory maps, Parquet, safetensors, models) gets one below a folder of this
process, `<cache>/held/<process>/<place>`: a second name (a hard link) of a cached file, which keeps
the file from being evicted. Names go when the work that asked for them ends (`while_open`), and all
of them with the process. The folder of a killed process is removed by the next one that looks: the
lock that a living process holds on its folder is the kernel's.

A path is the same each time that this process asks for the same thing, so that what was loaded from
it may be remembered by it.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from infra.remote.access import Access
from infra.remote.cache import local_pin, room
from infra.stage import Pin

_LOCK = "process.lock"
_changing = threading.RLock()
_users: dict[Path, int] = {}
"""Path -> how much of this process's work uses it."""

_held_by_work: ContextVar[set[Path] | None] = ContextVar("held_by_work", default=None)
_held_by_process: set[Path] = set()


@contextlib.contextmanager
def while_open() -> Iterator[None]:
    """What is held inside is let go at the end, unless other work of this process holds it too."""
    held: set[Path] = set()
    token = _held_by_work.set(held)
    try:
        yield
    finally:
        _held_by_work.reset(token)
        with _changing:
            for path in held:
                _users[path] -= 1
                if not _users[path]:
                    del _users[path]
                    path.unlink(missing_ok=True)


def hold(pin: Pin, access: Access, place: str) -> Path:
    """A local path, `place` below this process's folder, of a file with the content of a pin. It
    stays until the work in `while_open` ends, else until the process does.

    Raises as `infra.remote.cache.local_copy` does.
    """
    held = _held_by_work.get()
    held = _held_by_process if held is None else held
    path = folder_of_process(access) / place
    if path not in held or not path.exists():
        with local_pin(pin, access, patience_s=0.0) as found, _changing:
            _link(Path(found.path), path)
            if path not in held:
                held.add(path)
                _users[path] = _users.get(path, 0) + 1
    return path


def folder_of_process(access: Access) -> Path:
    """The folder of this process in the cache, for files that end with it."""
    return _folder(access.cache, os.getpid())


def _link(content: Path, path: Path) -> None:
    if path.exists() and path.samefile(content):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        os.link(content, path)
    except OSError:  # a disk without links
        shutil.copyfile(content, path)


@functools.lru_cache(maxsize=8)
def _folder(cache: Path, process: int) -> Path:
    """Made, locked and announced once a process; forked children have their own."""
    if _users and process != _owner[0]:
        _users.clear()
        _held_by_process.clear()
    _owner[0] = process
    folder = cache / "held" / f"{process}-{secrets.token_hex(4)}"
    with room(Access(cache=cache)):
        _remove_those_of_the_dead(cache)
        folder.mkdir(parents=True)
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)  # given back when the process ends
    atexit.register(_remove_own, folder, process)
    return folder


_owner = [os.getpid()]
"""The process that `_users` speaks of."""


def _remove_own(folder: Path, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_those_of_the_dead(cache: Path) -> None:
    """Remove folders whose lock nobody holds; only under `room`, in which they are made."""
    with contextlib.suppress(FileNotFoundError):
        for folder in (cache / "held").iterdir():
            with contextlib.suppress(OSError):
                handle = os.open(folder / _LOCK, os.O_RDWR)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
                finally:
                    os.close(handle)
