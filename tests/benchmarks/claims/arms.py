"""The arms of a claim: their settings, and the key under which their scores are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
BASES = ("base.yaml", "base-8.yaml")


def settings_of(claim: Mapping[str, Any], arm: str, seed: int) -> list[str]:
    """What an arm lays over its recipe, as `-s` takes it."""
    settings = {
        "training.seed": seed,
        # Only where it matters, so that other arms share one model/main for all seeds.
        **({"model.seed": seed} if arm in claim.get("random", ()) else {}),
        **claim.get("settings", {}),
        **claim["arms"][arm],
    }
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]


def key_of(claim: Mapping[str, Any], arm: str, seed: int) -> str:
    """What decides an arm's scores: another recipe or setting is another key, a comment is none."""
    said = {
        "recipes": [extended(HERE / name) for name in (*BASES, claim["recipe"])],
        "settings": settings_of(claim, arm, seed),
        "pinned": claim.get("pinned", []),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def extended(recipe: Path) -> list[Any]:
    """A recipe's content and that of all it extends."""
    content = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    further = content.get("extends")
    return [content, *(extended(recipe.parent / further) if further else [])]
