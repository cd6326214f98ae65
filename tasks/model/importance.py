"""Measures how much each layer of a base matters on a sample of text, with one layer in memory.

Block influence (ShortGPT, Men et al. 2024, arXiv:2403.03853):

1. Embed the sample: a text of T tokens gives states X_0 of shape (T, D).
2. Load layer l into the one layer that is built, and run it on every text: X_l = layer_l(X_(l-1)).
3. BI_l = 1 - the mean over all tokens t of cos(X_(l-1)[t], X_l[t]), in float64.
4. Replace the states with X_l, and repeat from 2 with the next layer.

A layer that hardly turns its input has a BI near 0 and is cheap to drop.
Example: with D = 2 and two tokens, layer l maps (1, 0) to (3, 0) and (0, 1) to (1, 1). The cosines
are 1 and 0.707, so BI_l = 1 - 0.854 = 0.146; growing in length alone does not count.

Loss, the other measure: for each layer k a variant of the model skips k, and its importance is the
loss of that variant minus the loss of the full model. A variant shares all states before layer k
with the full model, so it is split off there; after layer l there are l variants.

Symbols: L layers, T tokens of a text, D hidden size. Models are run in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from infra.stage import StageError
from tasks.checkpoints.tokenizer_files import read_tokenizer
from tasks.model.stage import Measure
from tasks.model.streamed_model import StreamedModel

SAMPLE_TEXTS = 16
"""Number of texts: the first that have at least two tokens."""

SAMPLE_TOKENS = 256
"""Tokens read of each text; 16 x 256 tokens x 4,096 dimensions are 64 MiB in float32."""

SAMPLE_CHARACTERS = 32 * SAMPLE_TOKENS
"""Characters of each text passed to the tokenizer, at most."""


def rank_layers(base: Path, texts: Sequence[str], measure: Measure) -> list[float]:
    """One value per layer of the checkpoint `base`, in order; higher for layers that matter more.

    Each text is one row of ids, cut at `SAMPLE_TOKENS`. Block influence reads and runs each of the
    L layers once, and holds one layer and the sample's states. Loss (nats per token) also reads
    each layer once, but runs about L^2 / 2 layers and holds the states of L + 1 models: 2 GiB for
    32 layers of 4,096 dimensions.

    Raises:
        StageError: no text has two tokens, the base is not Llama-style, or its tensors do not
            match its configuration.
    """
    model = StreamedModel(base)
    rows = sample(base, texts)
    with torch.no_grad():
        states = model.embed(rows)
        if measure == "block-influence":
            return block_influences(model, states)
        return loss_changes(model, states, rows)


def sample(base: Path, texts: Sequence[str]) -> list[list[int]]:
    """Token ids, BOS included, of the first `SAMPLE_TEXTS` texts that have at least two."""
    tokenizer = read_tokenizer(base)
    tokenizer.encode_special_tokens = True  # "</s>" in a page is plain text
    rows: list[list[int]] = []
    for text in texts:
        ids = tokenizer.encode(text[:SAMPLE_CHARACTERS]).ids[:SAMPLE_TOKENS]
        if text and len(ids) >= 2:
            rows.append(ids)
        if len(rows) == SAMPLE_TEXTS:
            break
    if not rows:
        raise StageError(
            f"layers cannot be ranked: none of {len(texts)} texts has two tokens; add sources with "
            "text, or give a list of layers"
        )
    return rows


def block_influences(model: StreamedModel, states: list[torch.Tensor]) -> list[float]:
    """Block influence of every layer; `states` (1, T, D) of each text are overwritten."""
    influences = []
    for layer in model.each_layer():
        similarity = []
        for index, before_1TD in enumerate(states):
            states[index] = layer(before_1TD)
            similarity.append(
                torch.cosine_similarity(
                    before_1TD.double(), states[index].double(), dim=-1
                ).flatten()
            )
        influences.append(1 - float(torch.cat(similarity).mean()))
    return influences


def loss_changes(
    model: StreamedModel, states: list[torch.Tensor], rows: Sequence[Sequence[int]]
) -> list[float]:
    """Loss without each layer minus the full model's, in nats per token.

    `variants[k]`: states of the model that skips layer k. `states` (1, T, D) of each text are the
    full model's, and are overwritten.
    """
    variants: list[list[torch.Tensor]] = []
    for layer in model.each_layer():
        # Earlier variants run this layer; the new one skips it and takes the states before it.
        for variant in variants:
            variant[:] = [layer(state_1TD) for state_1TD in variant]
        variants.append(list(states))
        states[:] = [layer(state_1TD) for state_1TD in states]
    full, *without = model.losses([states, *variants], rows)
    return [loss - full for loss in without]
