"""Keys of `config.json` that transformers renamed: read under either name, written under both.

transformers 5 keeps angles in `rope_parameters` and the type of weights in `dtype`. transformers 4,
vLLM, llama.cpp and most other readers know `rope_theta`, `rope_scaling`, `partial_rotary_factor`
and `torch_dtype`; of a file without them they read 10,000 and no scaling, and say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from infra.stage import StageError
from tasks.checkpoints.families import family_of

ROPE_KEYS = ("rope_parameters", "rope_scaling", "rope_theta")
_NO_SCALING = {
    "rope_type",
    "rope_theta",
    "partial_rotary_factor",
    "original_max_position_embeddings",
}


def has_nested_rope(config: Mapping[str, Any]) -> bool:
    """Whether a model has other angles for each kind of layer (Gemma 3)."""
    found = config.get("rope_scaling") or config.get("rope_parameters") or {}
    return any(isinstance(value, Mapping) for value in found.values())


def rope_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """`rope_parameters` of a configuration in the new or the old form, with `rope_type` and
    `rope_theta`.

    Where a file has both forms, what transformers 5 takes: `rope_scaling` before `rope_parameters`,
    and their `rope_theta` before the one beside them.

    Raises:
        StageError: the model has other angles for each kind of layer.
    """
    found: dict[str, Any] = dict(config.get("rope_scaling") or config.get("rope_parameters") or {})
    if has_nested_rope(config):
        raise StageError(
            f"config.json has rope parameters for each kind of layer ({', '.join(found)}); "
            "model.context cannot change such a model"
        )
    kind = found.pop("type", None)
    found.setdefault("rope_type", kind or "default")
    found.setdefault("rope_theta", config.get("rope_theta") or _default_theta(config))
    if config.get("partial_rotary_factor") is not None:
        found.setdefault("partial_rotary_factor", config["partial_rotary_factor"])
    if config.get("original_max_position_embeddings") is not None:
        found["original_max_position_embeddings"] = config["original_max_position_embeddings"]
    return found


def _default_theta(config: Mapping[str, Any]) -> float:
    return float(getattr(family_of(config), "default_theta", 10_000.0))


def for_all_readers(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same configuration, which old and new readers take for the same model.

    Left as it is where a model has no rotary angles, or other ones for each kind of layer: old
    readers have names of their own there for every family.
    """
    made = dict(config)
    if (dtype := config.get("dtype") or config.get("torch_dtype")) is not None:
        made |= {"dtype": dtype, "torch_dtype": dtype}
    if any(config.get(key) for key in ROPE_KEYS) and not has_nested_rope(config):
        made |= _both_ropes(config)
        if made["rope_scaling"] is None:  # transformers 5 would take it for a scaling of its own
            del made["rope_scaling"]
    return made


def _both_ropes(config: Mapping[str, Any]) -> dict[str, Any]:
    rope = rope_of(config)
    keys: dict[str, Any] = {"rope_theta": rope["rope_theta"]}
    if "partial_rotary_factor" in rope:
        keys["partial_rotary_factor"] = rope["partial_rotary_factor"]
    if rope["rope_type"] == "longrope":
        # Old readers look for these trained positions beside the scaling, and let their ratio win
        # over `factor`.
        trained = rope.setdefault(
            "original_max_position_embeddings", config["max_position_embeddings"]
        )
        keys["original_max_position_embeddings"] = trained
        factor = rope.get("factor")
        if factor is not None and factor != config["max_position_embeddings"] / trained:
            rope.setdefault("attention_factor", _longrope_attention(factor, trained))
    # Without rope_theta, which old readers would not know there; transformers 5 takes it from
    # beside.
    scaling = {
        key: value
        for key, value in rope.items()
        if key not in ("rope_theta", "partial_rotary_factor")
    }
    scaled = rope["rope_type"] != "default" or bool(set(rope) - _NO_SCALING)
    return keys | {"rope_parameters": rope, "rope_scaling": scaling if scaled else None}


def _longrope_attention(factor: float, trained: int) -> float:
    """What attention is scaled by in longrope (Ding et al. 2024, arXiv:2402.13753) where nothing is
    stated.
    """
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(trained))
