"""Libraries that every stage needs and that take a second to import. The workers' server imports
them once, and the parent at the same time.
"""

from __future__ import annotations

import contextlib
import importlib

from infra.store.identity import BYTE_WRITING_LIBRARIES

# pandas: pyarrow imports it, where it is installed, for its first array.
MODULES = ("infra.context", "numpy", "pyarrow.compute", "pyarrow.parquet", "pandas", "numba")

DECIDING = (
    *BYTE_WRITING_LIBRARIES,
    "datasets",
    "fasttext",
    "fastwarc",
    "gigatoken",
    "kenlm",
    "numba",
    "phonenumbers",
)
"""Libraries that decide bytes: a node of a cluster that has others is refused."""


def import_all() -> None:
    """Import `MODULES`, and have numba do now the 0.3 s of work it does before its first loop."""
    for module in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    with contextlib.suppress(ImportError):
        from numba.core.registry import cpu_target

        cpu_target.target_context.refresh()
        cpu_target.typing_context.refresh()
