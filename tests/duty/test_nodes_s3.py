"""A phase over a store on S3 goes on from the store alone: on another machine (another cache) after
the first was killed, with fewer ranks and with more.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

from infra.store import Store
from tests.duty.test_nodes import NODES, ROOT
from tests.loopback.s3 import LoopbackS3, bucket_server

STEPS = 300

pytestmark = [pytest.mark.duty, pytest.mark.timeout(900)]


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[LoopbackS3]:
    with bucket_server(tmp_path / "objects") as found:
        found.make_bucket("puna")
        yield found


def start(folder: Path, nodes: int, store: str, machine: Path) -> subprocess.Popen[str]:
    words = [sys.executable, str(NODES), "train", str(folder), str(STEPS), str(nodes), store]
    return subprocess.Popen(
        words,
        cwd=ROOT,
        env={**os.environ, "XDG_CACHE_HOME": str(machine)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def sent_steps(store: Store) -> list[int]:
    """Of the checkpoints that the store has whole."""
    names = [name for name in store.root.files("training/") if name.endswith("checksums.json")]
    return sorted(int(name.split("/step-")[1].split(".")[0]) for name in names)


def wait_for_checkpoint(process: subprocess.Popen[str], store: Store, step: int) -> int:
    """The last step that the store has, once it is at least `step`."""
    while not (found := [n for n in sent_steps(store) if n >= step]):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    return found[-1]


def kill(process: subprocess.Popen[str]) -> None:
    family = psutil.Process(process.pid)
    for one in [*family.children(recursive=True), family]:
        one.send_signal(signal.SIGKILL)
    process.wait()


def results(store: Store) -> tuple[list[list[object]], dict[str, np.ndarray]]:
    """What each step drew, and the weights at the end."""
    (made,) = (artifact for artifact in store.artifacts() if artifact.stage == "training")
    rows: dict[int, list[object]] = {}
    for line in made.records.read("metrics.jsonl").decode().splitlines():
        row = json.loads(line)
        rows[row["step"]] = [row["step"], row["drawn"]]
    return [rows[step] for step in sorted(rows)], load_file(
        made.path("checkpoint/model.safetensors")
    )


def test_the_store_alone_is_enough_to_go_on(tmp_path: Path, s3: LoopbackS3) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    folder.mkdir()
    undisturbed = start(whole, 1, str(whole / "store"), tmp_path / "machine")
    said, errors = undisturbed.communicate()
    assert undisturbed.returncode == 0, errors
    drawn, weights = results(Store.at(str(whole / "store")))

    for ranks in ((1, 1), (2, 1, 2)):
        url = f"s3://puna/{'-'.join(map(str, ranks))}"
        store, reached = Store.at(url), 0
        for number, nodes in enumerate(ranks):
            machine = tmp_path / f"machine-{len(ranks)}-{number}"
            process = start(folder, nodes, url, machine)
            if number + 1 < len(ranks):
                until = (number + 1) * STEPS // len(ranks)
                reached = wait_for_checkpoint(process, store, until)
                kill(process)
                shutil.rmtree(machine)
                continue
            said, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
            time_ = json.loads(said.splitlines()[-1])
            assert reached > 0 and time_["starts"] == len(ranks), time_
        ours, ours_weights = results(store)
        assert ours == drawn
        for name, tensor in weights.items():
            if set(ranks) == {1}:
                np.testing.assert_array_equal(ours_weights[name], tensor)
            else:  # sums of two ranks are rounded otherwise
                assert float(np.abs(ours_weights[name] - tensor).max()) < 1e-4, name
        assert not [name for name in store.root.files() if "/scratch/" in name]
