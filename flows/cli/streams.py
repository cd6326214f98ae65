"""Standard streams that cannot fail a command: printing is never why work is lost.

Whoever reads what a run prints may go before it ends: `| head -1`, a closed terminal, a log on a
full disk. Python raises an error for the next line then, wherever in the program that is. A command
may also be started with a stream closed (`2>&-`): the next file that it opens would become that
stream, and get its lines.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import Any

_STREAMS = ("stdin", "stdout", "stderr")
_READER_GONE = (errno.EPIPE, errno.EIO)
"""A closed pipe, a terminal that is gone: nobody misses what is not written."""


class Outlet(io.FileIO):
    """A descriptor that takes whatever is written. What it cannot write is dropped from the first
    error on; `failed` is that error if somebody may miss it, as on a full disk.
    """

    failed: OSError | None = None
    _closed_by_reader = False

    def write(self, data: Any, /) -> int:
        """See `io.RawIOBase`; raises nothing."""
        if self.failed is None and not self._closed_by_reader:
            try:
                return super().write(data)
            except OSError as error:
                self._closed_by_reader = error.errno in _READER_GONE
                self.failed = None if self._closed_by_reader else error
        return memoryview(data).nbytes


def protect() -> None:
    """Open the standard streams that are closed, on /dev/null, and make stdout and stderr ones
    that raise no error. To be called before anything else opens a file.
    """
    for number, name in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            # the lowest free number, which is this one: those below are open
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
            mode = "r" if number == 0 else "w"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    sys.stdout, sys.stderr = _lenient(sys.stdout, 1), _lenient(sys.stderr, 2)


def lost() -> str:
    """Why a part of the results on stdout was not written; "" if all was, or nobody reads it."""
    with contextlib.suppress(ValueError):  # closed by a library
        sys.stdout.flush()
    outlet = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failed = outlet.failed if isinstance(outlet, Outlet) else None
    return (failed.strerror or str(failed)) if failed else ""


def _lenient(stream: Any, number: int) -> io.TextIOWrapper:
    """The same stream over an `Outlet`."""
    return io.TextIOWrapper(
        io.BufferedWriter(Outlet(number, "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,
    )
