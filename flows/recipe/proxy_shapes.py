"""Small Llamas of about a given number of parameters, as proxies of a mixture search."""

from __future__ import annotations

from tasks.checkpoints.shapes import ModelShape
from tasks.model.stage import Create

_STEP = 16
"""Hidden sizes are multiples of it, so that heads have an even size."""
_WIDTH_PER_LAYER = 32
"""Proportion of width and depth; 4,096 and 32 layers, of Llama 7B, would leave one layer."""
_LARGEST = 4096


def shape_of_size(parameters: int, vocabulary: int, positions: int) -> Create:
    """The shape whose parameters, embeddings included (tied), come nearest to a number.

    Raises:
        ValueError: the embeddings of the smallest model are more than twice as many.
    """
    shapes = [_shape(width, positions) for width in range(_STEP, _LARGEST + 1, _STEP)]
    sizes = [_size(shape, vocabulary) for shape in shapes]
    best = min(range(len(sizes)), key=lambda n: abs(sizes[n] - parameters))
    if sizes[best] > 2 * parameters:
        raise ValueError(
            f"parameters: {parameters:,} are too few for a vocabulary of {vocabulary:,}: the "
            f"smallest model has {sizes[0]:,}; state more, or a smaller tokenizer"
        )
    return shapes[best]


def _shape(width: int, positions: int) -> Create:
    heads = max(1, width // _WIDTH_PER_LAYER)
    while width % heads or width // heads % 2:
        heads -= 1
    return Create(
        hidden_size=width,
        intermediate_size=_STEP * round(8 / 3 * width / _STEP),
        num_hidden_layers=max(2, width // _WIDTH_PER_LAYER),
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
    )


def _size(shape: Create, vocabulary: int) -> int:
    return model_shape(shape, vocabulary).parameters


def model_shape(shape: Create, vocabulary: int) -> ModelShape:
    """The sizes of a proxy with its vocabulary."""
    sizes = shape.model_dump(include=set(ModelShape.model_fields))
    return ModelShape.model_validate({**sizes, "vocab_size": vocabulary})
