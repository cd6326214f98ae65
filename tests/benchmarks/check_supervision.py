"""A stage that trains on two ranks under torchrun, killed at random moments, ends in equal bytes.

Killed is one rank, torchrun, all of them, or the process that runs the stage, which is then run
again; a third of the moments lie within a save, some before the first step. Nothing may be left
running.

    python tests/benchmarks/check_supervision.py [--kills 20] [--steps 1000] [--seed 1]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tasks.training.stage import STAGE
from tests.stage_harness import data_digests, run_stage
from tests.tasks.training.test_stage import artifact
from tests.tasks.training.toys import parameters, save_bins, save_model

ENDS_S = 180.0


def run(root: Path, steps: int) -> None:
    """Run the stage in a store below `root`; prints the digests of its data."""
    if not (root / "bins").exists():
        save_model(root / "model/checkpoint")
        save_bins(root / "bins", {"a": [30], "b": [20]})
    bins = tuple(artifact("binning", root, root / "bins" / name, name) for name in ("a", "b"))
    model = artifact("model", root, root / "model", "main")
    values = parameters(
        tokens=f"{steps * 4} rows",
        max_epochs=10**6,
        checkpoint_every="5 steps",
        devices={"kind": "cpu", "ranks": 2, "restarts": 1000},
    )
    done = run_stage(STAGE, values, {"previous": model, "bins": bins}, "phase", tmp_path=root)
    result = {"digests": data_digests(done), "time": done.statistics["time"]}
    sys.stdout.write(json.dumps(result) + "\n")


def start(root: Path, steps: int) -> subprocess.Popen[str]:
    words = [sys.executable, __file__, "--run", str(root), "--steps", str(steps)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def family(process: subprocess.Popen[str]) -> dict[str, list[psutil.Process]]:
    """The processes of a run that are there now, by what they are."""
    found: dict[str, list[psutil.Process]] = {"stage": [psutil.Process(process.pid)]}
    for child in found["stage"][0].children(recursive=True):
        try:
            words = " ".join(child.cmdline())
        except psutil.Error:  # it has ended meanwhile
            continue
        kind = "torchrun" if "torch.distributed.run" in words else "rank"
        found.setdefault(kind, []).append(child)
    return found


def kill(process: subprocess.Popen[str], root: Path, draw: random.Random, pause_s: float) -> str:
    """Kill something at a moment drawn, within `pause_s` seconds of training; returns what, ""
    where the run ended before.
    """
    what = draw.choice(["rank", "rank", "torchrun", "stage", "all"])
    steps, moment = written(root), draw.random()

    def wait(seconds: float, until: Callable[[], bool]) -> bool:
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up and process.poll() is None:
            if until():
                return True
            time.sleep(0.005)
        return False

    if moment > 0.15:
        wait(ENDS_S, lambda: written(root) > steps)
    if moment > 2 / 3:
        if wait(ENDS_S, lambda: any(root.glob("store/training/**/checkpoints/.step-*"))):
            what += " in a save"
    else:
        wait(draw.random() * pause_s, lambda: False)
    if process.poll() is not None:
        return ""
    found = family(process)
    if what.startswith("all"):
        victims = [each for kind in found.values() for each in kind]
    else:
        victims = found.get(what.split()[0], [])[:2]
        victims = [draw.choice(victims)] if victims else []
    for victim in victims:
        try:
            victim.kill()
        except psutil.Error:
            continue
    if not victims:
        return ""
    if found["stage"][0] in victims:
        process.wait()
        others = [each for kind in found.values() for each in kind if each.pid != process.pid]
        _, alive = psutil.wait_procs(others, timeout=ENDS_S)
        left = [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        assert not left, f"left behind: {left}"
    return what


def written(root: Path) -> int:
    """Bytes of the logs of steps."""
    return sum(log.stat().st_size for log in root.glob("store/training/**/metrics.jsonl"))


def main() -> None:
    reader = argparse.ArgumentParser()
    reader.add_argument("--kills", type=int, default=20)
    reader.add_argument("--steps", type=int, default=1000)
    reader.add_argument("--seed", type=int, default=1)
    reader.add_argument("--run", type=Path)
    given = reader.parse_args()
    if given.run:
        run(given.run, given.steps)
        return
    draw, kills = random.Random(given.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder) / "whole", Path(folder) / "parts"
        said, errors = start(whole, given.steps).communicate()
        expected = json.loads(said or errors)
        pause_s = 1.5 * expected["time"]["steps_s"] / given.kills
        process = start(parts, given.steps)
        while True:
            if process.poll() is None and kills.total() < given.kills:
                if what := kill(process, parts, draw, pause_s):
                    kills[what] += 1
                    sys.stderr.write(f"{kills.total()}: {what}\n")
                continue
            said, errors = process.communicate()
            if process.returncode == 0:
                break
            # killed, or ended because two deaths came before any new step
            assert process.returncode == -9 or "came no further" in errors, errors
            process = start(parts, given.steps)
        result = json.loads(said)
    assert result["digests"] == expected["digests"], "other bytes"
    if kills.total() < given.kills:
        sys.exit(f"the phase ended after {kills.total()} kills: give it more --steps")
    shares = [f"{done['time']['effective']:.0%}" for done in (expected, result)]
    sys.stdout.write(
        f"{kills.total()} kills ({dict(kills)}): the same bytes; effective time {shares[0]} "
        f"undisturbed, {shares[1]} killed: {json.dumps(result['time'])}\n"
    )


if __name__ == "__main__":
    main()
