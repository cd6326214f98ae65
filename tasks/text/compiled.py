"""Ahead-of-time compilation of loops with numba: for declared types, without the GIL, cached.

Compiling takes one to several seconds, which every worker process of every run would pay. So the
machine code is kept in the user's cache folder (`$XDG_CACHE_HOME/puna`, usually ~/.cache/puna; a
few hundred kB, safe to delete). Each function has its own folder there, named after a digest of
everything its code depends on (`_digest`), so that stale code is never loaded. Numba distinguishes
CPUs and replaces files atomically, so that processes may race. Where the folder cannot be used (a
read-only home, a damaged file), the loop is compiled without a cache.
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
    """Decorator: compile the function with numba at once, or load it from the cache, for one type
    signature.
    """

    def decorate(function: Function) -> Function:
        folder = _folder(function)
        if folder is not None:
            try:
                return _compile(function, signature, folder)
            except Exception:
                # A cache failure must not stop a run; an error in the function is raised below.
                pass
        return numba.njit(signature, nogil=True)(function)  # type: ignore[no-any-return]

    return decorate


def _compile(function: Function, signature: Any, folder: Path) -> Function:
    """Compile with `folder` as numba's cache.

    Numba's setting is global: the lock and the `finally` leave it as other users of numba in this
    process set it.
    """
    with _lock:
        previous = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(folder)
        try:
            return numba.njit(signature, nogil=True, cache=True)(function)  # type: ignore[no-any-return]
        finally:
            numba.config.CACHE_DIR = previous


def _folder(function: Callable[..., Any]) -> Path | None:
    """The folder of this function's machine code; None where it cannot be written."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = base / "puna" / "compiled" / f"{function.__name__}-{_digest(function).hex()[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):  # RuntimeError: no home
        return None
    return folder


def _digest(function: Callable[..., Any]) -> bytes:
    """Digest of everything the machine code depends on.

    Numba's version, the function's file, the global constants that are frozen into its code, and
    the same for every compiled function it calls.
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
