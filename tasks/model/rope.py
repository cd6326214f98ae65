"""More positions for a base: read its rope configuration and write the new one.

Angles are made from the configuration when a model is built, so that is all there is to change.
Here they are written as transformers 5 has them; `tasks.checkpoints.config_keys` adds what older
readers look for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.stage import StageError
from tasks.checkpoints.config_keys import rope_of
from tasks.model.stage import ROPE_FIELDS, ContextLength

_SCALED_FROM = ("yarn", "longrope", "llama3")
_OLD_KEYS = ("rope_scaling", "rope_theta", "original_max_position_embeddings")
"""transformers lets these win over `rope_parameters`, so they must go where that is written."""


def trained_positions(config: Mapping[str, Any]) -> int:
    """Positions that the angles of a base were made for, before any scaling it has already."""
    rope = rope_of(config)
    positions = int(config["max_position_embeddings"])
    if rope["rope_type"] in _SCALED_FROM and rope.get("original_max_position_embeddings"):
        return int(rope["original_max_position_embeddings"])
    if rope["rope_type"] == "linear":
        return round(positions / float(rope["factor"]))
    return positions


def extended(config: Mapping[str, Any], context: ContextLength) -> dict[str, Any]:
    """The configuration with other positions and angles.

    `dynamic` leaves `max_position_embeddings` at what the base was trained with: transformers
    counts its stretching from there, and a larger value would switch it off up to that length.

    Raises:
        StageError: fewer positions than scaling by a factor is for, or factors of the wrong number.
    """
    if "max_position_embeddings" not in config:
        raise StageError(
            "config.json has no max_position_embeddings; model.context needs a model with rope"
        )
    before, wanted = rope_of(config), context.rope
    trained = wanted.original_max_position_embeddings or trained_positions(config)
    rope: dict[str, Any] = {
        "rope_type": wanted.type,
        "rope_theta": wanted.theta or before["rope_theta"],
    }
    if "partial_rotary_factor" in before:
        rope["partial_rotary_factor"] = before["partial_rotary_factor"]
    for key in ROPE_FIELDS[wanted.type]:
        if (value := getattr(wanted, key)) is not None:
            rope[key] = list(value) if isinstance(value, tuple) else value
    if wanted.type != "default" and "factor" not in rope:
        if context.positions < trained:
            raise StageError(
                f"model.context: {context.positions:,} positions are fewer than the {trained:,} "
                f"the base was trained with, and rope type {wanted.type} is for more; state `type: "
                "default`, or a factor"
            )
        rope["factor"] = context.positions / trained
    if wanted.type in _SCALED_FROM:
        rope["original_max_position_embeddings"] = trained
    if wanted.type == "llama3":
        rope = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, **rope}
        if trained >= context.positions:
            raise StageError(
                f"model.context: rope type llama3 scales from {trained:,} positions to more, not "
                f"to {context.positions:,}"
            )
    if wanted.type == "longrope":
        head = int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
        pairs = int(head * rope.get("partial_rotary_factor", 1.0)) // 2
        for key in ("short_factor", "long_factor"):
            if len(rope[key]) != pairs:
                raise StageError(
                    f"model.context.rope.{key} has {len(rope[key])} numbers; the base has {pairs} "
                    "pairs"
                )
    return {key: value for key, value in config.items() if key not in _OLD_KEYS} | {
        "rope_parameters": rope,
        "max_position_embeddings": trained if wanted.type == "dynamic" else context.positions,
    }
