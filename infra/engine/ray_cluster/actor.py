"""What runs in a worker of the cluster: it loads functions and items, and keeps what they load.

Ray carries the class of this module by value, since a worker may have another `infra` on its import
path until `Worker.__init__` has run: nothing of ours is imported above it. A model that a stage
keeps in a cache of its module (`functools.lru_cache`) is loaded once per worker.
"""

from __future__ import annotations

from typing import Any


class Worker:
    """One process that takes one shard at a time.

    Args:
        bootstrap: path of our `puna_packages.py` on the machine of the run; where a node lacks it,
            Puna has to be installed there.
        environment: variables to set before any library is imported.
        replace: whether they are all the worker shall have.
        path: folders to import from, after the worker's own.
    """

    def __init__(
        self, bootstrap: str, environment: dict[str, str], replace: bool, path: list[str]
    ) -> None:
        import importlib.util
        import os
        import pathlib
        import signal
        import sys

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is for the run, which ends its workers
        if replace:
            for name in set(os.environ) - set(environment):
                if not name.startswith("RAY_"):
                    del os.environ[name]
        os.environ.update(environment)
        sys.path.extend(folder for folder in path if folder not in sys.path)
        if pathlib.Path(bootstrap).is_file():
            spec = importlib.util.spec_from_file_location("puna_packages", bootstrap)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules["puna_packages"] = module
            spec.loader.exec_module(module)
        else:
            importlib.import_module("flows")  # the installed package claims its names

    def ready(self, probe: Any) -> dict[str, Any]:
        """Who this worker is, what decides its bytes, and the store's probe."""
        import pickle

        from infra.engine.ray_cluster.work import introduce

        return introduce(pickle.loads(probe) if probe is not None else None)

    def run(self, function: bytes, item: bytes) -> bytes:
        """A pickled `Returned` of `function(item)`, both pickled."""
        from infra.engine.ray_cluster.work import run

        return run(function, item)
