"""`python -m tasks.evaluation SPEC.json` evaluates one model.

Each line of stdout is a JSON object: `{"progress": [pieces done, all]}` or, before status 1,
`{"error": reason}`. Exit status: 0 done, 1 failed (without a reason on stdout, stderr ends with a
traceback), 75 when stdin closed (what was done is kept).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from pathlib import Path

from infra.engine.launch import exit_with_parent


def main(arguments: list[str]) -> int:
    """Read the spec, evaluate, report progress."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m tasks.evaluation SPEC.json\n")
        return 2
    exit_with_parent()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_MININTERVAL", "60")  # the harness's bars are noise in a log
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    # Imported after the watch began: this takes seconds.
    import torch

    from infra.stage import StageError
    from tasks.evaluation.evaluate import Spec, evaluate

    spec = Spec.read(Path(arguments[0]))
    torch.set_num_threads(spec.cpu_threads)
    stdout = sys.stdout

    def tell(done: float, total: float) -> None:
        stdout.write(json.dumps({"progress": [done, total]}) + "\n")
        stdout.flush()

    try:
        # The harness prints; stdout is for the lines above.
        with contextlib.redirect_stdout(sys.stderr):
            evaluate(spec, tell)
    except StageError as error:
        stdout.write(json.dumps({"error": str(error)}) + "\n")
        stdout.flush()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
