"""Machines of a Slurm allocation on this one, and a phase that trains on them.

python nodes.py srun NODES COMMAND ...   starts COMMAND once a machine, as srun does
python nodes.py train FOLDER STEPS NODES [STORE]
                                         runs stage training on that many machines of one rank each,
                                         in FOLDER/store or another store
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
JOB = {"PUNA_HEAD_NODE": "127.0.0.1", "PUNA_RANKS_PER_NODE": "1", "PUNA_PYTHON": sys.executable}


def srun(nodes: int, command: list[str]) -> int:
    """Returns the first status that is not 0; ends the others then (`--kill-on-bad-exit`)."""
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_NNODES": str(nodes), "SLURM_STEP_ID": "0"}
    machines = [
        subprocess.Popen(command, env=os.environ | JOB | job | {"SLURM_NODEID": str(node)})
        for node in range(nodes)
    ]
    while True:
        statuses = [machine.poll() for machine in machines]
        if bad := [status for status in statuses if status]:
            for machine in machines:
                machine.terminate()
            for machine in machines:
                machine.wait()
            return abs(bad[0])
        if all(status == 0 for status in statuses):
            return 0
        time.sleep(0.05)


def train(folder: Path, steps: int, nodes: int, store: str = "") -> None:
    """Prints the phase's statistics of time."""
    from tasks.training.stage import STAGE
    from tests.stage_harness import run_stage
    from tests.tasks.training.test_stage import artifact
    from tests.tasks.training.toys import parameters, save_bins, save_model

    if not (folder / "bins").exists():
        save_model(folder / "model/checkpoint")
        save_bins(folder / "bins", {"a": [30], "b": [20]})
    bins = tuple(
        artifact("binning", folder, folder / "bins" / name, name, store) for name in ("a", "b")
    )
    model = artifact("model", folder, folder / "model", "main", store)
    launcher = [sys.executable, __file__, "srun", str(nodes), "sh", "infra/slurm/node.sh"]
    values = parameters(
        tokens=f"{steps * 4} rows",
        max_epochs=10**6,
        checkpoint_every="20 steps",
        devices={"kind": "cpu", "ranks": nodes, "restarts": 5, "launcher": launcher},
    )
    inputs = {"previous": model, "bins": bins}
    done = run_stage(STAGE, values, inputs, "phase", tmp_path=folder, store=store)
    sys.stdout.write(json.dumps(done.statistics["time"]) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "srun":
        sys.exit(srun(int(sys.argv[2]), sys.argv[3:]))
    train(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])
