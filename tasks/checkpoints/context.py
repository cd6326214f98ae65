"""How many positions a model reads, as recipes state it: for a base, or from a phase on.

`tasks.checkpoints.rope` writes it into a configuration. Imports are light: pydantic only.
"""

from __future__ import annotations

from typing import Literal, Self

import pydantic

from infra.quantities import Count
from infra.stage import Parameters

_YARN = ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate")
ROPE_FIELDS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings", *_YARN),
    "longrope": (
        "factor",
        "original_max_position_embeddings",
        "attention_factor",
        "short_factor",
        "long_factor",
    ),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
}
"""Keys of each rope type in addition to `theta`, by transformers' names."""


class Rope(Parameters):
    """How positions turn into angles (transformers' `rope_parameters`)."""

    type: Literal["default", "linear", "dynamic", "yarn", "longrope", "llama3"] = "default"
    """linear: position interpolation; dynamic: NTK scaling by the length of the text; default with
    another theta: adjusted base frequency.
    """
    theta: float | None = pydantic.Field(default=None, gt=0)
    """None: the base's."""
    factor: float | None = pydantic.Field(default=None, ge=1)
    """None: `positions` divided by the positions that the base was trained with."""
    original_max_position_embeddings: int | None = pydantic.Field(default=None, gt=0)
    """None: the positions that the base was trained with, from its configuration."""
    attention_factor: float | None = pydantic.Field(default=None, gt=0)
    beta_fast: float | None = pydantic.Field(default=None, gt=0)
    beta_slow: float | None = pydantic.Field(default=None, gt=0)
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool | None = None
    short_factor: tuple[float, ...] | None = None
    long_factor: tuple[float, ...] | None = None
    low_freq_factor: float | None = pydantic.Field(default=None, gt=0)
    """For llama3; None: 1, as in Llama-3.1."""
    high_freq_factor: float | None = pydantic.Field(default=None, gt=0)
    """For llama3; None: 4, as in Llama-3.1."""

    @pydantic.model_validator(mode="after")
    def _only_its_own(self) -> Self:
        stated = {name for name in self.model_fields_set if getattr(self, name) is not None}
        foreign = sorted(stated - {"type", "theta", *ROPE_FIELDS[self.type]})
        if foreign:
            known = ", ".join(("theta", *ROPE_FIELDS[self.type]))
            raise ValueError(
                f"{foreign[0]} does not belong to rope type {self.type}; it takes {known}"
            )
        if self.type == "longrope" and (self.short_factor is None or self.long_factor is None):
            raise ValueError(
                "rope type longrope needs short_factor and long_factor, one number per rotary pair"
            )
        low, high = self.low_freq_factor or 1.0, self.high_freq_factor or 4.0
        if low >= high:
            raise ValueError(f"low_freq_factor {low:g} must be less than high_freq_factor {high:g}")
        if (self.beta_fast or 32) < (self.beta_slow or 1):
            raise ValueError(
                f"beta_fast {self.beta_fast or 32:g} must be at least beta_slow "
                f"{self.beta_slow or 1:g}"
            )
        return self


class ContextLength(Parameters):
    """How many positions the model can read, and with which rope."""

    positions: Count = pydantic.Field(gt=0)
    rope: Rope
    """Required, because a model reads more positions badly with the base's angles. `{type: linear}`
    interpolates, `{theta: 500000}` slows the angles down, `{type: default}` keeps them.
    """
