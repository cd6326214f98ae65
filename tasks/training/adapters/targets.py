"""Which modules get an adapter: a recipe's `targets`, checked against the model's modules."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from tasks.training.model.layers import decoder_layers

NAMES_SHOWN = 24


class AdapterError(ValueError):
    """An adapter that cannot be made; names the value, what there is, and the next action."""


def resolve_targets(language_model: nn.Module, targets: str | Iterable[str]) -> list[str]:
    """Full names of the modules that get an adapter, in model order.

    Args:
        targets: `all-linear`, or names; a name stands for modules of which it is the full name or
            its end.

    Raises:
        AdapterError: a name matches no module, or one that cannot have an adapter.
    """
    linear = linear_modules(language_model)
    if not linear:
        raise AdapterError(
            f"{type(language_model).__name__} has no linear modules in its decoder layers, so it "
            "cannot have an adapter; set adapter: null"
        )
    if isinstance(targets, str):
        return linear
    chosen: set[str] = set()
    for target in targets:
        if found := [name for name in linear if _stands_for(target, name)]:
            chosen.update(found)
            continue
        raise AdapterError(_reason(language_model, target, linear))
    return [name for name in linear if name in chosen]


def linear_modules(language_model: nn.Module) -> list[str]:
    """Full names of the linear modules of decoder layers: those that can have an adapter."""
    inside = {id(module) for layer in decoder_layers(language_model) for module in layer.modules()}
    return [
        name
        for name, module in language_model.named_modules()
        if id(module) in inside and isinstance(module, nn.Linear | Conv1D)
    ]


def _stands_for(target: str, name: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _reason(language_model: Any, target: str, linear: list[str]) -> str:
    ends = sorted({name.rsplit(".", 1)[-1] for name in linear})
    offer = f"use all-linear, or names among {', '.join(ends[:NAMES_SHOWN])}"
    for name, module in language_model.named_modules():
        if name and _stands_for(target, name):
            matrices = (
                language_model.get_input_embeddings(),
                language_model.get_output_embeddings(),
            )
            if module in matrices:
                return (
                    f"adapter.targets: {target!r} is a matrix of embeddings, which adapter."
                    f"embeddings: full or new-rows trains; {offer}"
                )
            return (
                f"adapter.targets: {target!r} is a {type(module).__name__}, not a linear module of "
                f"a decoder layer; {offer}"
            )
    near = difflib.get_close_matches(target, ends, n=1) or difflib.get_close_matches(
        target, linear, n=1
    )
    meant = f" (did you mean {near[0]}?)" if near else ""
    return (
        f"adapter.targets: {target!r} matches no module of {type(language_model).__name__}{meant}; "
        f"{offer}"
    )


def short_targets(names: list[str], linear: list[str]) -> list[str]:
    """Last parts of names where these stand for the same modules, else the full names."""
    ends = sorted({name.rsplit(".", 1)[-1] for name in names})
    matched = [name for name in linear if name.rsplit(".", 1)[-1] in ends]
    return ends if matched == names else names
