"""Local copies of remote objects: bounded, shared by all processes of this machine, never half.

A finished copy is a file whose name holds the key (address and identity) and the content's sha256;
it appears by a rename. Who uses it holds a shared lock on it, which the kernel takes back from a
killed process, or a second name of it (`infra.remote.holding`), and only what nobody holds is
evicted, the longest unused first. What is in use at
once may exceed the bound, as long as the disk has room. A download in
progress is a `.part` with an exclusive lock and its final size in its name, so that the bound
counts it; a killed one is resumed, unless the machine was restarted in between, which may have lost
what was not yet on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from infra.io.files import flush_to_disk, sha256_file
from infra.remote.access import Access
from infra.remote.errors import NoRoom, Stopped, Unreachable
from infra.remote.fetch import download
from infra.remote.locations import is_remote, shown
from infra.remote.schemes import scheme
from infra.stage import Pin

_POLL_S = 0.05
_PART = ".part"
_PATIENCE_S = 60.0
"""How long the bound is kept while others use all of it."""


@contextlib.contextmanager
def local_copy(pin: Pin, access: Access) -> Iterator[Path]:
    """The path of a file with the content of a pin, which stays while this is open.

    A local pin is its own file. Raises as `infra.remote.fetch.download` does, and `NoRoom`.
    """
    with local_pin(pin, access) as found:
        yield Path(found.path)


@contextlib.contextmanager
def local_pin(
    pin: Pin,
    access: Access,
    *,
    stop: threading.Event | None = None,
    wait: bool = True,
    patience_s: float = _PATIENCE_S,
) -> Iterator[Pin]:
    """As `local_copy`, as a pin of the local file: same name, and its sha256 and size are known.

    Without `wait`, `NoRoom` is raised at once where others use the room; with it, the bound is
    exceeded after `patience_s`.
    """
    if not is_remote(pin.path):
        yield pin
        return
    if (own := _copy_of_the_hub(pin)) is not None:
        yield replace(pin, path=str(own), sha256=pin.sha256 or sha256_file(own))
        return
    handle, path = _held(pin, access, stop, wait, patience_s)
    try:
        yield replace(
            pin,
            path=str(path),
            sha256=path.name.rpartition("-")[2],
            bytes=os.fstat(handle).st_size,
        )
    finally:
        os.close(handle)


def holds(pin: Pin, access: Access) -> bool:
    """Whether there is a local copy, so that no network is needed."""
    if not is_remote(pin.path) or _copy_of_the_hub(pin) is not None:
        return True
    return _finished(_key(pin), access) is not None


def _copy_of_the_hub(pin: Pin) -> Path | None:
    """What `hf download`, or another program, left in the hub's own cache."""
    if not pin.path.startswith("hf://"):
        return None
    from infra.remote.hub import hub_copy

    return hub_copy(pin)


def keep(path: Path, sha256: str, access: Access) -> None:
    """Take a finished file of known sha256 into the cache, as if it had been fetched, or remove it
    where others use the room. It must be on the cache's disk (`access.cache`).
    """
    key = hashlib.sha256(sha256.encode()).hexdigest()[:32]
    target = _folder(key, access) / f"{key}-{sha256}"
    try:
        flush_to_disk(path)
        with room(access):
            if not target.exists() and _evict(access, path.stat().st_size):
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
    finally:
        path.unlink(missing_ok=True)


def _key(pin: Pin) -> str:
    """Content of known sha256 is the same at every address."""
    known = pin.sha256 or f"{pin.path}\0{pin.identity}"
    return hashlib.sha256(known.encode()).hexdigest()[:32]


def _folder(key: str, access: Access) -> Path:
    return access.cache / "content" / key[:2]


def _finished(key: str, access: Access) -> Path | None:
    with contextlib.suppress(FileNotFoundError):
        for path in _folder(key, access).iterdir():
            if path.name.startswith(f"{key}-"):
                return path
    return None


def _held(
    pin: Pin, access: Access, stop: threading.Event | None, wait: bool, patience_s: float
) -> tuple[int, Path]:
    """A locked handle of the finished copy, and its path; fetches it where there is none."""
    key = _key(pin)
    size = pin.bytes
    while True:
        if stop is not None and stop.is_set():
            raise Stopped
        if (path := _finished(key, access)) is not None:
            handle = _lock(path, fcntl.LOCK_SH)
            if handle is not None:
                os.utime(path)
                return handle, path
        elif size < 0:
            size = scheme(pin.path).stat(pin.path, access).bytes
        elif (found := _part(key, size, access, wait, patience_s, pin, stop)) is not None:
            part, handle = found
            try:
                return handle, _fetch(pin, key, part, handle, access, stop)
            except BaseException as error:
                if not isinstance(error, (Unreachable, Stopped, KeyboardInterrupt, OSError)):
                    part.unlink(missing_ok=True)  # what is foreign or changed is not resumed
                os.close(handle)
                raise
        time.sleep(_POLL_S)


