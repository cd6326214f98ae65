"""Imported once by the process that workers are forked from: workers start with the libraries that
every stage needs.

`ONE_THREAD` is set before the imports, when native libraries read it. Nothing here may start a
thread: a fork of a process with threads can deadlock. (jemalloc, which pyarrow brings, has a thread
and handles forks.)

That is why an alarm, and not a thread, checks every second whether the parent is gone.
multiprocessing's server would notice only after the loops that it compiles next, which take half a
minute. Workers do not inherit the alarm.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
from types import FrameType

from infra.engine.libraries import import_all
from infra.engine.one_thread import ONE_THREAD

_PARENT = os.getppid()


def _end_with_parent(signum: int, frame: FrameType | None) -> None:
    if os.getppid() != _PARENT:
        os._exit(1)


signal.signal(signal.SIGALRM, _end_with_parent)
signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
os.environ.update(ONE_THREAD)
# without a handler, warnings of libraries go to the terminal
logging.getLogger().addHandler(logging.NullHandler())
# imports leave no garbage; workers turn the collector on again (`infra.engine.processes`)
gc.disable()
import_all()
gc.freeze()
