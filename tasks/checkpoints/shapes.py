"""Shapes of language models: what a plan needs to know of a model without its weights.

A shape is a name (`llama-2-7b`), the sizes themselves, or read from a checkpoint's config.json.
Sizes of named shapes are those of the published configurations. Only decoders built as Llama's
are known (attention with grouped heads, a gated MLP, RMS norms): parameters of others would be
counted wrongly, so they are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

import pydantic

from infra.stage import Parameters

Size = Annotated[int, pydantic.Field(gt=0, le=1 << 27)]
Layers = Annotated[int, pydantic.Field(gt=0, le=10_000)]
"""Bounds far beyond any model: a file that states more lies, and counting it would take for ever.
"""


class ShapeError(ValueError):
    """A configuration whose parameters cannot be counted; names the key and the next action."""


class ModelShape(Parameters):
    """Sizes of a decoder, by transformers' names; `name` takes the others from a known shape."""

    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Layers
    num_attention_heads: Size
    num_key_value_heads: Size | None = pydantic.Field(
        default=None, description="heads of keys and values; by default as many as of queries"
    )
    vocab_size: Size = pydantic.Field(
        default=32_000, description="rows of the embedding matrices, unless the tokenizer grows"
    )
    head_dim: Size | None = pydantic.Field(
        default=None, description="width of a head; by default hidden_size / num_attention_heads"
    )
    tie_word_embeddings: bool = False
    max_position_embeddings: Size | None = None
    qkv_bias: bool = False
    output_bias: bool = pydantic.Field(default=False, description="bias of attention's output")
    mlp_bias: bool = False
    qk_norm: bool = pydantic.Field(default=False, description="RMS norms of queries and keys")

    @pydantic.model_validator(mode="before")
    @classmethod
    def _of_name(cls, data: Any) -> Any:
        """`{name: llama-2-7b, vocab_size: 69104}`: a known shape with other sizes."""
        if not isinstance(data, dict) or "name" not in data:
            return data
        known = SHAPES[_known(data["name"])].model_dump()
        return known | {key: value for key, value in data.items() if key != "name"}

    @pydantic.model_validator(mode="after")
    def _heads_divide(self) -> Self:
        heads = self.num_attention_heads
        if self.head_dim is None and self.hidden_size % heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} does not divide into {heads} heads; change "
                "num_attention_heads, or state head_dim"
            )
        if heads % self.key_value_heads:
            raise ValueError(
                f"num_attention_heads {heads} is not a multiple of num_key_value_heads "
                f"{self.key_value_heads}; change one"
            )
        return self

    @property
    def key_value_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def attention_width(self) -> int:
        """Query heads x their width."""
        return self.num_attention_heads * (
            self.head_dim or self.hidden_size // self.num_attention_heads
        )

    @property
    def key_value_width(self) -> int:
        """Key and value heads x their width."""
        return self.attention_width // self.num_attention_heads * self.key_value_heads

    def linears(self) -> dict[str, tuple[int, int]]:
        """The matrices of a layer: name -> (inputs, outputs)."""
        hidden, wide, narrow = self.hidden_size, self.attention_width, self.key_value_width
        return {
            "q_proj": (hidden, wide),
            "k_proj": (hidden, narrow),
            "v_proj": (hidden, narrow),
            "o_proj": (wide, hidden),
            "gate_proj": (hidden, self.intermediate_size),
            "up_proj": (hidden, self.intermediate_size),
            "down_proj": (self.intermediate_size, hidden),
        }

    @property
    def layer_matrices(self) -> int:
        """Parameters in the matrices of one layer."""
        return sum(inputs * outputs for inputs, outputs in self.linears().values())

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer: matrices, biases and norms."""
        vectors = 2 * self.hidden_size
        if self.qkv_bias:
            vectors += self.attention_width + 2 * self.key_value_width
        if self.output_bias:
            vectors += self.hidden_size
        if self.mlp_bias:
            vectors += 2 * self.intermediate_size + self.hidden_size
        if self.qk_norm:
            vectors += 2 * self.attention_width // self.num_attention_heads
        return self.layer_matrices + vectors

    @property
    def embedding(self) -> int:
        """Parameters of one embedding matrix."""
        return self.vocab_size * self.hidden_size

    @property
    def embeddings(self) -> int:
        """Parameters of input and output embeddings; a tied matrix counts once."""
        return self.embedding * (1 if self.tie_word_embeddings else 2)

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.embeddings + self.num_hidden_layers * self.layer_parameters + self.hidden_size

    @property
    def matmul_parameters(self) -> int:
        """Parameters of matrix products that a token passes: layers and head, not the lookup."""
        return self.num_hidden_layers * self.layer_matrices + self.embedding

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Shapes of a checkpoint's tensors, by transformers' names."""
        hidden, wide, narrow = self.hidden_size, self.attention_width, self.key_value_width
        linears = self.linears()
        place = {name: "self_attn" if name in _ATTENTION else "mlp" for name in linears}
        layer: dict[str, tuple[int, ...]] = {
            f"{place[name]}.{name}.weight": (outputs, inputs)
            for name, (inputs, outputs) in linears.items()
        }
        layer |= {f"{norm}_layernorm.weight": (hidden,) for norm in ("input", "post_attention")}
        biases: dict[str, int] = {}
        if self.qkv_bias:
            biases |= {"q_proj": wide, "k_proj": narrow, "v_proj": narrow}
        if self.output_bias:
            biases |= {"o_proj": hidden}
        if self.mlp_bias:
            sizes = self.intermediate_size, self.intermediate_size, hidden
            biases |= dict(zip(("gate_proj", "up_proj", "down_proj"), sizes, strict=True))
        layer |= {f"{place[name]}.{name}.bias": (size,) for name, size in biases.items()}
        if self.qk_norm:
            head = wide // self.num_attention_heads
            layer |= {f"self_attn.{name}.weight": (head,) for name in ("q_norm", "k_norm")}
        found = {
            f"model.layers.{number}.{name}": shape
            for number in range(self.num_hidden_layers)
            for name, shape in layer.items()
        }
        matrices = {"model.embed_tokens.weight": (self.vocab_size, hidden)}
        if not self.tie_word_embeddings:
            matrices["lm_head.weight"] = (self.vocab_size, hidden)
        return {**matrices, "model.norm.weight": (hidden,), **found}

    def grown(self, vocabulary: int | None = None, layers: int | None = None) -> ModelShape:
        """The shape with another vocabulary or number of layers."""
        changes = {"vocab_size": vocabulary, "num_hidden_layers": layers}
        return self.model_copy(update={k: v for k, v in changes.items() if v is not None})

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ModelShape:
        """The shape of a checkpoint's config.json.

        Raises:
            ShapeError: another kind of model, or sizes that are missing or wrong.
        """
        kind = config.get("model_type")
        if kind not in KINDS:
            raise ShapeError(
                f"model_type {kind!r}: parameters of this kind of model cannot be counted (known: "
                f"{', '.join(KINDS)}); state model.shape with sizes that come close"
            )
        biased = bool(config.get("attention_bias", False))
        values = {name: config[name] for name in _FROM_CONFIG if config.get(name) is not None}
        values |= {
            "tie_word_embeddings": bool(config.get("tie_word_embeddings", False)),
            "qkv_bias": biased or kind == "qwen2",
            "output_bias": biased and kind != "qwen2",
            "mlp_bias": bool(config.get("mlp_bias", False)),
            "qk_norm": kind == "qwen3",
        }
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            raise ShapeError(f"config.json: {place}: {message}" if place else message) from None


