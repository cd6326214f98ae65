"""The services of infra/compose.yaml as programs of this machine, by the commands and variables of
the file.

Its object store, MinIO, is no package: moto's server stands in for it, with the same variables for
who uses it. TensorBoard runs as in the image, which has s3fs and no boto3: it reads a bucket's root
by the former only.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.duty.services import Duty, Service, free_port, postgres, surroundings, wait_for
from tests.end_to_end.world import write_recipe, write_world

pytestmark = [pytest.mark.duty, pytest.mark.timeout(1200)]

COMPOSE = Path(__file__).resolve().parents[2] / "infra" / "compose.yaml"
GIVEN = {
    "POSTGRES_PASSWORD": "planted-password",
    "PUNA_AUTH": "somebody:planted-password",
    "AWS_ACCESS_KEY_ID": "puna",
    "AWS_SECRET_ACCESS_KEY": "planted-secret",
}
"""What an operator puts into .env."""


class Composed:
    """The file's services, with addresses of this machine for the names of containers."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
        self.ports = {name: free_port() for name in ("server", "objects", "tensorboard")}
        self._addresses = {
            "@database/": f"@127.0.0.1:{urlsplit(database).port}/",
            "http://server:4200": f"http://127.0.0.1:{self.ports['server']}",
            "http://127.0.0.1:4200": f"http://127.0.0.1:{self.ports['server']}",
            "http://objects:9000": f"http://127.0.0.1:{self.ports['objects']}",
            "0.0.0.0": "127.0.0.1",
        }
        hidden = folder / "as-in-the-image" / "boto3"
        hidden.mkdir(parents=True)
        (hidden / "__init__.py").write_text("raise ImportError('not in the image')\n")
        self._as_in_the_image = {"PYTHONPATH": str(hidden.parent)}
        self._path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def native(self, text: str) -> str:
        """A word of the file with its variables and addresses filled in."""
        text = re.sub(r"\$\{(\w+)[^}]*\}", lambda found: GIVEN[found[1]], text)
        for name, address in self._addresses.items():
            text = text.replace(name, address)
        return text

    def environment(self, name: str) -> dict[str, str]:
        stated = self.services[name].get("environment", {})
        return {
            **surroundings(self.folder),
            **self._path,
            **(self._as_in_the_image if name == "tensorboard" else {}),
            "PREFECT_SERVER_API_PORT": str(self.ports["server"]),
            **{key: self.native(value) for key, value in stated.items()},
        }

    def service(self, name: str, *more: str) -> Service:
        """A service by its own command, not started."""
        words = [self.native(word) for word in self.services[name]["command"]]
        log = self.folder / f"{name}.log"
        return Service([*words, *more], self.environment(name), self.folder, log)

    def is_healthy(self, name: str, **variables: str) -> bool:
        """What the service's own health check says."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        done = subprocess.run(
            [self.native(word) for word in words],
            env=self.environment(name) | variables,
            capture_output=True,
            check=False,
            timeout=60,
        )
        return done.returncode == 0


@contextlib.contextmanager
def running(service: Service) -> Iterator[Service]:
    service.start()
    try:
        yield service
    finally:
        service.stop()


def answer(address: str) -> Any:
    """What a service answers in JSON; None while it does not."""
    try:
        with urllib.request.urlopen(address, timeout=30) as found:
            return json.loads(found.read())
    except (OSError, urllib.error.URLError, ValueError):
        return None


def test_the_services_work_together(tmp_path: Path) -> None:
    write_world(tmp_path / "world", pages=24)
    write_recipe(tmp_path / "world")
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgres(tmp_path))
        composed = Composed(tmp_path, database)
        at = {"PGHOST": "127.0.0.1", "PGPORT": str(urlsplit(database).port), "PGUSER": "prefect"}
        assert composed.is_healthy("database", **at)
        if createdb := shutil.which("createdb"):  # POSTGRES_DB, which the container makes
            subprocess.run([createdb, "prefect"], env=os.environ | at, check=True)
        moto = [sys.executable, "-m", "moto.server", "-p", str(composed.ports["objects"])]
        objects = Service(moto, surroundings(tmp_path), tmp_path, tmp_path / "objects.log")
        stack.enter_context(running(objects))
        wait_for("the store", lambda: "Running on" in objects.log.read_text(), 60)
        bucket = stack.enter_context(running(composed.service("bucket")))
        assert bucket.process is not None and bucket.process.wait(60) == 0
        stack.enter_context(running(composed.service("server")))
        wait_for("the server", lambda: composed.is_healthy("server"), 240)
        board = composed.service("tensorboard", "--port", str(composed.ports["tensorboard"]))
        stack.enter_context(running(board))
        stack.enter_context(running(composed.service("worker")))
        duty = Duty(tmp_path, composed.environment("worker"))
        duty.puna("deploy", "world/small.yaml", "--store", "s3://puna/my")
        run = duty.ended(duty.start("puna/small"), within_s=500)
        assert run["state_name"] == "Completed", run["state"]["message"]
        curves = f"http://127.0.0.1:{composed.ports['tensorboard']}/data/runs"
        shown = wait_for("curves", lambda: answer(curves), 60)
        assert {name.split("/")[2] for name in shown} == {"first", "second"}
        assert all(name.startswith("my/training/") for name in shown)
        assert "database is locked" not in duty.logs()
