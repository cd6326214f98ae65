"""Advice after a failure, by its cause. "Run the same command again" only where that can help.

A stage's error states its own next action; this module adds what the stage cannot know. Anything
unforeseen is a bug.
"""

from __future__ import annotations

import errno
import os
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.build import LedgerDoesNotBalance
from infra.engine import ShardFailed
from infra.engine.launch import LaunchError
from infra.io.files import TEMPORARY_SUFFIX
from infra.stage import GateError, StageError
from infra.store import Damaged, NotDeterministic

_FEW_INODES, _MUCH_ROOM = 100, 1 << 20
AGAIN = "Finished work is kept; then run the same command again to continue"


@dataclass(frozen=True)
class Advice:
    """The text to print after an error, and whether to print its traceback."""

    action: str
    traceback: bool = False


@dataclass(frozen=True)
class Failure:
    """An error and its context: the step's id ("" outside of steps), the store's folder and the
    path of the run's record.
    """

    error: BaseException
    step: str = ""
    store: str = ""
    record: str = ""

    def chain(self) -> Iterator[BaseException]:
        """The error, what it was raised from, and so on."""
        error: BaseException | None = self.error
        seen: set[int] = set()
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            yield error
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)

    def has_errno(self, *numbers: int) -> OSError | None:
        """The first error of the operating system with one of these numbers."""
        matching = (
            error for error in self.chain() if isinstance(error, OSError) and error.errno in numbers
        )
        return next(matching, None)

    def says(self, pattern: str) -> bool:
        """Whether the text of an error in the chain matches, including the last lines of a failed
        process.
        """
        return any(re.search(pattern, str(error), re.IGNORECASE) for error in self.chain())


def advise(failure: Failure) -> Advice:
    """The next action for a failure."""
    for kind in _KINDS:
        advice = kind(failure)
        if advice is not None:
            return advice
    return _bug(failure)


def _speaks_for_itself(failure: Failure) -> Advice | None:
    return Advice("") if isinstance(failure.error, (GateError, Damaged, NotDeterministic)) else None


def _wrong_sums(failure: Failure) -> Advice | None:
    return (
        _bug(failure, traceback=False) if isinstance(failure.error, LedgerDoesNotBalance) else None
    )


def _disk_full(failure: Failure) -> Advice | None:
    error = failure.has_errno(errno.ENOSPC, errno.EDQUOT)
    if error is None and not failure.says(r"no space left on device|disk quota exceeded"):
        return None
    place = _folder(error.filename if error is not None and error.filename else failure.store)
    store = f" --store {failure.store}" if failure.store else ""
    return Advice(
        f"{_fullness(place)}: make room (puna artifacts gc{store} lists what can go). {AGAIN}"
    )


def _fullness(place: Path | None) -> str:
    """What a file system lacks: bytes, or inodes, which many small files use up."""
    if place is None:
        return "the disk is full"
    found = os.statvfs(place)
    few = found.f_favail < _FEW_INODES and found.f_bavail * found.f_frsize > _MUCH_ROOM
    if found.f_files and (few or not found.f_favail):  # unfinished files may have gone since
        return (
            f"the disk under {place} can hold no more files (no inodes are left of its "
            f"{found.f_files:,})"
        )
    return f"the disk is full ({found.f_bavail * found.f_frsize / 1e9:.1f} GB free in {place})"


def _not_permitted(failure: Failure) -> Advice | None:
    error = failure.has_errno(errno.EACCES, errno.EPERM, errno.EROFS)
    read_only = failure.says("read-only file system")  # of a process, or a library's own error
    if error is None and not read_only:
        return None
    what = (_shown(error.filename) if error is not None else "") or failure.store
    if error is None or error.errno == errno.EROFS:
        return Advice(
            f"{what} lies on a file system that is mounted read-only: mount it for writing, or "
            f"name a store elsewhere with --store. {AGAIN}"
        )
    return Advice(
        f"this user may not use {what} ({error.strerror}): change its permissions or owner. {AGAIN}"
    )


def _pattern(failure: Failure) -> Advice | None:
    """The regular expressions of `tokenizers` gave up."""
    if not failure.says(r"\bonig: "):
        return None
    return Advice(
        "a pattern in the base's tokenizer.json (pre_tokenizer or normalizer) takes too long on a "
        f"text, or fails: name another base, or write the pattern anew. {AGAIN}"
    )


def _too_many_files(failure: Failure) -> Advice | None:
    if failure.has_errno(errno.EMFILE, errno.ENFILE) is None and not failure.says(
        "too many open files"
    ):
        return None
    return Advice(
        "too many files are open: raise the limit (ulimit -n 65536), or lower engine.workers. "
        f"{AGAIN}"
    )


