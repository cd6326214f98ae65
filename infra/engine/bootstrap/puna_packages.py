"""Make `infra`, `tasks` and `flows` mean our packages, whatever the import path is.

These are common words, and a user's `tasks.py` or `infra/` may come before ours on the path: in the
working directory, which `python -m` and `python -c` put first, or in a folder of PYTHONPATH.
Importing this module binds the three names to the packages that it was installed with (a checkout,
an editable install or a wheel); every later import of them and their submodules finds these.

    python -P .../puna_packages.py tasks.training SPEC.json    # run one of our modules as a process

With `-P` nothing else is imported from the working directory either. Standard library only:
training nodes start with this.
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
    """Bind the names to the packages in `root`. Raises `ImportError` if another package has been
    imported under one of them.
    """
    for name in OURS:
        if (known := sys.modules.get(name)) is not None:
            file = getattr(known, "__file__", None)
            if file is None or Path(file).resolve().parent != root / name:
                raise ImportError(
                    f"{name!r} is already imported from {file or 'a folder without __init__.py'}, "
                    f"but Puna's package of that name is in {root}: import Puna first, or rename "
                    "yours"
                )
            continue
        spec = importlib.machinery.PathFinder.find_spec(name, [str(root)])
        if spec is None or spec.loader is None:
            continue  # a training node need not have `flows`
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)


claim()

if __name__ == "__main__":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
