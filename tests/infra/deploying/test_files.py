"""Compose, Kubernetes and Slurm files and the Dockerfile: their schemas, and what schemas do not
say.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
INFRA = ROOT / "infra"
SCRIPTS = sorted([*INFRA.rglob("*.sh"), *INFRA.rglob("*.sbatch")])
KUBERNETES = sorted((INFRA / "k8s").glob("*.yaml"))


def documents(file: Path) -> list[dict[str, Any]]:
    """The manifests of a file; a template's blanks are filled in."""
    text = file.read_text(encoding="utf-8").replace("@NAME@", "puna-1")
    return list(yaml.safe_load_all(text.replace("@COMMAND@", '["python", "-m", "tasks.training"]')))


def manifests() -> list[Any]:
    return [
        pytest.param(one, id=f"{file.stem}-{one['kind']}-{one['metadata']['name']}")
        for file in KUBERNETES
        for one in documents(file)
    ]


def templates(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    spec = manifest.get("spec", {})
    groups = [spec, spec.get("headGroupSpec", {}), *spec.get("workerGroupSpecs", ())]
    return [group["template"] for group in groups if "template" in group]


def pods() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every pod's labels and specification."""
    for file in KUBERNETES:
        for one in documents(file):
            for template in templates(one):
                yield template.get("metadata", {}).get("labels", {}), template["spec"]


def is_of_kubernetes(manifest: dict[str, Any]) -> bool:
    return not manifest["apiVersion"].startswith("ray.io/")


def test_kuberay_takes_the_ray_cluster() -> None:
    """Its own schema for the cluster, and that of Kubernetes for each pod."""
    (cluster,) = documents(INFRA / "k8s/ray.yaml")
    schema = json.loads(Path(__file__).with_name("raycluster-spec.json").read_text("utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    assert not list(validator.iter_errors(cluster["spec"]))
    assert list(validator.iter_errors(cluster["spec"] | {"headGroup": {}}))  # it is looked at
    assert len(templates(cluster)) == 2
    for template in templates(cluster):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}} | {
            "spec": template["spec"]
        }
        kubernetes_validate.validate(pod, "1.31", strict=True)
        (container,) = template["spec"]["containers"]
        known = {variable["name"]: variable for variable in container["env"]}
        assert known["RAY_AUTH_MODE"]["value"] == "token"
        assert "secretKeyRef" in known["RAY_AUTH_TOKEN"]["valueFrom"]
        assert template["spec"]["securityContext"]["runAsNonRoot"]
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"ray=={cluster['spec']['rayVersion']}" in pinned


def test_ray_takes_the_file_of_its_launcher() -> None:
    ray = pytest.importorskip("ray.autoscaler", reason="Ray is not installed")
    schema = json.loads(Path(ray.__file__).with_name("ray-schema.json").read_text("utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    cluster = yaml.safe_load((INFRA / "ray.yaml").read_text(encoding="utf-8"))
    assert not list(validator.iter_errors(cluster))
    assert list(validator.iter_errors(cluster | {"workers": 2}))
    for part in ("head", "worker"):
        *_, start = cluster[f"{part}_start_ray_commands"]
        assert "RAY_AUTH_MODE=token" in start and "--disable-usage-stats" in start
    assert any(
        "constraints.txt" in command and "ray" in command for command in cluster["setup_commands"]
    )


@pytest.mark.parametrize(
    "manifest", [one for one in manifests() if is_of_kubernetes(one.values[0])]
)
def test_kubernetes_takes_the_manifests(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, "1.31", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):  # the schema is looked at
        kubernetes_validate.validate({**manifest, "sepc": {}}, "1.31", strict=True)


def test_what_kubernetes_manifests_name_is_there() -> None:
    """A schema does not see a selector without pods, a mount without a volume, a misspelt role."""
    made = {(one["kind"], one["metadata"]["name"]) for f in KUBERNETES for one in documents(f)}
    labels = [label for label, _ in pods()]
    for file in KUBERNETES:
        for one in documents(file):
            selector = one.get("spec", {}).get("selector", {}) if one["kind"] != "Job" else {}
            wanted = selector.get("matchLabels", selector)
            if wanted and "job-name" not in wanted:  # that label is made by the job's controller
                assert any(wanted.items() <= label.items() for label in labels), (file, wanted)
            if one["kind"] == "RoleBinding":
                assert ("Role", one["roleRef"]["name"]) in made
                assert ("ServiceAccount", one["subjects"][0]["name"]) in made
    for _, pod in pods():
        volumes = {volume["name"] for volume in pod.get("volumes", ())} | {"data"}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", ())} <= volumes
            assert "limits" in container["resources"]


def test_no_pod_may_do_more_than_it_needs() -> None:
    for labels, pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
        # the worker makes training's jobs
        asks_kubernetes = labels.get("app") == "puna-worker"
        assert asks_kubernetes or pod["automountServiceAccountToken"] is False


def test_compose_takes_the_file() -> None:
    schema = json.loads(Path(__file__).with_name("compose-spec.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    assert not list(validator.iter_errors(compose()))
    compose_with_a_mistake = compose() | {"servises": {}}
    assert list(validator.iter_errors(compose_with_a_mistake))


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((INFRA / "compose.yaml").read_text(encoding="utf-8"))
    return found


def test_compose_opens_no_port_to_others_and_holds_no_secret() -> None:
    services = compose()["services"]
    assert set(services) == {"database", "server", "worker", "tensorboard", "objects", "bucket"}
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|AUTH|ACCESS_KEY|CONNECTION_URL", key):
                assert re.search(r"\$\{\w+:\?[^}]+\}", value), (name, key)
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source.startswith("./") or source in compose()["volumes"], (name, source)
        assert set(service.get("depends_on", ())) <= set(services), name
    assert "PREFECT_SERVER_API_AUTH_STRING" in services["server"]["environment"]
    assert services["server"]["command"][-1] == "0.0.0.0"  # hence the password


def test_the_image_does_not_run_as_root_and_copies_what_is_there() -> None:
    text = (INFRA / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    steps = [line.split(None, 1) for line in text.splitlines() if re.match("[A-Z]+ ", line)]
    users = [words for step, words in steps if step == "USER"]
    assert users == ["10001"]
    assert [step for step, _ in steps][-4:] == ["USER", "WORKDIR", "ENTRYPOINT", "CMD"]
    assert all(re.search(r":\d", words) for step, words in steps if step == "FROM")
    copied = [
        source
        for step, words in steps
        if step == "COPY" and "--from" not in words
        for source in words.split()[:-1]
    ]
    ignore = (INFRA / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{source}" for source in copied} == {line for line in ignore if line[:1] == "!"}
    assert all((ROOT / source).exists() for source in copied)
    assert not re.search("(?i)(password|token|secret)[^,]*=", text)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    assert len(SCRIPTS) >= 4
    done = subprocess.run(
        ["shellcheck", *map(str, SCRIPTS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (1, False), (75, True)])
@pytest.mark.parametrize("warned", [False, True])
def test_slurm_puts_an_interrupted_run_back_into_the_queue(
    tmp_path: Path, status: int, requeued: bool, warned: bool
) -> None:
    """Slurm signals the batch script; the script hands the signal on and waits for the run."""
    programs = {
        "scontrol": f'echo "$@" >{tmp_path}/requeued',
        "puna": f"trap 'sleep 0.2; exit {status}' TERM\n"
        + (
            "sleep 0.3; kill -TERM $PPID; while :; do sleep 0.1; done"
            if warned
            else f"exit {status}"
        ),
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["sh", str(INFRA / "slurm/puna.sbatch"), "my.yaml"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "7"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert (tmp_path / "requeued").exists() == requeued
