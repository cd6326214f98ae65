"""How loops are compiled: ahead of the first call for stated types, without the GIL, with nothing cached on disk.

A numba cache is keyed by source file and CPU, must be cleaned, and is raced for by workers; the loops here compile in
about a second a process, which a stage pays once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(signature: Any) -> Callable[[Function], Function]:
    """Decorate a function that numba compiles now for one signature of numba types."""
    decorator: Callable[[Function], Function] = njit(signature, nogil=True)
    return decorator