def _fetch(
    pin: Pin, key: str, part: Path, handle: int, access: Access, stop: threading.Event | None
) -> Path:
    """Download into a locked part, give it its final name, and keep it locked for reading."""
    known = scheme(pin.path)
    try:
        sha256 = download(pin, lambda: known.target(pin, access), access, part, stop)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise NoRoom(
                f"{shown(pin.path)}: the disk of the cache {access.cache} is full; free some of "
                "it, or set remote.cache to a folder on another disk"
            ) from None
        raise
    flush_to_disk(part)
    path = part.with_name(f"{key}-{sha256}")
    part.rename(path)
    # Until the lock is shared, the finished file is locked exclusively: nobody can evict it. Linux
    # gives up one lock before it takes the other, but only `_evict` takes exclusive ones, under the
    # lock that is held here.
    with room(access):
        fcntl.flock(handle, fcntl.LOCK_SH)
    return path


def _part(
    key: str,
    size: int,
    access: Access,
    wait: bool,
    patience_s: float,
    pin: Pin,
    stop: threading.Event | None,
) -> tuple[Path, int] | None:
    """The part to download into, locked for this process alone; None while another process has it.

    Its room is reserved: what would exceed the bound is evicted first, or waited for. Where others
    use all of it for longer, or one object is larger than the bound, the cache exceeds it until
    the next download.
    """
    now = time.monotonic()
    deadline = now + (min(access.retry_limit_s, patience_s) if size <= access.cache_bytes else 0)
    path = _folder(key, access) / f"{key}.{_boot()}.{size}{_PART}"
    while True:
        patient = wait and time.monotonic() < deadline
        with room(access):
            if path.exists():
                handle = _lock(path, fcntl.LOCK_EX)
                return None if handle is None else (path, handle)
            if _finished(key, access) is not None:
                return None
            # what is in use is never evicted: rather than fail, the cache grows beyond its bound
            if _evict(access, size) or (wait and not patient):
                _require_disk(pin, size, access)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch(exist_ok=False)
                handle = _lock(path, fcntl.LOCK_EX)
                return None if handle is None else (path, handle)
        if not wait:
            raise NoRoom(
                f"{shown(pin.path)}: {size:,} bytes do not fit beside what is in use of the cache "
                f"{access.cache} ({access.cache_bytes:,} bytes)"
            )
        if stop is not None and stop.is_set():
            raise Stopped
        time.sleep(_POLL_S)


def _require_disk(pin: Pin, size: int, access: Access) -> None:
    """Make room on the disk, also of what the bound allows; raise `NoRoom` where there is none.

    What others have reserved and not written yet is taken already.
    """
    reserved = sum(entry.unwritten for entry in _entries(access))
    free = shutil.disk_usage(access.cache).free - reserved
    for entry in sorted(_entries(access), key=lambda entry: entry.used):
        if free >= size:
            return
        if _remove(entry):
            free += entry.bytes
    if free < size:
        raise NoRoom(
            f"{shown(pin.path)}: its {size:,} bytes do not fit on the disk of the cache "
            f"{access.cache}, which has {max(free, 0):,} bytes left; free some of it, or set "
            "remote.cache to a folder on another disk"
        )


@contextlib.contextmanager
def room(access: Access) -> Iterator[None]:
    """Changes of what the cache holds, one at a time."""
    access.cache.mkdir(parents=True, exist_ok=True)
    handle = os.open(access.cache / "room.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _lock(path: Path, kind: int) -> int | None:
    """An open handle with that lock, or None where another process has it or the file is gone."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
        if os.fstat(handle).st_ino == path.stat().st_ino:
            return handle
    os.close(handle)
    return None


@dataclass(frozen=True)
class _Entry:
    path: Path
    bytes: int
    used: float
    unwritten: int = 0
    """Bytes that a download in progress has reserved and not written yet."""


def _entries(access: Access) -> list[_Entry]:
    found = []
    for folder, _, names in os.walk(access.cache / "content"):
        for name in names:
            path = Path(folder, name)
            with contextlib.suppress(FileNotFoundError, ValueError):
                status = path.stat()
                reserved = int(name.split(".")[-2]) if name.endswith(_PART) else status.st_size
                unwritten = max(reserved - status.st_size, 0)
                found.append(_Entry(path, reserved, status.st_mtime, unwritten))
    return found


def _evict(access: Access, wanted: int) -> bool:
    """Remove what was not used for longest until `wanted` bytes fit; False where others use too
    much.
    """
    entries = sorted(_entries(access), key=lambda entry: entry.used)
    total = sum(entry.bytes for entry in entries)
    for entry in entries:
        if total + wanted <= access.cache_bytes:
            break
        if _remove(entry):
            total -= entry.bytes
    return total + wanted <= access.cache_bytes


def _remove(entry: _Entry) -> bool:
    """Remove what nobody uses; False where somebody does."""
    handle = _lock(entry.path, fcntl.LOCK_EX)
    if handle is None:
        return False
    try:
        if os.fstat(handle).st_nlink > 1:
            return False
        entry.path.unlink(missing_ok=True)
        return True
    finally:
        os.close(handle)


@functools.cache
def _boot() -> str:
    """Names this start of the machine; unique to this process where the system does not tell."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    return f"pid{os.getpid()}"
