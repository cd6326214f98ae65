"""Chooses the layers to keep, and adapts the configuration to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from infra.stage import StageError
from tasks.model.stage import LayerChoice

_OF_NUMBERED_LAYERS = (
    "mlp_only_layers",
    "first_k_dense_replace",
    "full_attn_idxs",
    "attn_layer_indices",
    "cross_attention_layers",
    "num_kv_shared_layers",
)
"""Settings that refer to layers by number, and would refer to other layers in the new model."""
_NO_LAYERS = ("architectures", "_token_id", "_token_ids", "suppress_tokens")
"""Ends of keys whose lists are not per layer, though they may happen to be as long."""


def choose(
    wanted: LayerChoice | Sequence[int] | None,
    count: int,
    importance: Callable[[LayerChoice], Sequence[float]],
) -> tuple[int, ...]:
    """The layers to keep of a base of `count`, in their new order.

    Args:
        importance: returns one number per layer, higher for layers that matter more; called only
            for `important`. Of layers with equal importance the earlier is kept.

    Raises:
        StageError: more layers are wanted than the base has, or one that it lacks.
    """
    if wanted is None:
        return tuple(range(count))
    if not isinstance(wanted, LayerChoice):
        absent = [index for index in wanted if index >= count]
        if absent:
            raise StageError(
                f"model.layers names layer {absent[0]}, but the base has {count}, 0 to {count - 1}"
            )
        return tuple(wanted)
    size = wanted.first or wanted.ends or wanted.important or 0
    if size > count:
        raise StageError(
            f"model.layers asks for {size} layers, but the base has {count}; ask for {count} or "
            "fewer"
        )
    if wanted.first:
        return tuple(range(size))
    if wanted.ends:
        from_start = (size + 1) // 2
        from_end = size - from_start
        return (*range(from_start), *range(count - from_end, count))
    scores = importance(wanted)
    if len(scores) != count:
        raise StageError(
            f"{len(scores)} layers were measured, but the base has {count}; give a list of layers"
        )
    by_importance = sorted(range(count), key=lambda index: (-scores[index], index))
    return tuple(sorted(by_importance[:size]))


def config_of(config: Mapping[str, Any], layers: Sequence[int]) -> dict[str, Any]:
    """The configuration of a model with only `layers`: adapts their number and all lists with one
    value per layer.

    Raises:
        StageError: a setting refers to layers by number, so its new meaning is unknown.
    """
    count = int(config["num_hidden_layers"])
    if tuple(layers) == tuple(range(count)):
        return dict(config)
    numbered = [key for key in _OF_NUMBERED_LAYERS if config.get(key)]
    if config.get("use_sliding_window") and not config.get("layer_types"):
        numbered.append("use_sliding_window with max_window_layers")
    if numbered:
        raise StageError(
            f"config.json names layers by number ({', '.join(numbered)}), so layers of this model "
            "cannot be chosen; leave model.layers out"
        )
    chosen = {
        key: [value[index] for index in layers]
        if isinstance(value, list) and len(value) == count and not key.endswith(_NO_LAYERS)
        else value
        for key, value in config.items()
    }
    return chosen | {"num_hidden_layers": len(layers)}
