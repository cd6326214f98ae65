"""What is looked at before Ray is asked for a cluster: its address, its token, and whether anything
listens there.

Ray waits without an end for what is no cluster, and a token with signs that a header cannot hold
ends its process.
"""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path

from infra.engine.config import is_address
from infra.stage import StageError

_MODES = ("token", "disabled", "k8s")
_TOKEN = re.compile(r"[!-~]{1,4096}")
_MOST_BYTES = 1 << 16


class ClusterUnusable(StageError):
    """A Ray cluster cannot be used. The message says which, why, and what to do."""


def require_token(address: str) -> bool:
    """Whether the cluster is to be asked with a token. Raises `ClusterUnusable` where there is none
    that could be one.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if mode.lower() not in _MODES:
        raise ClusterUnusable(
            f"RAY_AUTH_MODE is {mode!r}; set it to one of {', '.join(_MODES)}, as the Ray cluster "
            f"{address} has it, or unset it"
        )
    if mode.lower() != "token":
        return False
    # as Ray looks for it
    where, token = "RAY_AUTH_TOKEN", os.environ.get("RAY_AUTH_TOKEN", "")
    if not token:
        stated = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
        file = Path(stated) if stated else Path.home() / ".ray" / "auth_token"
        if not stated and not file.is_file():
            raise ClusterUnusable(
                f"there is no token for the Ray cluster {address}: set RAY_AUTH_TOKEN_PATH to a "
                "file with the cluster's, or RAY_AUTH_MODE=disabled if it takes anybody's work"
            )
        where, token = f"the file {file}", _content(file, address)
    if not _TOKEN.fullmatch(token.strip()):
        raise ClusterUnusable(
            f"{where} holds no token for the Ray cluster {address} (letters, digits and signs in "
            "one line); `ray get-auth-token` prints it on the cluster's head"
        )
    return True


def _content(file: Path, address: str) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(_MOST_BYTES).decode("latin-1")
    except OSError as error:
        raise ClusterUnusable(
            f"the token of the Ray cluster {address} cannot be read from {file} "
            f"({error.strerror or error}); set RAY_AUTH_TOKEN_PATH to a file with the cluster's"
        ) from None


def found_address() -> str:
    """The address that `auto` stands for: of RAY_ADDRESS, or of a cluster on this machine. Raises
    `ClusterUnusable` where there is none.
    """
    stated = os.environ.get("RAY_ADDRESS", "").strip()
    if stated and stated != "auto":
        if not is_address(stated):
            raise ClusterUnusable(
                f"engine.address is auto, and RAY_ADDRESS is {stated!r}, which is no address of a "
                "cluster's head (host:6379) or client server (ray://host:10001); set one of these, "
                "or unset it"
            )
        return stated
    if not (address := _running_here()):
        raise ClusterUnusable(
            "engine.address is auto, but RAY_ADDRESS is not set and no Ray cluster runs on "
            "this machine; name its address, or none for one that ends with the run"
        )
    return address


def _running_here() -> str:
    """The address that `ray start` left on this machine, if its cluster takes connections."""
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # as Ray does
    try:
        address = Path(folder, "ray", "ray_current_cluster").read_text().strip()
        if not is_address(address):
            return ""
        require_answer(address, 5)
    except (OSError, ValueError, ClusterUnusable):
        return ""
    return address


def require_answer(address: str, timeout_s: float) -> None:
    """Raise `ClusterUnusable` unless something takes connections there in time."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    give_up = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s).close()
            return
        except (socket.gaierror, UnicodeError) as error:  # an impossible name, or an unknown one
            raise ClusterUnusable(
                f"no Ray cluster answers at {address}: there is no machine of that name "
                f"({getattr(error, 'strerror', None) or error}); name another engine.address"
            ) from None
        except OSError as error:
            if time.monotonic() + 1 > give_up:
                raise ClusterUnusable(
                    f"no Ray cluster answers at {address} within {timeout_s:g} s "
                    f"({error.strerror or error}); start it, or name another engine.address"
                ) from None
            time.sleep(1)
