"""The recipe's `training.adapter:`. Imports are light: pydantic and the standard library."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from infra.stage import Parameters

AdapterEmbeddings = Literal["auto", "full", "new-rows", "frozen"]
Target = Annotated[str, pydantic.Field(min_length=1)]


class Adapter(Parameters):
    """LoRA (Hu et al. 2021) on frozen layers, by PEFT; merged into plain weights at the end of the
    phase. Every phase begins with a fresh adapter.

    A weight W (out, in) computes as W + s B A; B (out, r) and A (r, in) are trained, s = alpha / r.
    """

    kind: Literal["lora", "qlora"] = pydantic.Field(
        default="lora",
        description="qlora holds the frozen layers in 4 bits (NF4 with double quantisation, "
        "Dettmers et al. 2023), by bitsandbytes; what is learnt is merged into these layers as "
        "dequantised",
    )
    r: int = pydantic.Field(default=16, ge=1, le=65_536, description="rank of the adapter")
    alpha: float = pydantic.Field(
        default=32, gt=0, description="the adapter is scaled by alpha / r"
    )
    dropout: float = pydantic.Field(
        default=0.0, ge=0, lt=1, description="dropout of the adapter's inputs"
    )
    targets: Literal["all-linear"] | tuple[Target, ...] = pydantic.Field(
        default="all-linear",
        description="modules that get an adapter: all linear ones of the decoder layers, or names "
        "(the end of the full name is enough: q_proj, or layers.0.mlp.up_proj)",
    )
    dora: bool = pydantic.Field(
        default=False, description="train magnitudes of rows apart (DoRA, Liu et al. 2024)"
    )
    rslora: bool = pydantic.Field(
        default=False, description="scale by alpha / sqrt(r) (Kalajdzievski 2023)"
    )
    embeddings: AdapterEmbeddings = pydantic.Field(
        default="auto",
        description="input and output matrices: full (trained), new-rows (only rows of tokens that "
        "the model stage added), or frozen; auto: full where it added tokens, else frozen",
    )

    @pydantic.model_validator(mode="after")
    def _has_targets(self) -> Adapter:
        if not self.targets:
            raise ValueError("targets: [] adapts nothing; write all-linear, or name modules")
        return self

    def embeddings_trained(self, has_new_rows: bool) -> Literal["full", "new-rows", "frozen"]:
        """What is trained of the input and output matrices.

        Args:
            has_new_rows: whether the model stage added tokens to the base.

        Raises:
            ValueError: rows of new tokens would stay as they were initialised, or there are none.
        """
        if self.embeddings == "auto":
            return "full" if has_new_rows else "frozen"
        if self.embeddings == "frozen" and has_new_rows:
            raise ValueError(
                "adapter.embeddings: frozen, but the model stage added tokens, whose rows would "
                "never be trained; set embeddings: full, or new-rows"
            )
        if self.embeddings == "new-rows" and not has_new_rows:
            raise ValueError(
                "adapter.embeddings: new-rows, but the model stage added no tokens to the base; "
                "set embeddings: auto, full or frozen"
            )
        return self.embeddings

    @property
    def scale(self) -> float:
        """The factor on B A."""
        return float(self.alpha / (self.r**0.5 if self.rslora else self.r))


AdapterOrSection = Annotated[
    Annotated[Adapter, pydantic.Tag("Adapter")]
    | Annotated[Literal["section"], pydantic.Tag("section")],
    pydantic.Discriminator(
        lambda value: "Adapter" if isinstance(value, (dict, Adapter)) else "section"
    ),
]
"""An adapter of a phase's own, or that of the section around it."""


def refuse_untrained(adapter: Adapter | None, trainable: str) -> None:
    """Refuse an adapter in a phase that trains no layers.

    Raises:
        ValueError: says what to do.
    """
    if adapter is not None and trainable != "all":
        raise ValueError(
            f"trainable: {trainable} leaves the layers alone, so the adapter would do nothing; set "
            "adapter: null in this phase, or trainable: all (adapter.embeddings says what of the "
            "embeddings is trained with an adapter)"
        )
