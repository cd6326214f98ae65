"""Names of parameters in a model with adapters, and in plain checkpoints.

PEFT puts a layer in place of each target: `q_proj.weight` becomes `q_proj.base_layer.weight`, and
beside it are `q_proj.lora_A.default.weight`, `q_proj.lora_B.default.weight` and, with DoRA,
`q_proj.lora_magnitude_vector.default.weight`.
"""

from __future__ import annotations

ADAPTER = "default"
"""PEFT's name of the one adapter."""

_BASE = ".base_layer."
_PARTS = (".lora_A.", ".lora_B.", ".lora_magnitude_vector.")


def plain_name(name: str) -> str:
    """The name that a parameter has in a model without adapters."""
    return name.replace(_BASE, ".")


def is_adapter(name: str) -> bool:
    """Whether a parameter belongs to an adapter."""
    return any(part in name for part in _PARTS)


def without_prefix(key: str) -> str:
    """The parameter of an optimizer's key `kind/parameter`."""
    return key.split("/", 1)[1]


def saved_name(name: str) -> str:
    """The name that PEFT gives a parameter in an adapter's file."""
    return "base_model.model." + name.replace(f".{ADAPTER}", "")
