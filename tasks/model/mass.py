"""How much probability the new rows take from the old on text that needs none of them, before any training."""

from __future__ import annotations

from pathlib import Path

import torch

from tasks.model.embeddings import Growth, grow

SAMPLE = (
    "The old man walked down to the river every morning to see whether the boats had come back. He sat on a stone, "
    "watched the water and thought of his brother, who had left the village many years ago. When the sun was high he "
    "went home, made a cup of tea and wrote a short letter that he never sent."
)


@torch.no_grad()
def new_mass(base: Path, growth: Growth) -> dict[str, float]:
    """Mean share of probability on `SAMPLE` that goes to new tokens, and to rows that no token has."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.eval()
    ids = AutoTokenizer.from_pretrained(base)(
        SAMPLE, return_tensors="pt", truncation=True, max_length=int(model.config.max_position_embeddings)
    )["input_ids"]
    hidden_BTD = model.model(ids, use_cache=False).last_hidden_state
    output_VD = grow(model.get_output_embeddings().weight.detach(), growth)
    shares_V = (hidden_BTD @ output_VD.T).softmax(-1).mean((0, 1))
    new = [row.id for row in growth.rows]
    size = max([growth.old - 1, *new]) + 1
    return {"new_tokens": round(float(shares_V[new].sum()), 8), "padding": round(float(shares_V[size:].sum()), 8)}
