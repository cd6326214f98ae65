"""The process of `places.S3`: `python -m tests.faults.runs.s3 FOLDER PORT PLAN`."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from pathlib import Path

from tests.faults.runs.places import S3
from tests.loopback.s3 import bucket_server
from tests.loopback.s3_proxy import Answer, before


def main(folder: Path, port: int, file: Path) -> None:
    """Serve until killed."""
    rng = random.Random(port)

    def choose(method: str, path: str) -> Answer | None:
        try:
            plan = json.loads(file.read_text())
        except (OSError, ValueError):
            return None
        if time.monotonic() > plan["until"] or rng.random() >= plan["share"]:
            return None
        return Answer(**rng.choice(plan["kinds"]))

    with bucket_server(folder) as upstream:
        upstream.make_bucket(S3.BUCKET)
        with before(upstream.endpoint, port) as proxy:
            proxy.choose = choose
            threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
