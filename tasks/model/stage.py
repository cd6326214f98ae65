"""Parameters of stage model."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import pydantic

from infra.stage import FILE, Parameters, Stage


class Create(Parameters):
    """The shape and initialisation of a new Llama; its vocabulary is the tokenizer's."""

    hidden_size: int = pydantic.Field(gt=0)
    intermediate_size: int = pydantic.Field(gt=0)
    num_hidden_layers: int = pydantic.Field(gt=0)
    num_attention_heads: int = pydantic.Field(gt=0)
    num_key_value_heads: int = pydantic.Field(gt=0)
    max_position_embeddings: int = pydantic.Field(gt=0)
    rope_theta: float = pydantic.Field(default=10_000.0, gt=0)
    tie_word_embeddings: bool = False
    initializer_range: float = pydantic.Field(default=0.02, gt=0)
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    seed: int = 0

    @pydantic.model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden_size % self.num_attention_heads or self.hidden_size // self.num_attention_heads % 2:
            raise ValueError(
                f"hidden_size {self.hidden_size} over num_attention_heads {self.num_attention_heads} must be even"
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is no multiple of num_key_value_heads "
                f"{self.num_key_value_heads}"
            )
        return self


class ModelParameters(Parameters):
    """Either a `base` whose embeddings grow to the tokenizer, or `create`."""

    base: Annotated[str | None, FILE] = None
    """Folder of a Hugging Face checkpoint (safetensors) or of llama2.c's files; or an artifact."""
    create: Create | None = None
    embeddings: Literal["mean", "global-mean", "random"] = "mean"
    """New rows: mean of the base's rows of the token's text, mean of all the base's rows, or normal noise."""
    pad_to_multiple_of: int = pydantic.Field(default=1, ge=1)
    """Rows of the embedding matrices; the tokenizer keeps its own size."""
    seed: int = 0
    """Of `embeddings: random`."""

    @pydantic.model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.base is None) == (self.create is None):
            raise ValueError("model: state either a `base` or `create: {hidden_size: ...}`")
        return self


STAGE = Stage(
    "model",
    version=2,
    parameters=ModelParameters,
    run="tasks.model.run:run",
    summary="the base with its embeddings grown to the tokenizer, or a new Llama",
)
