"""Parameters of stage model."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import pydantic

from infra.quantities import Bytes
from infra.stage import FILE, NOT_IDENTITY, Output, Parameters, Role, Stage
from tasks.checkpoints.context import ContextLength
from tasks.checkpoints.shapes import ShapeField


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
    seed: int = pydantic.Field(default=0, ge=0, lt=2**32)

    @pydantic.model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if (
            self.hidden_size % self.num_attention_heads
            or self.hidden_size // self.num_attention_heads % 2
        ):
            raise ValueError(
                f"hidden_size {self.hidden_size} over num_attention_heads "
                f"{self.num_attention_heads} must be even"
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}"
            )
        return self


Method = Literal["mean", "mean-norm", "first", "last", "global-mean", "random", "zero"]
"""Where a new token's row comes from; see `tasks.model.embeddings.new_rows`."""


class Embeddings(Parameters):
    """A method for each matrix; a tied model has one matrix, so both must be equal there."""

    input: Method = "mean"
    output: Method = "mean"


Measure = Literal["block-influence", "loss"]
"""How a layer's importance is measured; see `tasks.model.importance`."""


class LayerChoice(Parameters):
    """Which layers of the base to keep, in order: exactly one of `first`, `ends`, `important`."""

    first: int | None = pydantic.Field(default=None, gt=0)
    """The first N."""
    ends: int | None = pydantic.Field(default=None, gt=0)
    """N layers: half from the start, half from the end; for an odd N, one more from the start."""
    important: int | None = pydantic.Field(default=None, gt=0)
    """The N layers that matter most by `measure` on 16 training documents, taken from the files of
    all sources in turn.
    """
    measure: Measure = "block-influence"

    @pydantic.model_validator(mode="after")
    def _one_choice(self) -> Self:
        stated = [
            name for name in ("first", "ends", "important") if getattr(self, name) is not None
        ]
        if len(stated) != 1:
            raise ValueError(
                "state exactly one of `first: N`, `ends: N`, `important: N`, or a list of layers; "
                f"{' and '.join(stated) or 'none'} stated"
            )
        if self.important is None and "measure" in self.model_fields_set:
            raise ValueError(f"measure belongs to `important: N`, not to `{stated[0]}`")
        return self


def _layers_form(value: Any) -> str | None:
    if isinstance(value, (list, tuple)):
        return "LayerList"
    return "LayerChoice" if isinstance(value, (dict, LayerChoice)) else None


def _methods_form(value: Any) -> str:
    return "Embeddings" if isinstance(value, (dict, Embeddings)) else "Method"


LayerIndex = Annotated[int, pydantic.Field(ge=0)]
Layers = Annotated[
    Annotated[tuple[LayerIndex, ...], pydantic.Field(min_length=1), pydantic.Tag("LayerList")]
    | Annotated[LayerChoice, pydantic.Tag("LayerChoice")],
    pydantic.Discriminator(
        _layers_form,
        custom_error_type="layers",
        custom_error_message=(
            "layers are a list such as [0, 1, 3], {first: 24}, {ends: 24} or {important: 24}"
        ),
    ),
]
Methods = Annotated[
    Annotated[Method, pydantic.Tag("Method")] | Annotated[Embeddings, pydantic.Tag("Embeddings")],
    pydantic.Discriminator(_methods_form),
]


class ModelParameters(Parameters):
    """Either a `base`, whose embeddings grow to the tokenizer and whose layers and context can be
    changed, or `create`.
    """

    base: Annotated[str | None, FILE] = None
    """Folder with a Hugging Face checkpoint (safetensors), Meta's (`consolidated.*.pth`) or
    llama2.c's files; or an artifact.
    """
    create: Create | None = None
    shape: Annotated[ShapeField | None, NOT_IDENTITY] = None
    """Sizes of the base, by name (`llama-2-7b`) or stated, for `puna plan` where the base's own
    configuration cannot be read. Without `base` and `create` the recipe can be planned, not run.
    """
    embeddings: Methods = "mean"
    """Values of new rows: the mean of the base's rows of the token's text (`mean`), scaled to the
    mean length of the base's rows (`mean-norm`); the row of the `first` or `last` sub-token; the
    mean of all the base's rows (`global-mean`); or normal noise (`random`).
    `{input: ..., output: ...}` states a method for each matrix.
    """
    layers: Layers | None = None
    """Layers to keep: a list of indices (a repeated index repeats the layer), `first`, `ends` or
    `important`. None: all.
    """
    context: ContextLength | None = None
    """None: as the base."""
    pad_to_multiple_of: int = pydantic.Field(default=1, ge=1)
    """Pads the rows of the embedding matrices; the tokenizer keeps its size."""
    max_file_bytes: Bytes = pydantic.Field(default=5_000_000_000, gt=0)
    """Limit on the tensors in a weight file; a larger tensor is in a separate file."""
    seed: int = pydantic.Field(default=0, ge=0, lt=2**32)
    """Random seed of `embeddings: random`."""

    @property
    def positions(self) -> int | None:
        """Positions that the recipe states; None: the base's own."""
        if self.create is not None:
            return self.create.max_position_embeddings
        return self.context.positions if self.context is not None else None

    @property
    def only_planned(self) -> bool:
        """Whether there is a shape but nothing to take weights from."""
        return self.base is None and self.create is None

    @property
    def needs_text(self) -> bool:
        """Whether the stage reads select artifacts, in order to measure layers."""
        return isinstance(self.layers, LayerChoice) and self.layers.important is not None

    @pydantic.model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.base is not None and self.create is not None:
            raise ValueError("model: state either a `base` or `create: {hidden_size: ...}`")
        if self.base is None and self.create is None and self.shape is None:
            raise ValueError(
                "model: state a `base`, or `create: {hidden_size: ...}`, or for a plan without "
                "weights a `shape`"
            )
        if self.create is not None and self.shape is not None:
            raise ValueError("model.shape: `create` states the sizes already; remove `shape`")
        if self.create is not None:
            for name in ("layers", "context"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"model.{name} changes a base; for a new model, state num_hidden_layers "
                        "and max_position_embeddings in `create` instead"
                    )
        return self


STAGE = Stage(
    "model",
    version=4,
    parameters=ModelParameters,
    run="tasks.model.run:run",
    check="tasks.model.check:faults",
    summary=(
        "the base with embeddings grown to the tokenizer, layers chosen and context extended; or a "
        "new Llama"
    ),
    section="model",
    inputs=(
        Role("tokenizer", ("tokenizer",), content=True),
        Role("base", ("model", "training"), optional=True),
        Role("select", ("select",), many=True, optional=True, content=True),
    ),
    outputs=(Output("checkpoint/*", "files that `from_pretrained` reads"),),
)
