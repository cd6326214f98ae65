"""When and where stages run: recipe, plan, Prefect flows and the `puna` command."""

import importlib.util as _util
from pathlib import Path as _Path

# Loaded by path, because it settles which packages the names `infra` and `tasks` mean.
_spec = _util.spec_from_file_location(
    "puna_packages",
    _Path(__file__).resolve().parents[1] / "infra" / "engine" / "bootstrap" / "puna_packages.py",
)
assert _spec is not None and _spec.loader is not None
_spec.loader.exec_module(_util.module_from_spec(_spec))
