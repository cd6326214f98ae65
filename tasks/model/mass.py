"""Measures the probability that a new checkpoint gives its new rows before any training, on text
without new tokens.

One layer and one block of the head's rows are in memory at a time, so models of any size can be
measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tasks.checkpoints.tokenizer_files import read_tokenizer
from tasks.model.checkpoint import Checkpoint
from tasks.model.embeddings import Matrix
from tasks.model.streamed_model import HEAD_ROWS, LLAMA_STYLE, StreamedModel

SAMPLE = (
    "The old man walked down to the river every morning to see whether the boats had come back. He "
    "sat on a stone, watched the water and thought of his brother, who had left the village many "
    "years ago. When the sun was high he went home, made a cup of tea and wrote a short letter "
    "that he never sent."
)


def is_measurable(config: Mapping[str, Any]) -> bool:
    """Whether `new_mass` can run a model of this configuration."""
    return config["model_type"] in LLAMA_STYLE and not config.get("quantization_config")


@torch.no_grad()
def new_mass(folder: Path, base: Path, new: range, unused: Sequence[int]) -> dict[str, float]:
    """Mean probability, over the positions of `SAMPLE`, of new tokens and of unused rows.

    Args:
        folder: the new checkpoint.
        base: folder of the base, whose tokenizer encodes the sample without new tokens.
        new: ids of the new tokens.
        unused: ids of rows that belong to no token.
    """
    checkpoint, model = Checkpoint.read(folder), StreamedModel(folder)
    ids = (
        read_tokenizer(base).encode(SAMPLE).ids[: int(checkpoint.config["max_position_embeddings"])]
    )
    states = model.embed([ids])
    for layer in model.each_layer():
        states = [layer(state_1TD) for state_1TD in states]
    hidden_TD = model.normed(states)[0][0]
    matrix = Matrix(checkpoint.tensors[checkpoint.output or checkpoint.input])
    blocks = []
    for low in range(0, checkpoint.rows, HEAD_ROWS):
        rows_VD = torch.from_numpy(matrix.values(slice(low, low + HEAD_ROWS))).float()
        blocks.append(hidden_TD @ rows_VD.T)
    shares_V = torch.cat(blocks, 1).softmax(-1).double().mean(0)
    return {
        "new_tokens": round(float(shares_V[list(new)].sum()), 8),
        "padding": round(float(shares_V[list(unused)].sum()), 8),
    }
