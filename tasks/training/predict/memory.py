"""Memory of one rank by part, at the moment of a step when it is largest.

A step has four moments that can be the peak; each is the sum of what lives then:

| moment | lives |
|---|---|
| loss | weights, moments, activations of all layers, a chunk of logits and the head's gradient |
| backward begins | weights, moments, activations of all layers, workspace of the last one |
| backward ends | weights, moments, gradients, activations of the first layer, its workspace |
| update | weights, moments, gradients |

Gradients also live in the first two where a step has several micro-batches. Counted are tensors of
torch, without the allocator's spare room, communication buffers, kernels' workspaces and the
process itself: `ROOM` is kept free for those.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.checkpoints.shapes import ModelShape
from tasks.training.predict.activations import (
    around_layers,
    backward_workspace,
    kept_activations,
    layer_activations,
)
from tasks.training.predict.setup import Setup, adapter_parameters, trained_parameters

CHUNK_LOGITS = {"cpu": 2**22, "cuda": 2**26}
"""As `tasks.training.model.loss`."""

ROOM = 0.08
"""Share of an accelerator's memory that is not predicted: context, kernels' workspaces, buffers of
communication, fragments.
"""

QUANTISED = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a parameter in 4 bits: blocks of 64 with an 8-bit scale, these in blocks of 256 with a
float32 (Dettmers et al. 2023, arXiv:2305.14314).
"""

MOMENTS_8BIT = 2 * (1 + 4 / 256)
"""Bytes of both moments of a parameter in 8 bits, in blocks of 256 with a float32 scale."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one rank at the peak."""

    parts: dict[str, int]
    """weights, gradients, moments, activations, logits, gathered (whole copies of what is split
    over ranks, 16-bit copies of weights); zeros left out.
    """
    moment: str
    """When the peak is."""
    host: int = 0
    """Bytes in the CPU's memory with `offload`: moments, a copy of weights, gradients."""

    @property
    def total(self) -> int:
        """Bytes at the peak."""
        return sum(self.parts.values())


def chunk_tokens(vocabulary: int, device: str) -> int:
    """As `tasks.training.model.loss.chunk_tokens`, which imports torch."""
    return max(64, CHUNK_LOGITS[device] // vocabulary)


def memory_of(shape: ModelShape, setup: Setup) -> Memory:
    """The predicted peak of one rank."""
    weights, gathered = _weights(shape, setup)
    trained = trained_parameters(shape, setup)
    gradients = setup.wide * trained // setup.shards
    moments = _moments(trained, setup) // setup.shards
    layers = shape.num_hidden_layers
    one = layer_activations(shape, setup)
    all_kept = layers * kept_activations(shape, setup) + around_layers(shape, setup)
    again = one if setup.recompute != "none" else 0
    workspace = backward_workspace(shape, setup)
    stored = {"weights": weights, "moments": 0 if setup.offload else moments}
    held = gradients if setup.accumulates else 0
    head = _head_gradient(shape, setup)
    instants = {
        "loss": stored
        | {
            "gradients": held + head,
            "activations": all_kept + setup.tokens * shape.hidden_size * setup.wide,
            "logits": _logits(shape, setup),
            "gathered": gathered,
        },
        "backward begins": stored
        | {
            "gradients": max(held, head // setup.shards),
            "activations": all_kept + again + workspace,
            "gathered": gathered,
        },
        "backward ends": stored
        | {
            "gradients": gradients + _embedding_gradient(shape, setup),
            "activations": one + workspace,
            "gathered": gathered,
        },
        "update": stored | {"gradients": gradients},
    }
    moment = max(instants, key=lambda name: sum(instants[name].values()))
    host = moments + gradients * 2 if setup.offload else 0
    return Memory({k: v for k, v in instants[moment].items() if v}, moment, host)


def _weights(shape: ModelShape, setup: Setup) -> tuple[int, int]:
    """Bytes of a rank's weights, and of whole or narrow copies of them within a step.

    Beside an adapter, frozen matrices of layers are held in 4 bits, or in 16 where products are
    (weights stored in 16 bits are assumed); so they need no narrow copies.
    """
    adapter, wide, narrow = setup.adapter, setup.wide, setup.narrow
    matrices = shape.num_hidden_layers * shape.layer_matrices
    others = shape.parameters - matrices
    added = adapter_parameters(shape, adapter) if adapter is not None else 0
    if adapter is not None and adapter.quantised:
        largest = max(inputs * outputs for inputs, outputs in shape.linears().values())
        copies = largest * narrow + (added * narrow if narrow < wide else 0)
        return round(matrices * QUANTISED) + (others + added) * wide, copies
    held = narrow if adapter is not None else wide
    weights = (matrices * held + (others + added) * wide) // setup.shards
    if setup.ranks > 1:
        root = (shape.embeddings + shape.hidden_size) * wide
        layer = shape.layer_parameters * (narrow + (narrow + wide if setup.trains_layers else 0))
        layer += added // shape.num_hidden_layers * (2 * narrow + wide)
        return weights, root * (2 if setup.trains_embeddings else 1) + 2 * layer
    copied = matrices if adapter is None else added
    return weights, copied * narrow if narrow < wide else 0


def _moments(trained: int, setup: Setup) -> int:
    if setup.optimizer.endswith("8bit"):
        return round(trained * MOMENTS_8BIT)
    return 2 * trained * setup.wide


def _logits(shape: ModelShape, setup: Setup) -> int:
    """A chunk's logits and their exponentials, float32; in 16 bits a copy of the head's matrix."""
    chunk = min(setup.tokens, chunk_tokens(shape.vocab_size, setup.device))
    narrow = setup.narrow if setup.narrow < setup.wide else 0
    return 2 * chunk * shape.vocab_size * setup.wide + narrow * shape.embedding


def _head_gradient(shape: ModelShape, setup: Setup) -> int:
    """The head's gradient of one micro-batch, and in 16 bits that of one chunk."""
    if not setup.trains_embeddings:
        return 0
    narrow = setup.narrow if setup.narrow < setup.wide else 0
    return shape.embedding * (setup.wide + narrow)


def _embedding_gradient(shape: ModelShape, setup: Setup) -> int:
    """The input embedding's gradient of a micro-batch, before it is added to what is there."""
    if not setup.trains_embeddings or not (setup.accumulates or shape.tie_word_embeddings):
        return 0
    return shape.embedding * setup.wide
