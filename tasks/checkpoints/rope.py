"""Extends a base's context by changing its rope configuration.

A model computes its angles from the configuration, so no weights change. Keys are written in the
form of transformers 5; `tasks.checkpoints.config_keys` adds those of older readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.stage import StageError
from tasks.checkpoints.config_keys import rope_of
from tasks.checkpoints.context import ROPE_FIELDS, ContextLength

_SCALED_FROM = ("yarn", "longrope", "llama3")
_OLD_KEYS = ("rope_scaling", "rope_theta", "original_max_position_embeddings")
"""Keys that take precedence over `rope_parameters` in transformers, and so must be removed."""


def trained_positions(config: Mapping[str, Any]) -> int:
    """Positions that a base was trained with before any scaling in its configuration."""
    rope = rope_of(config)
    positions = int(config["max_position_embeddings"])
    if rope["rope_type"] in _SCALED_FROM and rope.get("original_max_position_embeddings"):
        return int(rope["original_max_position_embeddings"])
    if rope["rope_type"] == "linear":
        return round(positions / float(rope["factor"]))
    return positions


def extended(config: Mapping[str, Any], context: ContextLength) -> dict[str, Any]:
    """The configuration with the positions and rope of `context`.

    With rope type `dynamic`, `max_position_embeddings` stays at the trained positions: transformers
    scales only texts that are longer, so a larger value would switch scaling off up to that length.

    Raises:
        StageError: fewer positions than the base's with a type that scales by a factor, or a wrong
            number of longrope factors.
    """
    if "max_position_embeddings" not in config:
        raise StageError(
            "config.json has no max_position_embeddings; model.context needs a base with rope: "
            "leave it out"
        )
    old_rope, wanted = rope_of(config), context.rope
    trained = wanted.original_max_position_embeddings or trained_positions(config)
    rope: dict[str, Any] = {
        "rope_type": wanted.type,
        "rope_theta": wanted.theta or old_rope["rope_theta"],
    }
    if "partial_rotary_factor" in old_rope:
        rope["partial_rotary_factor"] = old_rope["partial_rotary_factor"]
    for key in ROPE_FIELDS[wanted.type]:
        if (value := getattr(wanted, key)) is not None:
            rope[key] = list(value) if isinstance(value, tuple) else value
    if wanted.type != "default" and "factor" not in rope:
        if context.positions < trained:
            raise StageError(
                f"model.context: {context.positions:,} positions are fewer than the {trained:,} "
                f"the base was trained with, but rope type {wanted.type} is for more; state `type: "
                "default`, or a factor"
            )
        rope["factor"] = context.positions / trained
    if wanted.type in _SCALED_FROM:
        rope["original_max_position_embeddings"] = trained
    if wanted.type == "llama3":
        rope = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, **rope}
        if trained >= context.positions:
            raise StageError(
                f"model.context: rope type llama3 scales to more than the {trained:,} trained "
                f"positions, not to {context.positions:,}; state more positions, or `type: default`"
            )
    if wanted.type == "longrope":
        head = int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
        pairs = int(head * rope.get("partial_rotary_factor", 1.0)) // 2
        for key in ("short_factor", "long_factor"):
            if len(rope[key]) != pairs:
                raise StageError(
                    f"model.context.rope.{key} has {len(rope[key])} numbers, but the base has "
                    f"{pairs} rotary pairs; state one number per pair"
                )
    return {key: value for key, value in config.items() if key not in _OLD_KEYS} | {
        "rope_parameters": rope,
        "max_position_embeddings": trained if wanted.type == "dynamic" else context.positions,
    }
