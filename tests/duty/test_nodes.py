"""A phase on two machines under Slurm's launcher, which meet over torchrun's rendezvous: goes on
with one, then with two again, and after a machine is lost. The machines are process groups here.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
NODES = Path(__file__).with_name("nodes.py")
STEPS = 600

pytestmark = [pytest.mark.duty, pytest.mark.timeout(900)]


def start(folder: Path, nodes: int) -> subprocess.Popen[str]:
    words = [sys.executable, str(NODES), "train", str(folder), str(STEPS), str(nodes)]
    return subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def steps(folder: Path) -> list[dict[str, float]]:
    """Of each step, the last line that was written of it."""
    found: dict[int, dict[str, float]] = {}
    for log in folder.glob("store/training/**/metrics.jsonl"):
        for line in log.read_text().splitlines():
            if line.endswith("}"):
                row = json.loads(line)
                found[row["step"]] = row
    return [found[step] for step in sorted(found)]


def wait_for_step(process: subprocess.Popen[str], folder: Path, step: int) -> None:
    while process.poll() is None and len(steps(folder)) < step:
        time.sleep(0.1)
    assert process.poll() is None, process.communicate()


def weights(folder: Path) -> dict[str, np.ndarray]:
    (file,) = folder.glob("store/training/phase/*/*/data/checkpoint/model.safetensors")
    return load_file(file)


def test_two_machines_one_and_two_again(tmp_path: Path) -> None:
    folder, whole = tmp_path / "parts", tmp_path / "whole"
    folder.mkdir()
    whole.mkdir()
    undisturbed = start(whole, 1)
    said, errors = undisturbed.communicate()
    assert undisturbed.returncode == 0, errors
    for nodes, until in ((2, STEPS // 4), (1, STEPS // 2)):
        process = start(folder, nodes)
        wait_for_step(process, folder, until)
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=120)
        assert process.returncode != 0, said
    process = start(folder, 2)
    wait_for_step(process, folder, 3 * STEPS // 4)
    lost = next(
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "torch.distributed.run" in " ".join(child.cmdline())
    )
    for one in [*lost.children(recursive=True), lost]:  # a machine that loses its power
        one.kill()
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    ours, expected = steps(folder), steps(whole)
    assert [row["drawn"] for row in ours] == [row["drawn"] for row in expected]
    assert max(abs(a["loss"] - b["loss"]) for a, b in zip(ours, expected, strict=True)) < 1e-4
    given, wanted = weights(folder), weights(whole)
    assert max(float(np.abs(given[name] - wanted[name]).max()) for name in wanted) < 1e-4
    assert json.loads(said)["effective"] > 0
