"""Imported once by the process that workers are forked from, so that a worker starts with what every stage needs.

Native libraries look at `ONE_THREAD` when they are imported. Nothing here may start a thread: a fork of a process with
threads can deadlock.
"""

from __future__ import annotations

import contextlib
import importlib
import os

from infra.engine.processes import ONE_THREAD

os.environ.update(ONE_THREAD)
for module in ("infra.context", "numpy", "pyarrow.compute", "pyarrow.parquet", "numba"):
    with contextlib.suppress(ImportError):
        importlib.import_module(module)
