"""Trains fastText in a process of its own: `python -m tasks.classifier.fasttext_process SPEC.json`.

fastText 0.9.3 on one thread fills only a tenth of its input matrix (`DenseMatrix::uniform` divides
it into ten blocks, one for each thread) and relies on the rest being zero, which its memory no
longer is since the matrix is an `AlignedVector`. Where memory is used again, training ends in
"Encountered NaN", or differs from one time to the next. More threads would fill the matrix, and are
not repeatable at all.

So a new process trains, in which no large block of memory was ever freed, and the matrix is large
enough (`LEAST_BYTES`) that the allocator maps fresh pages for it: these are zero.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

from infra.engine.launch import LaunchError, exit_with_parent, launch_module
from infra.stage import StageError

LEAST_BYTES = 8 << 20
_MMAP_THRESHOLD, _THRESHOLD_BYTES = -3, 1 << 20
"""`M_MMAP_THRESHOLD` of glibc's mallopt: blocks from here on are mapped by themselves, always."""


def train(corpus: Path, model: Path, settings: dict[str, Any], scratch: Path, name: str) -> None:
    """Train on a file of fastText's format, and write the model. `settings`: of
    `fasttext.train_supervised`; `bucket` is raised where the matrix would be too small.

    Raises:
        StageError: fastText cannot be trained with these settings.
        OSError: the model could not be written whole.
    """
    least = -(-LEAST_BYTES // (4 * settings["dim"]))
    spec = scratch / "fasttext.json"
    given = {**settings, "bucket": max(settings["bucket"], least)}
    spec.write_text(json.dumps({"corpus": str(corpus), "model": str(model), "settings": given}))
    problems: list[dict[str, Any]] = []
    try:
        launch_module(
            "tasks.classifier.fasttext_process",
            spec,
            problems.append,
            cpu_threads=1,
        )
    except LaunchError as error:
        ended = error.how_it_ended("lower fasttext.dim or fasttext.buckets")
        raise StageError(f"classifier/{name}: fastText {ended}\n{error.tail}".rstrip()) from None
    for problem in problems:
        if number := problem.get("errno"):  # the disk is full
            raise OSError(number, os.strerror(number), problem.get("file"))
        if what := problem.get("error"):
            raise StageError(
                f"classifier/{name}: fastText could not be trained ({what}); lower fasttext.lr (it "
                f"is {settings['lr']:g}), or fasttext.min_count (it is {settings['minCount']})"
            )


def main(spec: Path) -> None:
    """The process: reads its spec, trains, and prints what went wrong."""
    exit_with_parent()
    with contextlib.suppress(AttributeError, OSError):  # other systems' allocators have no mallopt
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _THRESHOLD_BYTES)
    import fasttext

    from tasks.scorers.fasttext_scorer import require_whole

    given = json.loads(spec.read_text())
    try:
        made = fasttext.train_supervised(given["corpus"], thread=1, verbose=0, **given["settings"])
        made.save_model(given["model"])
        require_whole(Path(given["model"]), made)
    except OSError as error:
        sys.stdout.write(json.dumps({"errno": error.errno, "file": error.filename}) + "\n")
    except (RuntimeError, ValueError) as error:
        sys.stdout.write(json.dumps({"error": str(error).rstrip(".")}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
