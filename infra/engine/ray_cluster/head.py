"""A cluster on this machine that never outlives its parent, which holds this process's stdin open.

    python -P .../puna_packages.py infra.engine.ray_cluster.head FOLDER CPUS

Ray's processes leave their session and parent, and some outlive the process that started them when
that is killed. They are found by a variable of their environment instead (`infra.engine.group`).
Prints the cluster's address as JSON. `FOLDER` holds sockets and logs, and is removed at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from infra.engine.forking import MARK

OBJECT_STORE_BYTES = 80 * 2**20
"""Ray's least. Items and results are small."""


def start(folder: Path, cpus: int) -> str:
    """Start the cluster; returns its address. Raises `RuntimeError` with what Ray says."""
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-c",
            "from ray.scripts.scripts import main; main()",
            "start",
            "--head",
            "--port=0",
            f"--temp-dir={folder}",
            f"--num-cpus={cpus}",
            "--num-gpus=0",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            "--include-dashboard=false",
            "--disable-usage-stats",
            "--no-monitor",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError((done.stderr or done.stdout).strip()[-2_000:])
    return (folder / "ray_current_cluster").read_text().strip()


def end(folder: Path) -> None:
    """Kill the cluster's processes, and remove its folder."""
    mark, ours = os.environ[MARK], os.getpid()
    while found := _marked(mark, ours):
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(list(found), timeout=1)
    shutil.rmtree(folder, ignore_errors=True)


def _marked(mark: str, ours: int) -> set[psutil.Process]:
    """The cluster's processes. Some write their name over their environment: children count too."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if (
                process.pid != ours
                and process.environ().get(MARK) == mark
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found |= {process, *process.children(recursive=True)}
    return found


def main() -> None:
    """See the module docstring."""
    folder, cpus = Path(sys.argv[1]), int(sys.argv[2])

    def watch() -> None:
        while os.read(0, 4096):
            pass
        end(folder)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    try:
        said = {"address": start(folder, cpus)}
    except (RuntimeError, OSError) as error:
        said = {"error": str(error)}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
