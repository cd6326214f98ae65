"""Imported once by the process that workers are forked from, so that a worker starts with what
every stage needs.

Native libraries look at `ONE_THREAD` when they are imported. Nothing here may start a thread: a
fork of a process with threads can deadlock. (jemalloc, which pyarrow brings, has one of its own and
handles forks.) So an alarm looks each second whether the parent is gone: loops that are compiled
after this take half a minute, in which multiprocessing's server would not notice. Workers inherit
no alarm.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
from types import FrameType

from infra.engine.libraries import import_all
from infra.engine.processes import ONE_THREAD

_PARENT = os.getppid()


def _end_with_parent(signum: int, frame: FrameType | None) -> None:
    if os.getppid() != _PARENT:
        os._exit(1)


signal.signal(signal.SIGALRM, _end_with_parent)
signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
os.environ.update(ONE_THREAD)
logging.getLogger().addHandler(
    logging.NullHandler()
)  # libraries' warnings go to the terminal otherwise
# imports make nothing but what stays; a worker collects again (`infra.engine.processes`)
gc.disable()
import_all()
gc.freeze()
