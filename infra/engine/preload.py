"""Imported once by the process that workers are forked from, so that a worker starts with what every stage needs.

Native libraries look at `ONE_THREAD` when they are imported. Nothing here may start a thread: a fork of a process with
threads can deadlock. (jemalloc, which pyarrow brings, has one of its own and handles forks.)
"""

from __future__ import annotations

import gc
import os

from infra.engine.libraries import import_all
from infra.engine.processes import ONE_THREAD

os.environ.update(ONE_THREAD)
gc.disable()  # imports make nothing but what stays; a worker collects again (`infra.engine.processes`)
import_all()
gc.freeze()
