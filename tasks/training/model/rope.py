"""Rotary angles that depend on a document's length: each document gets those it has alone.

With rope types `dynamic` and `longrope`, transformers takes the angles of a whole batch from its
longest position, and for `dynamic` keeps them for batches that follow. A document's loss then
depends on its neighbours, on the micro-batch and on what was trained before. Here every document of
a row has the angles that transformers gives it in a batch of its own, by a model fresh from disk:
the trained ones up to the trained length, beyond it those of the document's own length.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

_BY_LENGTH = ("dynamic", "longrope")


def document_lengths(positions_BT: Tensor) -> Tensor:
    """Length of the document that each position is in, (B, T); documents begin at position 0."""
    width = positions_BT.shape[1]
    index_T = torch.arange(width, device=positions_BT.device)
    # The start of the next document: the smallest start to the right of a position.
    starts_BT = torch.where(positions_BT == 0, index_T, width)
    following_BT = starts_BT.flip(1).cummin(1).values.flip(1)
    following_BT = torch.nn.functional.pad(following_BT[:, 1:], (0, 1), value=width)
    return following_BT - index_T + positions_BT


def use_angles_by_document(language_model: nn.Module, sequence_length: int) -> None:
    """Let `dynamic` and `longrope` models take angles by document, where rows can need others.

    Raises:
        ValueError: rows are longer than trained, and the model has such angles in a form of its own
            (angles by kind of layer, or results that are not laid out by position).
    """
    for module in language_model.modules():
        kinds = getattr(module, "rope_type", None)
        by_layer = isinstance(kinds, dict)
        kind = next(
            (name for name in _BY_LENGTH if name in (kinds.values() if by_layer else [kinds])),  # type: ignore[union-attr]
            None,
        )
        if kind is None or sequence_length <= (trained := _trained_positions(module, kind)):
            continue
        if by_layer:
            raise ValueError(
                f"rows of {sequence_length:,} tokens, but {kind} rope of "
                f"{type(language_model).__name__} is trained to {trained:,} and stated by kind of "
                f"layer, which Puna cannot apply document by document: lower "
                f"binning.sequence_length to {trained:,}"
            )
        module.forward = functools.partial(_forward, module, kind, trained)  # type: ignore[method-assign]


def _trained_positions(module: Any, kind: str) -> int:
    """Longest document that has the trained angles."""
    rope = module.config.rope_parameters
    if kind == "longrope":
        stated = rope.get("original_max_position_embeddings")
        nested = [part for part in rope.values() if isinstance(part, dict)]
        for part in nested:
            stated = stated or part.get("original_max_position_embeddings")
        return int(stated or module.config.max_position_embeddings)
    return int(module.original_max_seq_len)


@torch.no_grad()
def _forward(module: Any, kind: str, trained: int, x: Tensor, position_ids: Tensor) -> Any:
    """A rotary module's forward: (B, T) positions to angles, each document by its own length."""
    angles = inspect.unwrap(type(module).forward)  # below transformers' update by batch
    lengths_BT = document_lengths(position_ids)
    own = module.inv_freq
    try:
        module.inv_freq = module.original_inv_freq.to(x.device)
        results = _laid_out(angles(module, x, position_ids), position_ids)
        beyond = lengths_BT.masked_fill(lengths_BT <= trained, 0)
        if kind == "longrope":  # one set of angles for all lengths beyond
            beyond = beyond.clamp_max(trained + 1)
        for length in torch.unique(beyond).tolist():
            if not length:
                continue
            module.inv_freq, _ = ROPE_INIT_FUNCTIONS[kind](
                module.config, x.device, seq_len=torch.tensor(length, device=x.device)
            )
            others = _laid_out(angles(module, x, position_ids), position_ids)
            chosen = (beyond == length)[..., None]
            results = [
                torch.where(chosen, other, result)
                for other, result in zip(others, results, strict=True)
            ]
    finally:
        module.inv_freq = own
    return tuple(results) if len(results) > 1 else results[0]


def _laid_out(results: Any, positions_BT: Tensor) -> list[Tensor]:
    tensors = list(results) if isinstance(results, tuple) else [results]
    for tensor in tensors:
        if tensor.ndim != 3 or tensor.shape[:2] != positions_BT.shape:
            raise ValueError(
                f"rotary angles of shape {tuple(tensor.shape)} are not laid out by position, so "
                "Puna cannot apply them document by document: lower binning.sequence_length to the "
                "model's trained positions"
            )
    return tensors