_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")

_FROM_CONFIG = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "head_dim",
    "max_position_embeddings",
)

KINDS = ("llama", "mistral", "qwen2", "qwen3")
"""transformers' model types whose parameters are counted exactly."""


def _llama(
    hidden: int, mlp: int, layers: int, heads: int, kv: int, vocabulary: int, positions: int
) -> ModelShape:
    return ModelShape(
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        vocab_size=vocabulary,
        max_position_embeddings=positions,
    )


SHAPES = {
    "llama-1-7b": _llama(4096, 11008, 32, 32, 32, 32_000, 2048),
    "llama-1-13b": _llama(5120, 13824, 40, 40, 40, 32_000, 2048),
    "llama-1-33b": _llama(6656, 17920, 60, 52, 52, 32_000, 2048),
    "llama-1-65b": _llama(8192, 22016, 80, 64, 64, 32_000, 2048),
    "llama-2-7b": _llama(4096, 11008, 32, 32, 32, 32_000, 4096),
    "llama-2-13b": _llama(5120, 13824, 40, 40, 40, 32_000, 4096),
    "llama-2-70b": _llama(8192, 28672, 80, 64, 8, 32_000, 4096),
    "llama-3-8b": _llama(4096, 14336, 32, 32, 8, 128_256, 8192),
    "llama-3-70b": _llama(8192, 28672, 80, 64, 8, 128_256, 8192),
    "llama-3-6b": _llama(4096, 14336, 24, 32, 8, 128_256, 8192),
    "tinyllama-1.1b": _llama(2048, 5632, 22, 32, 4, 32_000, 2048),
}
"""Published configurations; llama-3-6b is Llama-3-8B cut to 24 layers."""


def _form(value: Any) -> str:
    return "sizes" if isinstance(value, (dict, ModelShape)) else "name"


def _known(name: str) -> str:
    if name not in SHAPES:
        raise ValueError(
            f"{name!r} is not a known shape; known: "
            f"{', '.join(SHAPES)}; or state the sizes: {{hidden_size: ..., intermediate_size: ..., "
            "num_hidden_layers: ..., num_attention_heads: ...}"
        )
    return name


ShapeField = Annotated[
    Annotated[str, pydantic.AfterValidator(_known), pydantic.Tag("name")]
    | Annotated[ModelShape, pydantic.Tag("sizes")],
    pydantic.Discriminator(_form),
]
"""A shape as recipes state it: a known name, sizes, or a name and sizes that differ."""


def shape_of(stated: str | ModelShape) -> ModelShape:
    """The sizes of a stated shape."""
    return SHAPES[stated] if isinstance(stated, str) else stated