def _bad_disk(failure: Failure) -> Advice | None:
    error = failure.has_errno(errno.EIO, errno.ESTALE)
    if error is None:
        return None
    what = _shown(error.filename) or failure.store
    store = f" --store {failure.store}" if failure.store else ""
    return Advice(
        f"the disk under {what} fails ({error.strerror}): check it, then run puna artifacts "
        f"verify{store}. {AGAIN}"
    )


def _out_of_memory(failure: Failure) -> Advice | None:
    killed = any(
        isinstance(error, LaunchError) and error.returncode == -9 for error in failure.chain()
    )
    short = any(isinstance(error, MemoryError) for error in failure.chain()) or failure.says(
        r"out of memory|can't allocate memory|cannot allocate memory|bad_alloc|MemoryError"
        r"|failed to map segment"  # of a library that is loaded late
        r"|failed to launch worker thread|can't start new thread"  # a stack is memory too
        r"|resource temporarily unavailable"
    )
    if not killed and not short:
        return None
    stage = failure.step.partition("/")[0]
    lower = {"training": "training.micro_batch", "evaluation": "evaluation.batch_size"}.get(
        stage, "engine.workers"
    )
    how = (
        "was killed from outside, most likely because memory ran out"
        if killed
        else "ran out of memory"
    )
    return Advice(f"{failure.step or 'puna'} {how}: lower {lower}, or free memory. {AGAIN}")


def _gone_server(failure: Failure) -> Advice | None:
    """Prefect's client, which stages talk through, lost its server."""
    transport = ("httpx.", "httpcore.", "prefect.exceptions.")
    lost = any(f"{type(error).__module__}.".startswith(transport) for error in failure.chain())
    if isinstance(failure.error, StageError) or not (lost or failure.says("failed to reach API")):
        return None
    from flows.monitoring.server import log_file

    return Advice(
        "the Prefect server stopped answering (puna dashboard status; the output of one that puna "
        f"started is in {log_file()}). {AGAIN}: a server of puna's own is started again"
    )


def _worker_died(failure: Failure) -> Advice | None:
    return Advice(_goes_on(failure)) if isinstance(failure.error, ShardFailed) else None


def _process_failed(failure: Failure) -> Advice | None:
    """A training or evaluation process ended by itself. A traceback in its output means a bug."""
    ended = next((error for error in failure.chain() if isinstance(error, LaunchError)), None)
    if ended is None:
        return None
    if "Traceback (most recent call last)" in ended.tail or ended.returncode < 0:
        return _bug(failure, traceback=False)
    return Advice(_goes_on(failure))


def _stage_error(failure: Failure) -> Advice | None:
    return Advice(_goes_on(failure)) if isinstance(failure.error, StageError) else None


_KINDS: tuple[Callable[[Failure], Advice | None], ...] = (
    _speaks_for_itself,
    _wrong_sums,
    _disk_full,
    _not_permitted,
    _too_many_files,
    _bad_disk,
    _out_of_memory,
    _gone_server,
    _pattern,
    _worker_died,
    _process_failed,
    _stage_error,
)


def in_words(error: BaseException) -> str:
    """An error as one sentence: without errno for errors of the operating system, its type if it
    has no text.
    """
    if isinstance(error, OSError) and error.strerror:
        place = _shown(error.filename)
        return f"{place}: {error.strerror}" if place else error.strerror
    text = str(error)
    if isinstance(error, StageError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def traceback_of(error: BaseException) -> str:
    """An error's traceback; the worker's if the error came from a worker process."""
    remote = error.__cause__
    if type(remote).__name__ == "RemoteTraceback":
        return str(remote)
    return "".join(traceback.format_exception(error)).rstrip()


def _goes_on(failure: Failure) -> str:
    return (
        f"finished stages are kept: once this is fixed, a run continues at {failure.step}"
        if failure.step
        else ""
    )


def _bug(failure: Failure, *, traceback: bool = True) -> Advice:
    record = f" The run's record has it too: {failure.record}." if failure.record else ""
    return Advice(
        "this is a bug in puna or in a library, and running again will not help. Please report it "
        "where you got puna from, with the output above, the recipe and what `puna doctor` "
        f"prints.{record}",
        traceback,
    )


def _shown(place: str | bytes | int | None) -> str:
    """A path from an error as the user knows it: the folder, for a file that was being written."""
    if not isinstance(place, str | bytes) or not place:
        return ""
    path = Path(os.fsdecode(place))
    unfinished = path.name.startswith(".") and path.name.endswith(TEMPORARY_SUFFIX)
    return str(path.parent if unfinished else path)


def _folder(place: str | bytes | int | None) -> Path | None:
    """The nearest existing folder of a local path."""
    if not isinstance(place, str) or "://" in place or not place:
        return None
    path = Path(place)
    return next((folder for folder in (path, *path.parents) if folder.is_dir()), None)
