"""Files that the workers of a stage write for one another, wherever these workers are.

    with exchange.create("keys/7") as path: ...       one worker writes a file
    exchange.path("keys/7")                           another opens it, all of it
    exchange.read([("keys/7", 0, 100), ...])          or reads ranges of files, in order

They lie in the attempt's scratch folder, in the store: on a disk these are plain files that are not
flushed (they must survive a killed process, not a power cut). On S3 they are objects, and who reads
ranges fetches no more than these, unless a whole copy is in the cache of its machine. A name stands
for one content: who writes it again (a shard done again) writes the same.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infra.io.files import sha256_file, temporary_beside
from infra.remote import cache, s3_objects, s3_writes
from infra.remote.access import Access
from infra.remote.held import Held, HeldFolder
from infra.remote.ranges import Range, read_ranges
from infra.stage import Pin, StageError
from infra.store.directory import Directory
from infra.store.s3_directory import S3Directory

Piece = tuple[str, int, int]
"""Name of a file, and the bytes [start, stop) of it."""


@dataclass(frozen=True)
class Exchange:
    """See the module docstring. Picklable."""

    directory: Directory

    @property
    def name(self) -> str:
        """The last part of its address."""
        return self.directory.url.rpartition("/")[2]

    def child(self, name: str) -> Exchange:
        """The folder `name` inside this one."""
        return replace(self, directory=self.directory.child(name))

    @property
    def _folder(self) -> Path:
        """The folder itself; a memory:// store, which is of one process, has a temporary one."""
        local = self.directory.local_root
        return local if local is not None else self.directory.scratch()

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[Path]:
        """Yield a local path to write to. On a clean exit others find its content under `name`."""
        with self.staging(name) as staged:
            yield staged
            if isinstance(self.directory, S3Directory):
                sha256 = sha256_file(staged)
                _write(self.directory, staged, name, sha256)
                cache.keep(staged, sha256, self.directory.access)
            else:
                staged.replace(self._folder / name)

    @contextlib.contextmanager
    def staging(self, name: str) -> Iterator[Path]:
        """Yield a local path that is removed afterwards, on a disk with room for such files."""
        if isinstance(self.directory, S3Directory):
            staged = self.directory.staging(name)
        else:
            staged = temporary_beside(self._folder / name)
            staged.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield staged
        finally:
            staged.unlink(missing_ok=True)
            if isinstance(self.directory, S3Directory):
                with contextlib.suppress(OSError):
                    staged.parent.rmdir()

    @property
    def is_far(self) -> bool:
        """Whether it is on other machines."""
        return isinstance(self.directory, S3Directory)

    def send(self, file: Path, name: str, sha256: str = "") -> None:
        """As `create`, of a file that stays where it is. `sha256`: of it, where that is known."""
        if isinstance(self.directory, S3Directory):
            _write(self.directory, file, name, sha256 or sha256_file(file))
            return
        with self.create(name) as path:
            shutil.copyfile(file, path)

    def files(self) -> list[str]:
        """Sorted names of all files, at any depth."""
        return self.directory.files()

    def folders(self) -> list[str]:
        """Sorted names of the folders in it."""
        return self.directory.folders()

    def path(self, name: str) -> Path:
        """A path that any worker can open; on S3 that of a copy, fetched when it is opened."""
        if not isinstance(self.directory, S3Directory):
            return self._folder / name
        return self.directory.local(name)

    def shared(self, folder: Path) -> Path:
        """A folder that any worker can open, with the files of a folder of this machine."""
        directory = self.directory
        if not isinstance(directory, S3Directory):
            return folder
        pins = {}
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = str(file.relative_to(folder))
            sha256 = sha256_file(file)
            _write(directory, file, name, sha256)
            pins[name] = Pin(f"{directory.url}/{name}", name, sha256, file.stat().st_size)
        return HeldFolder.of(pins, directory.access, f"shared/{_key(directory.url)}")

    def sizes(self, names: Sequence[str]) -> list[int]:
        """Bytes of files; several are asked for at a time."""
        directory = self.directory
        if not isinstance(directory, S3Directory):
            return [(self._folder / name).stat().st_size for name in names]
        urls = [f"{directory.url}/{name}" for name in names]
        return [pin.bytes for pin in _pins(urls, directory.access)]

    def read(self, wanted: Iterable[Piece]) -> Iterator[Any]:
        """Each piece as a new array of uint8, in order. Neighbours of one file cost least.

        Raises:
            StageError: a file is shorter than it was.
        """
        if isinstance(self.directory, S3Directory):
            return _ranges(self.directory, list(wanted))
        return _pieces(self._folder, wanted)

    def remove(self) -> None:
        """Remove all files."""
        if isinstance(self.directory, S3Directory) or self._folder.exists():
            self.directory.remove()


def _pieces(folder: Path, wanted: Iterable[Piece]) -> Iterator[Any]:
    import numpy as np

    with contextlib.ExitStack() as opened:
        last, stream = "", None
        for name, start, stop in wanted:
            if stream is None or name != last:
                opened.close()
                last = name
                stream = opened.enter_context((folder / name).open("rb", buffering=0))
            stream.seek(start)
            found = np.fromfile(stream, np.uint8, stop - start)
            if len(found) != stop - start:
                raise _shortened(f"{folder / name}", stop)
            yield found


def _ranges(directory: S3Directory, wanted: Sequence[Piece]) -> Iterator[Any]:
    """Pieces of copies that are here, and ranges of what is not."""
    import numpy as np

    access = directory.access
    names = list(dict.fromkeys(name for name, _, _ in wanted))
    pins = dict(zip(names, _pins([f"{directory.url}/{n}" for n in names], access), strict=True))
    here = {
        name: Held.of(pin, access, f"exchange/{_key(pin.path)}")
        for name, pin in pins.items()
        if cache.holds(pin, access)
    }
    for name, _, stop in wanted:
        if stop > pins[name].bytes:
            raise _shortened(pins[name].path, stop)
    far = read_ranges(
        (
            Range(pins[name], start, stop)
            for name, start, stop in wanted
            if name not in here and stop > start
        ),
        access,
    )
    for name, start, stop in wanted:
        if stop == start:
            yield np.empty(0, np.uint8)
        elif name in here:
            with here[name].open("rb", buffering=0) as stream:
                stream.seek(start)
                yield np.fromfile(stream, np.uint8, stop - start)
        else:
            yield np.frombuffer(bytearray(next(far)), np.uint8)


def _shortened(place: str, stop: int) -> StageError:
    return StageError(
        f"{place} ends before byte {stop:,}: it was damaged after it was written; run again with "
        "--force and the stage"
    )


def _write(directory: S3Directory, file: Path, name: str, sha256: str) -> None:
    url, access = f"{directory.url}/{name}", directory.access
    try:
        s3_writes.create(url, file, sha256, access)
    except FileExistsError:  # of a worker that was lost, or that was thought to be
        found = s3_objects.head(url, access)
        if (found.sha256 or sha256, found.bytes) != (sha256, file.stat().st_size):
            s3_writes.replace(url, file, access)


def _pins(urls: Sequence[str], access: Access) -> list[Pin]:
    return s3_objects.each(lambda url: _pin(url, access), urls)


@functools.lru_cache(maxsize=1 << 14)
def _pin(url: str, access: Access) -> Pin:
    """What a name stands for does not change."""
    return s3_objects.pin_of(url, s3_objects.head(url, access))


def _key(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]
