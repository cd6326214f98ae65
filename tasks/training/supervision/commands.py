"""The command that starts the ranks of a phase: one process, torchrun, or the recipe's launcher."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.engine.forking import has_gpu
from infra.engine.launch import module_command, safe_environment
from tasks.training.recipe.devices import Devices

COMMAND = "{command}"
"""Stands in a launcher's words for the command that it must start."""

RANK_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")
"""By which a process knows its rank; a launcher sets them, nobody else."""

_ASK_TORCH = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"


def rank_count(devices: Devices) -> int | None:
    """Ranks to start or to expect: as the recipe says, else the GPUs of this machine (one process
    without any); None where a launcher decides.
    """
    if devices.ranks != "auto":
        return devices.ranks
    return None if devices.launcher else max(1, visible_gpus(devices))


def visible_gpus(devices: Devices) -> int:
    """GPUs that training processes on this machine would see."""
    if devices.kind == "cpu" or not has_gpu():
        return 0
    asked = subprocess.run(
        [sys.executable, "-P", "-c", _ASK_TORCH],
        capture_output=True,
        text=True,
        env={**os.environ, **safe_environment()},
    )
    words = asked.stdout.split()
    return int(words[-1]) if words and words[-1].isdecimal() else 0


def start_command(devices: Devices, ranks: int | None, spec: Path) -> list[str]:
    """The words that start the ranks of a spec; `ranks` as `rank_count` gives it."""
    worker = module_command("tasks.training", spec)
    if devices.launcher:
        return launched(devices.launcher, worker)
    return worker if ranks == 1 else [*torchrun(ranks or 1), *worker]


def launched(launcher: Sequence[str], command: Sequence[str]) -> list[str]:
    """A launcher's words with the command where `{command}` stands, else at their end.

    Within a longer word (`bash -c "module load cuda; {command}"`) it stands quoted for a shell.
    """
    words: list[str] = []
    for word in launcher:
        if word == COMMAND:
            words += command
        else:
            words.append(word.replace(COMMAND, shlex.join(command)))
    return words if any(COMMAND in word for word in launcher) else [*words, *command]


def torchrun(ranks: int) -> list[str]:
    """torchrun's words for the ranks of one machine, without the command.

    Its agent binds a free port of the loopback interface itself and serves the store that the ranks
    meet at, so no port is chosen beforehand that another process could take.
    """
    return [
        sys.executable,
        "-P",
        "-m",
        "torch.distributed.run",
        f"--nproc-per-node={ranks}",
        "--nnodes=1",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=127.0.0.1:0",
        "--rdzv-id=puna",
        "--local-addr=127.0.0.1",
        "--max-restarts=0",  # restarts are ours: they need the progress made in between
        "--no-python",
    ]


def start_environment(cpu_threads: int) -> dict[str, str]:
    """All variables of a rank's environment but those of the launcher.

    Threads that wait sleep rather than spin, which costs others that compute on the same cores.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in RANK_VARIABLES}
    threads = {"OMP_NUM_THREADS": str(cpu_threads), "OMP_WAIT_POLICY": "PASSIVE"}
    return {**inherited, **safe_environment(), **threads}
