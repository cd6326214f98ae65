"""Keys of `config.json` that transformers renamed: read under either name, written under both.

transformers 5 has the rope settings in `rope_parameters` and the type of the weights in `dtype`.
transformers 4, vLLM, llama.cpp and most other readers look for `rope_theta`, `rope_scaling`,
`partial_rotary_factor` and `torch_dtype`. If these are missing, they silently assume a theta of
10,000 and no scaling.
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
"""Keys of `rope_parameters` that do not scale angles."""


def has_nested_rope(config: Mapping[str, Any]) -> bool:
    """Whether a model has separate rope settings for each kind of layer (Gemma 3)."""
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    return any(isinstance(value, Mapping) for value in rope.values())


def rope_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """`rope_parameters` of a configuration in the new or the old form, with `rope_type` and
    `rope_theta`.

    If a file has both forms, the order is that of transformers 5: `rope_scaling` before
    `rope_parameters`, and a `rope_theta` inside these before one at the top level.

    Raises:
        StageError: the model has separate rope settings for each kind of layer.
    """
    rope: dict[str, Any] = dict(config.get("rope_scaling") or config.get("rope_parameters") or {})
    if has_nested_rope(config):
        raise StageError(
            f"config.json has rope parameters for each kind of layer ({', '.join(rope)}); "
            "model.context cannot change such a model: leave it out"
        )
    old_type = rope.pop("type", None)
    rope.setdefault("rope_type", old_type or "default")
    rope.setdefault("rope_theta", config.get("rope_theta") or _default_theta(config))
    if config.get("partial_rotary_factor") is not None:
        rope.setdefault("partial_rotary_factor", config["partial_rotary_factor"])
    if config.get("original_max_position_embeddings") is not None:
        rope["original_max_position_embeddings"] = config["original_max_position_embeddings"]
    return rope


def _default_theta(config: Mapping[str, Any]) -> float:
    return float(getattr(family_of(config), "default_theta", 10_000.0))


def for_all_readers(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the keys of both old and new readers, so that they load the same
    model.

    Rope keys are left alone if the model has no rope, or separate settings for each kind of layer:
    old readers have different names for these in every family.
    """
    complete = dict(config)
    if (dtype := config.get("dtype") or config.get("torch_dtype")) is not None:
        complete |= {"dtype": dtype, "torch_dtype": dtype}
    if any(config.get(key) for key in ROPE_KEYS) and not has_nested_rope(config):
        complete |= _both_ropes(config)
        if complete["rope_scaling"] is None:  # transformers 5 would read null as a scaling
            del complete["rope_scaling"]
    return complete


def _both_ropes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rope keys in the old and the new form; `rope_scaling` is None if angles are not scaled."""
    rope = rope_of(config)
    keys: dict[str, Any] = {"rope_theta": rope["rope_theta"]}
    if "partial_rotary_factor" in rope:
        keys["partial_rotary_factor"] = rope["partial_rotary_factor"]
    if rope["rope_type"] == "longrope":
        # Old readers look for the trained positions at the top level, and prefer the ratio of
        # positions to `factor`.
        trained = rope.setdefault(
            "original_max_position_embeddings", config["max_position_embeddings"]
        )
        keys["original_max_position_embeddings"] = trained
        factor = rope.get("factor")
        if factor is not None and factor != config["max_position_embeddings"] / trained:
            rope.setdefault("attention_factor", _longrope_attention(factor, trained))
    # Old readers do not recognise rope_theta inside rope_scaling; transformers 5 also reads it at
    # the top level.
    scaling = {
        key: value
        for key, value in rope.items()
        if key not in ("rope_theta", "partial_rotary_factor")
    }
    scaled = rope["rope_type"] != "default" or bool(set(rope) - _NO_SCALING)
    return keys | {"rope_parameters": rope, "rope_scaling": scaling if scaled else None}


def _longrope_attention(factor: float, trained: int) -> float:
    """Default attention factor of longrope (Ding et al. 2024, arXiv:2402.13753)."""
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(trained))
