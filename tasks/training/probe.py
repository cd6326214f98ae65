"""Leak probe of the document mask: changing one document must not change another's hidden states.

Several ordinary settings silently disable the block mask (a cache, an attention mask of ones, a
flash kernel with more than one row), so every training process probes its own model once before the
first step.
"""

from __future__ import annotations

import torch

from tasks.training.loss import LossModel


class DocumentLeak(Exception):
    """Documents of one row see each other: the attention implementation ignores `position_ids`."""


@torch.no_grad()
def probe(
    model: LossModel, vocabulary: int, device: torch.device, *, tolerance: float = 1e-5
) -> float:
    """Largest relative change of the second document's hidden states when the first is replaced.

    Two rows of two documents of 8 tokens each: some kernels mask documents only in a single row.

    Raises:
        DocumentLeak: the change exceeds `tolerance`.
    """
    half = 8
    ids_BT = (torch.arange(4 * half).view(2, 2 * half) * 7 + 3) % vocabulary
    positions_BT = torch.arange(half).repeat(2).expand(2, -1)
    other_BT = ids_BT.clone()
    other_BT[:, :half] = (other_BT[:, :half] + vocabulary // 2) % vocabulary
    hidden = [model.hidden(ids.to(device), positions_BT.to(device)) for ids in (ids_BT, other_BT)]
    second, changed = (states[:, half:].double() for states in hidden)
    leak = float((second - changed).abs().max() / second.abs().max().clamp_min(1e-12))
    if not leak <= tolerance:
        raise DocumentLeak(
            f"replacing one document changed the next one's hidden states by {leak:.2e} of their "
            f"size (limit {tolerance:g}): attention ignores document boundaries. Use "
            "attn_implementation sdpa or eager with transformers >= 5 and use_cache=False"
        )
    return leak
