"""Choose the layers to keep, and adapt the configuration to them."""

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
"""Settings that name layers by number or by place; with other layers they would mean others."""
_NO_LAYERS = ("architectures", "_token_id", "_token_ids", "suppress_tokens")
"""Ends of settings that are lists of something else, which may chance to be as long as there are
layers.
"""


def choose(
    wanted: LayerChoice | Sequence[int] | None,
    count: int,
    importance: Callable[[LayerChoice], Sequence[float]],
) -> tuple[int, ...]:
    """The layers to keep of a base of `count`, in their new order.

    Args:
        importance: one number a layer, higher for what matters more; asked only for `important`. Of
            equal layers the earlier stays.

    Raises:
        StageError: more layers than the base has, or an index it lacks.
    """
    if wanted is None:
        return tuple(range(count))
    if not isinstance(wanted, LayerChoice):
        absent = [index for index in wanted if index >= count]
        if absent:
            raise StageError(
                f"model.layers names layer {absent[0]}; the base has {count}, 0 to {count - 1}"
            )
        return tuple(wanted)
    size = wanted.first or wanted.ends or wanted.important or 0
    if size > count:
        raise StageError(
            f"model.layers wants {size} layers; the base has {count}. Ask for {count} or fewer"
        )
    if wanted.first:
        return tuple(range(size))
    if wanted.ends:
        head = (size + 1) // 2
        return (*range(head), *range(count - (size - head), count))
    scores = importance(wanted)
    if len(scores) != count:
        raise StageError(f"{len(scores)} layers were measured, the base has {count}")
    return tuple(sorted(sorted(range(count), key=lambda index: (-scores[index], index))[:size]))


def config_of(config: Mapping[str, Any], layers: Sequence[int]) -> dict[str, Any]:
    """The configuration of a model with only `layers`: their number, and lists with one value a
    layer.

    Raises:
        StageError: a setting names layers by number, so what it would mean is not known.
    """
    count = int(config["num_hidden_layers"])
    if tuple(layers) == tuple(range(count)):
        return dict(config)
    numbered = [key for key in _OF_NUMBERED_LAYERS if config.get(key)]
    if config.get("use_sliding_window") and not config.get("layer_types"):
        numbered.append("use_sliding_window with max_window_layers")
    if numbered:
        raise StageError(
            f"config.json names layers by number ({', '.join(numbered)}); choosing layers of such "
            "a model is not supported"
        )
    chosen = {
        key: [value[index] for index in layers]
        if isinstance(value, list) and len(value) == count and not key.endswith(_NO_LAYERS)
        else value
        for key, value in config.items()
    }
    return chosen | {"num_hidden_layers": len(layers)}
