"""Imported once by the process that workers are forked from, so that a worker starts with what every stage needs.

Native libraries look at `ONE_THREAD` when they are imported. Nothing here may start a thread: a fork of a process with
threads can deadlock. (jemalloc, which pyarrow brings, has one of its own and handles forks.)
"""

from __future__ import annotations

import contextlib
import importlib
import os

from infra.engine.processes import ONE_THREAD

os.environ.update(ONE_THREAD)
# pyarrow imports pandas, where it is installed, at the first array it makes of anything.
for module in ("infra.context", "numpy", "pyarrow.compute", "pyarrow.parquet", "pandas", "numba"):
    with contextlib.suppress(ImportError):
        importlib.import_module(module)
with contextlib.suppress(ImportError):  # what numba reads before the first loop, compiled or loaded: 0.3 s
    from numba.core.registry import cpu_target

    cpu_target.target_context.refresh()
    cpu_target.typing_context.refresh()
