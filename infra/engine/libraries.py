"""What every stage needs and takes a second to import: the workers' server does so once, the parent
beside it.
"""

from __future__ import annotations

import contextlib
import importlib

# pyarrow imports pandas, where it is installed, at the first array it makes of anything.
MODULES = ("infra.context", "numpy", "pyarrow.compute", "pyarrow.parquet", "pandas", "numba")


def import_all() -> None:
    """Import them, and have numba read what it reads before the first loop, compiled or loaded: 0.3
    s.
    """
    for module in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    with contextlib.suppress(ImportError):
        from numba.core.registry import cpu_target

        cpu_target.target_context.refresh()
        cpu_target.typing_context.refresh()
