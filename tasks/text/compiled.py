"""How loops are compiled: ahead of the first call, for stated types, without the GIL, once per machine.

Compiling takes one to several seconds, which every worker process of every run would pay; so the machine code is kept
in the user's cache folder (`$XDG_CACHE_HOME/puna`, usually ~/.cache/puna; some hundred kB a version of Puna, safe to
delete). The folder is named by a digest of all stages' sources, whose constants a loop may have frozen in, and of
numba's version; numba itself tells CPUs apart and replaces files in one step, so that processes may race. Where the
folder cannot be used (a read-only home, a damaged file), the loop is compiled as if there were none.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

_SOURCES = Path(__file__).resolve().parents[1]
_lock = threading.Lock()


def compiled(signature: Any) -> Callable[[Function], Function]:
    """Decorate a function that numba compiles, or loads, now for one signature of numba types."""

    def decorate(function: Function) -> Function:
        folder = cache_folder()
        if folder is not None:
            try:
                return _compile(function, signature, folder)
            except Exception:  # whatever ails the cache must not stop a run; a fault of the function comes again below
                pass
        return numba.njit(signature, nogil=True)(function)  # type: ignore[no-any-return]

    return decorate


def _compile(function: Function, signature: Any, folder: Path) -> Function:
    """Compile with `folder` as numba's cache; other users of numba in this process keep theirs."""
    with _lock:
        theirs = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(folder)
        try:
            return numba.njit(signature, nogil=True, cache=True)(function)  # type: ignore[no-any-return]
        finally:
            numba.config.CACHE_DIR = theirs


@functools.cache
def cache_folder() -> Path | None:
    """Where compiled loops of these sources are kept; None where that place cannot be written to."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = base / "puna" / "compiled" / _sources_digest()
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):  # RuntimeError: no home
        return None
    return folder


def _sources_digest() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(_SOURCES.rglob("*.py")):
        digest.update(path.relative_to(_SOURCES).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
