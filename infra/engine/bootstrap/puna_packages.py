"""Make `infra`, `tasks` and `flows` mean ours: what is imported first is what every later import
finds.

These are plain words, and a user's own `tasks.py` or `infra/` may stand before ours on the path: in
the working directory, which `python -m` and `python -c` put first, or in a folder of PYTHONPATH.
Importing this module binds the names to the folders beside it, from a checkout, an editable install
or a wheel alike; what lies below them follows.

    python -P .../puna_packages.py tasks.training SPEC.json      run a module of ours as a process
    of its own

With `-P` nothing else comes from the working directory either. Standard library only: training
nodes start with this.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import runpy
import sys
from pathlib import Path

OURS = ("infra", "tasks", "flows")
ROOT = Path(__file__).resolve().parents[3]


def claim(root: Path = ROOT) -> None:
    """Bind the names. Raises ImportError where one of them is another package by now."""
    for name in OURS:
        if (known := sys.modules.get(name)) is not None:
            file = getattr(known, "__file__", None)
            if file is None or Path(file).resolve().parent != root / name:
                raise ImportError(
                    f"{name!r} is {file or 'a folder without __init__.py'}, and Puna's own package "
                    f"of that name is in {root}: import Puna first, or rename yours"
                )
            continue
        spec = importlib.machinery.PathFinder.find_spec(name, [str(root)])
        if spec is None or spec.loader is None:
            continue  # a training node may have no `flows`
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)


claim()

if __name__ == "__main__":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
