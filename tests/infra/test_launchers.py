"""The launchers for Slurm and Kubernetes, with commands of these that only note what they are
asked: no cluster is at hand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

INFRA = Path(__file__).resolve().parents[2] / "infra"
RANK = [sys.executable, "-P", "boot.py", "tasks.training", 'a "spec".json']


def fake(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def launch(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "NOTES": str(folder / "notes")}
    return subprocess.run(
        ["sh", *words],
        env=environment | variables,
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("script", ["slurm/node.sh", "k8s/job.sh"])
def test_a_launcher_without_a_command_says_how_it_is_used(tmp_path: Path, script: str) -> None:
    done = launch(tmp_path, str(INFRA / script))
    assert done.returncode == 2 and "command" in done.stderr.lower()


def test_slurm_starts_torchrun_once_a_machine(tmp_path: Path) -> None:
    fake(tmp_path, "scontrol", "echo gpu-a; echo gpu-b")
    fake(tmp_path, "python", 'for word in "$@"; do echo "$word"; done')
    job = {"SLURM_JOB_ID": "77", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "gpu-[a-b]"}
    words = [str(INFRA / "slurm/node.sh"), *RANK]
    done = launch(tmp_path, *words, PUNA_PYTHON="python", SLURM_GPUS_ON_NODE="8", **job)
    said = done.stdout.splitlines()
    assert {"--nnodes=2", "--nproc-per-node=8", "--rdzv-id=77.0"} <= set(said)
    assert "--rdzv-endpoint=gpu-a:20539" in said
    assert said[-len(RANK) :] == RANK and said[:3] == ["-P", "-m", "torch.distributed.run"]


KUBECTL = """
echo "$@" >>"$NOTES"
case "$1" in
    apply) cat "$3" >"$NOTES.yaml" ;;
    logs) echo '{"done": {}}' ;;
    wait) case "$2" in *complete*) exit ${COMPLETE:-0} ;; esac ;;
esac
"""


@pytest.mark.parametrize("failing", [False, True])
def test_kubernetes_makes_a_job_follows_its_log_and_deletes_it(
    tmp_path: Path, failing: bool
) -> None:
    fake(tmp_path, "kubectl", KUBECTL)
    words = [str(INFRA / "k8s/job.sh"), str(INFRA / "k8s/job.yaml"), *RANK]
    done = launch(tmp_path, *words, COMPLETE=str(int(failing)))
    assert json.loads(done.stdout) == {"done": {}}, done.stderr
    assert (done.returncode != 0) == failing
    service, job = yaml.safe_load_all((tmp_path / "notes.yaml").read_text())
    name = job["metadata"]["name"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == RANK and container["command"][-1] == "--no-python"
    assert f"--rdzv-endpoint={name}-0.{name}:29400" in container["command"]
    assert service["metadata"]["name"] == job["spec"]["template"]["spec"]["subdomain"] == name
    steps = (tmp_path / "notes").read_text().splitlines()
    assert [step.split()[0] for step in steps] == ["apply", "wait", "logs", "wait", "delete"]
    assert steps[-1].startswith(f"delete job,service {name}")


def test_kubernetes_deletes_its_job_when_the_pipe_of_its_parent_closes(tmp_path: Path) -> None:
    fake(tmp_path, "kubectl", KUBECTL.replace("echo '{", "sleep 60; echo '{"))
    words = [str(INFRA / "k8s/job.sh"), str(INFRA / "k8s/job.yaml"), *RANK]
    done = launch(tmp_path, *words, PUNA_GRACE_S="0")
    assert done.returncode == 143
    assert (tmp_path / "notes").read_text().splitlines()[-1].startswith("delete job,service")


def test_a_template_without_a_place_for_the_command_is_refused(tmp_path: Path) -> None:
    fake(tmp_path, "kubectl", KUBECTL)
    (tmp_path / "job.yaml").write_text("kind: Job")
    done = launch(tmp_path, str(INFRA / "k8s/job.sh"), str(tmp_path / "job.yaml"), *RANK)
    assert done.returncode != 0 and "has no @COMMAND@" in done.stderr
