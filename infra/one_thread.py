"""Matrix products on one thread: the number of threads decides how NumPy's library rounds sums, so
what enters an artifact is computed on one in every process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Within this context, NumPy multiplies matrices on one thread."""
    import threadpoolctl

    with threadpoolctl.threadpool_limits(1, "blas"):
        yield
