"""How much probability the new rows take from the old on text that needs none of them, before any
training.

The body runs with one layer in memory and the head goes by in blocks of rows, so a model of any
size is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tasks.checkpoints.tokenizer_files import read_tokenizer
from tasks.model.checkpoint import Layout
from tasks.model.embeddings import Matrix
from tasks.model.importance import HEAD_ROWS, LLAMA_STYLE, Body

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
    """Mean share of probability on `SAMPLE` that goes to new tokens, and to rows that no token has.

    Args:
        folder: the new checkpoint.
        base: whose tokenizer reads the sample, so that no new token is in it.
        new: ids of the new tokens.
        unused: ids of rows that no token has.
    """
    layout, body = Layout.read(folder), Body(folder)
    ids = read_tokenizer(base).encode(SAMPLE).ids[: int(layout.config["max_position_embeddings"])]
    states = body.embed([ids])
    for layer in body.each_layer():
        states = [layer(state_1TD) for state_1TD in states]
    hidden_TD = body.normed(states)[0][0]
    matrix = Matrix(layout.tensors[layout.output or layout.input])
    blocks = []
    for low in range(0, layout.rows, HEAD_ROWS):
        rows_VD = torch.from_numpy(matrix.values(slice(low, low + HEAD_ROWS))).float()
        blocks.append(hidden_TD @ rows_VD.T)
    shares_V = torch.cat(blocks, 1).softmax(-1).double().mean(0)
    return {
        "new_tokens": round(float(shares_V[list(new)].sum()), 8),
        "padding": round(float(shares_V[list(unused)].sum()), 8),
    }
