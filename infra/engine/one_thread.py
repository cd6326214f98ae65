"""Environment of workers: `engine.workers` counts processes, so each runs one thread."""

from __future__ import annotations

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
ONE_THREAD["TOKENIZERS_PARALLELISM"] = "false"
