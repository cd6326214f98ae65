"""In a worker: who it is, and one call of a function, with what it raises as a value."""

from __future__ import annotations

import pickle
import socket
import traceback
from pathlib import Path
from typing import Any

from infra.engine.libraries import import_all
from infra.engine.ray_cluster.nodes import Probe, fingerprint
from infra.stage import StageError


class RemoteTraceback(Exception):
    """A worker's traceback, as text: the cause of an error that it raised."""


LARGEST_RESULT = 64 * 2**20
"""Bytes of a pickled result. Data goes through the store; results are held by the run."""


def introduce(probe: Probe | None) -> dict[str, Any]:
    """Node, host, fingerprint, and what the probe of the store met with."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    import_all()
    return {
        "node": node,
        "host": socket.gethostname(),
        "fingerprint": fingerprint(),
        "probed": probe.answer(node) if probe is not None else None,
    }


def run(function: bytes, item: bytes) -> bytes:
    """(result, None, "") of the function, or (None, what it raised, its traceback), pickled."""
    try:
        found = pickle.dumps((pickle.loads(function)(pickle.loads(item)), None, ""))
        if len(found) > LARGEST_RESULT:
            raise ValueError(
                f"the result of a shard has {len(found):,} bytes, and Ray carries at most "
                f"{LARGEST_RESULT:,}: write it with shard.create; please report this"
            )
        return found
    except Exception as error:
        return _raised(error)


def _raised(error: Exception) -> bytes:
    text = "".join(traceback.format_exception(error))
    try:
        found = pickle.dumps((None, error, text))
        pickle.loads(found)  # errors with arguments of their own may be pickled, and not read
        return found
    except Exception:
        stand_in = RuntimeError(f"{type(error).__name__}: {error}")
        return pickle.dumps((None, stand_in, text))


def result_of(returned: bytes) -> Any:
    """The result of `run`; raises what the function raised, its cause the worker's traceback."""
    value, error, text = pickle.loads(returned)
    if error is None:
        return value
    if isinstance(error, FileNotFoundError) and error.filename and Path(error.filename).exists():
        error = StageError(
            f"{error.filename} is on this machine, and not on the node that reads it; put it on a "
            "disk that all nodes mount at the same path, or name it as s3:// or https://"
        )
    error.__cause__ = RemoteTraceback(text)
    raise error
