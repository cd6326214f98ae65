"""How loops are compiled: ahead of the first call, for stated types, without the GIL, once per
machine.

Compiling takes one to several seconds, which every worker process of every run would pay; so the
machine code is kept in the user's cache folder (`$XDG_CACHE_HOME/puna`, usually ~/.cache/puna; some
hundred kB, safe to delete). A function has a folder of its own there, named by a digest of all that
goes into its code (`_digest`): a stale one is never read. Numba itself tells CPUs apart and
replaces files in one step, so that processes may race. Where the folder cannot be used (a read-only
home, a damaged file), the loop is compiled as if there were none.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

_lock = threading.Lock()


def compiled(signature: Any) -> Callable[[Function], Function]:
    """Decorate a function that numba compiles, or loads, now for one signature of numba types."""

    def decorate(function: Function) -> Function:
        folder = _folder(function)
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


def _folder(function: Callable[..., Any]) -> Path | None:
    """Where this function's machine code is kept; None where that place cannot be written to."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = base / "puna" / "compiled" / f"{function.__name__}-{_digest(function).hex()[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):  # RuntimeError: no home
        return None
    return folder


def _digest(function: Callable[..., Any]) -> bytes:
    """Of numba's version, the function's file, the constants frozen into it, and the same of
    compiled functions it calls.
    """
    code = function.__code__
    digest = hashlib.sha256(
        f"{numba.__version__} {code.co_name}".encode() + Path(code.co_filename).read_bytes()
    )
    for name in code.co_names:
        value = getattr(function, "__globals__", {}).get(name)
        if isinstance(value, (int, float, np.generic, tuple)):
            digest.update(f"{name} = {value!r}".encode())
        elif isinstance(value, np.ndarray):
            digest.update(f"{name} = {value.dtype}{value.shape}".encode() + value.tobytes())
        elif (callee := getattr(value, "py_func", None)) is not None:
            digest.update(_digest(callee))
    return digest.digest()
