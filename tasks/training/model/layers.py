"""The decoder layers of a transformers model, in order."""

from __future__ import annotations

from torch import nn


def decoder_layers(language_model: nn.Module) -> list[nn.Module]:
    """The repeated layers: what is sharded, recomputed and compiled one by one.

    transformers states the class of layers in `_no_split_modules`; in models without, it is the
    longest list of modules of one class.

    Raises:
        ValueError: the model has no such layers.
    """
    stated = set(getattr(language_model, "_no_split_modules", None) or ())
    lists = [module for module in language_model.modules() if isinstance(module, nn.ModuleList)]
    uniform = [found for found in lists if len({type(layer) for layer in found}) == 1]
    named = [found for found in lists if len(found) and _is_stated(found, stated)]
    candidates = named or uniform
    if not candidates:
        raise ValueError(
            f"{type(language_model).__name__} has no list of decoder layers, so it cannot be "
            "sharded, recomputed or compiled layer by layer; use recompute: none, compile: false"
        )
    return max((list(layers) for layers in candidates), key=len)


def _is_stated(layers: nn.ModuleList, stated: set[str]) -> bool:
    return all(any(base.__name__ in stated for base in type(layer).__mro__) for layer in layers)
