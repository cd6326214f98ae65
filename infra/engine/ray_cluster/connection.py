"""Join a Ray cluster, or start one on this machine; say in one sentence why that cannot be.

Ray reads its settings from the environment when it is first imported and when it connects, so they
are set here. A process can be connected to one cluster at a time.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import logging
import os
import re
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from infra.engine.config import EngineConfig
from infra.engine.group import ProcessGroup
from infra.engine.launch import module_command, safe_environment
from infra.engine.ray_cluster.entry import (
    ClusterUnusable,
    found_address,
    require_answer,
    require_token,
)

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # CUDA_VISIBLE_DEVICES stays as it is
}
_START_S = 120.0
"""How long a cluster of this machine may take to start; 5 s where nothing else runs."""

_GRACE_S = 20.0
_SHUTDOWN_S = 10.0


class Connection:
    """This process's connection to a cluster.

    Args:
        config: the recipe's engine.
        cpus: of a cluster that is started here.
    """

    def __init__(self, config: EngineConfig, cpus: int) -> None:
        self.local = config.address == "none"
        """Whether the cluster is this machine's, and ends with the run."""
        self.client = config.address.startswith("ray://")
        self.address = config.address
        self._timeout_s = config.timeout_s
        self._cpus = cpus
        self._group: ProcessGroup | None = None
        self._folder: Path | None = None
        self._before: dict[str, str | None] = {}

    def open(self) -> Any:
        """Connect; returns the module `ray`. Raises `ClusterUnusable`."""
        try:
            # Before Ray is imported: it reads some of its settings only then.
            self._set(SETTINGS)
            return self._connect(self._start() if self.local else self._existing())
        except BaseException:
            self.close()
            raise

    def _set(self, variables: dict[str, str], without: tuple[str, ...] = ()) -> None:
        """Set variables until `close`, and unset those of `without`."""
        for name in (*variables, *without):
            self._before.setdefault(name, os.environ.pop(name, None))
        os.environ.update(variables)

    def _start(self) -> str:
        # Paths of sockets have at most 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="puna-ray-", dir=_short_folder()))
        token = self._folder / "token"
        token.touch(0o600)
        token.write_text(secrets.token_hex(32))
        self._set(
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)},
            without=("RAY_AUTH_TOKEN", "RAY_ADDRESS"),
        )
        words = module_command("infra.engine.ray_cluster.head", self._folder)
        self._group = ProcessGroup([*words, str(self._cpus)], os.environ | safe_environment())
        give_up = time.monotonic() + _START_S
        while time.monotonic() < give_up and self._group.returncode is None:
            if (line := self._group.line(1.0)) is not None:
                said = json.loads(line)
                if "error" in said:
                    raise ClusterUnusable(f"Ray does not start on this machine: {said['error']}")
                return str(said["address"])
        raise ClusterUnusable(
            f"Ray did not start on this machine within {_START_S:.0f} s "
            f"({''.join(self._group.tail).strip()[-300:] or 'it says nothing'}); use "
            "engine.kind: processes"
        )

    def _existing(self) -> str:
        if require_token(self.address):
            self._set({"RAY_AUTH_MODE": "token"})
        if self.address == "auto":
            self.address = found_address()
            self.client = self.address.startswith("ray://")
        require_answer(self.address, self._timeout_s)
        return self.address

    def _connect(self, address: str) -> Any:
        import ray
        from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

        # an earlier cluster of this process had other settings and another token
        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        # Of a dead worker Ray tells on stdout, where `puna run --json` writes its result.
        ray._private.worker.print_to_stdstream = _say_nothing
        found: list[Any] = []

        # Ray would put the working directory first on the import path of workers, where a user may
        # keep a `json.py`.
        job = ray.job_config.JobConfig()
        job._py_driver_sys_path = _Nothing()

        def connect() -> None:
            try:
                with _signals_kept():
                    ray.init(
                        address=address,
                        log_to_driver=False,
                        logging_level=logging.CRITICAL,
                        configure_logging=False,
                        namespace="puna",
                        **({} if self.client else {"job_config": job}),
                    )
                found.append(None)
            except BaseException as error:
                found.append(error)

        # A thread, since Ray waits without an end for what is no cluster.
        thread = threading.Thread(target=connect, daemon=True, name="ray-connect")
        thread.start()
        thread.join(_START_S if self.local else self._timeout_s)
        if not found:
            raise ClusterUnusable(_not_let_in(address, f" within {self._timeout_s:g} s"))
        if found[0] is not None:
            raise ClusterUnusable(_in_words(address, found[0])) from None
        return ray

    def answers(self) -> bool:
        """Whether the head still takes connections. Once it is gone, Ray ends this process."""
        if self.local or self.client:
            return True
        try:
            require_answer(self.address, 5)
        except ClusterUnusable:
            return False
        return True

    def close(self) -> None:
        """Leave the cluster; end it if it was started here."""
        if (ray := sys.modules.get("ray")) is not None:
            leaving = threading.Thread(target=_leave, args=(ray,), daemon=True, name="ray-leave")
            leaving.start()
            leaving.join(_SHUTDOWN_S)  # it may wait for a head that is gone
            if leaving.is_alive():
                atexit.unregister(ray._private.worker.shutdown)  # and so may the end
        if self._group is not None:
            self._group.end(_GRACE_S)
            self._group = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._before.clear()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep what ^C and SIGTERM do. Ray's C++ part sets handlers that Python does not know of, and
    Python's cannot be set again from a thread.
    """
    libc = ctypes.CDLL(None)
    before = {number: ctypes.create_string_buffer(1024) for number in (2, 15)}
    for number, action in before.items():
        libc.sigaction(number, None, action)
    try:
        yield
    finally:
        for number, action in before.items():
            libc.sigaction(number, action, None)


class _Nothing(list[str]):
    def extend(self, _: object) -> None:
        """Stay empty."""


def _say_nothing(*_: object, **__: object) -> None:
    pass


def _leave(ray: Any) -> None:
    with contextlib.suppress(Exception):
        ray.shutdown()


def _short_folder() -> str | None:
    return None if len(tempfile.gettempdir()) <= 30 else "/tmp"


def _not_let_in(address: str, within: str = "") -> str:
    return (
        f"{address} takes connections, but no Ray cluster lets this machine in{within}: it has "
        "another token (set RAY_AUTH_TOKEN_PATH to a file with the cluster's), or the address is "
        "not that of its head (host:6379) or client server (ray://host:10001)"
    )


def _in_words(address: str, error: BaseException) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip()
    versions = re.findall(r"Ray: (\S+) Python: (\S+)", text)
    if "ersion mismatch" in text and len(versions) == 2:
        (ray, python), (our_ray, our_python) = versions
        return (
            f"the Ray cluster at {address} has Ray {ray} and Python {python}, and this machine has "
            f"Ray {our_ray} and Python {our_python}; give both the same release of puna[ray]"
        )
    if re.search("uthenticat|token|Failed to connect", text):
        return _not_let_in(address)
    if "raylet" in text.lower() or "node" in text.lower():
        return (
            f"this machine is no node of the Ray cluster at {address} ({text[:200]}); start the "
            "run on one of its nodes, or use its client server: ray://host:10001"
        )
    return f"the Ray cluster at {address} cannot be joined: {text[:300]}"


def require_installed(importing: Callable[[str], object] = __import__) -> None:
    """Raise `ClusterUnusable` where Ray is not installed."""
    try:
        importing("ray")
    except ImportError:
        raise ClusterUnusable(
            "engine.kind is ray, but Ray is not installed: pip install -c constraints.txt "
            "'puna[ray]', or use engine.kind: processes"
        ) from None
