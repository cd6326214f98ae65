"""Bytes of activations that a decoder layer keeps for its backward pass.

Symbols: n tokens of the micro-batch, D hidden size, A and K widths of queries and of keys (heads x
their size), F width of the MLP, T row length; w bytes of a number of the residual stream, e of one
in matrix products. With 16-bit products (autocast) the stream and the norms stay float32, and every
matrix keeps a 16-bit copy of its input. What transformers' layer keeps (counted by
`saved_tensors_hooks` in the tests):

| part | kept |
|---|---|
| two norms | input: 2 n D w; normalised, for the norm's own gradient: 2 n D w |
| q, k, v | input: n D w together; in 16 bits 3 n D e |
| attention | q, output: 2 n A e; k, v: 2 n K e, or 2 n A e where a mask makes heads be repeated; a
  number for each head and token; with a mask n T e |
| gate, up | input: n D w together; in 16 bits 2 n D e |
| MLP | gate, its activation, up: 3 n F e; product, for the down matrix: n F e |

A frozen matrix keeps no input, a frozen norm nothing but its input.
"""

from __future__ import annotations

from tasks.checkpoints.shapes import ModelShape
from tasks.training.predict.setup import Setup

_GROUPS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Matrices that share their input."""


def layer_activations(shape: ModelShape, setup: Setup) -> int:
    """Bytes that one layer keeps without recomputing."""
    n, hidden, wide, narrow = setup.tokens, shape.hidden_size, setup.wide, setup.narrow
    kept = 2 * n * (hidden * wide + 4)  # inputs of norms, and their scales in float32
    if setup.trains_layers:
        kept += 2 * n * hidden * wide
    for group in _GROUPS:
        copies = sum(setup.saves_input(name) for name in group)
        kept += n * hidden * (copies * narrow if narrow != wide else min(copies, 1) * wide)
    kept += _attention(shape, setup)
    kept += n * shape.intermediate_size * narrow * (4 if setup.saves_input("down_proj") else 3)
    if shape.qk_norm:
        kept += n * (shape.attention_width + shape.key_value_width) * (
            wide + (narrow if setup.trains_layers else 0)
        ) + 4 * n * (shape.num_attention_heads + shape.key_value_heads)
    return kept + _adapters(shape, setup)


def _attention(shape: ModelShape, setup: Setup) -> int:
    n, narrow = setup.tokens, setup.narrow
    masked = setup.document_mask and not setup.by_lengths
    keys = shape.attention_width if masked else shape.key_value_width
    kept = n * (2 * shape.attention_width + 2 * keys) * narrow
    kept += n * shape.num_attention_heads * max(4, narrow)
    return kept + (n * setup.sequence_length * narrow if masked else 0)


def _adapters(shape: ModelShape, setup: Setup) -> int:
    """Low-rank products, and with dropout the mask and what is left of the input."""
    adapter = setup.adapter
    if adapter is None:
        return 0
    linears = shape.linears()
    dropped = 1 + setup.wide if adapter.dropout else 0
    return setup.tokens * sum(
        adapter.rank * setup.narrow + linears[name][0] * dropped for name in adapter.targets
    )


def kept_activations(shape: ModelShape, setup: Setup) -> int:
    """Bytes that one layer keeps with the setup's recomputing: nothing is made again, or all but
    its input, or (`selective`) all but its input, the results of matrices and attention.
    """
    if setup.recompute == "none":
        return layer_activations(shape, setup)
    n, kept = setup.tokens, setup.tokens * shape.hidden_size * setup.wide
    if setup.recompute == "selective":
        outputs = sum(width for _, width in shape.linears().values())
        kept += n * (outputs + shape.attention_width) * setup.narrow
        kept += n * shape.num_attention_heads * max(4, setup.narrow)
    return kept


def around_layers(shape: ModelShape, setup: Setup) -> int:
    """Bytes kept outside of layers: the last norm, angles, ids, labels and positions."""
    n = setup.tokens
    norm = n * shape.hidden_size * setup.wide * (2 if setup.trains_layers else 1)
    angles = 2 * n * (shape.attention_width // shape.num_attention_heads) * setup.wide
    mask = n * setup.sequence_length if setup.document_mask and not setup.by_lengths else 0
    return norm + angles + mask + 3 * 8 * n


def backward_workspace(shape: ModelShape, setup: Setup) -> int:
    """Gradients of activations that live at once in a layer's backward pass: two of the MLP's width
    beyond what is freed meanwhile, and two of the residual stream.
    """
    n = setup.tokens
    return 2 * n * (shape.intermediate_size * setup.narrow + shape.hidden_size * setup.wide)
