"""`python -m tasks.evaluation SPEC.json` evaluates one model.

Each line of stdout is a JSON object: `{"progress": [tasks done, tasks in all]}`, or
`{"error": reason}` before exit status 1. Exit status: 0 finished; 1 failed (if stdout gave no
reason, stderr ends with a traceback); 75 stdin was closed, finished tasks are kept.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import sys
from pathlib import Path

from infra.engine.launch import exit_with_parent
from infra.secrets import without_secrets

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM)
"""What a disk refuses; the parent advises what to do."""


def main(arguments: list[str]) -> int:
    """Evaluate the spec and report progress; returns the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m tasks.evaluation SPEC.json\n")
        return 2
    exit_with_parent()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_MININTERVAL", "60")  # the harness's progress bars flood a log
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    # Imported only now because it takes seconds, during which the parent is already watched.
    import torch

    from infra.stage import StageError
    from tasks.evaluation.evaluate import evaluate
    from tasks.evaluation.measured import Spec

    spec = Spec.read(Path(arguments[0]))
    torch.set_num_threads(spec.cpu_threads)
    stdout = sys.stdout

    def report_progress(done: float, total: float) -> None:
        stdout.write(json.dumps({"progress": [done, total]}) + "\n")
        stdout.flush()

    def fail(reason: str) -> int:
        stdout.write(json.dumps({"error": reason}) + "\n")
        stdout.flush()
        return 1

    try:
        # The harness prints to stdout, which carries our messages.
        with contextlib.redirect_stdout(sys.stderr):
            evaluate(spec, report_progress)
    except StageError as error:
        return fail(str(error))
    except OSError as error:
        if error.errno not in DISK:
            raise
        return fail(f"{error.filename or spec.output}: {error.strerror}; finished tasks are kept")
    return 0


if __name__ == "__main__":
    with without_secrets():
        sys.exit(main(sys.argv[1:]))
