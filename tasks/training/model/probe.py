"""Start-up probes: what training computes is compared with the model itself, before the first step.

`probe` (document mask): changing one document must not change another's hidden states. Several
ordinary settings silently disable the block mask (a cache, an attention mask of ones, a flash
kernel with more than one row), so every training process probes its own model, with the attention,
the precision and the modes (dropout too) that training has. A later token must not change an
earlier one either.

`probe_loss`: our chunked loss must be that of the model's own forward pass, whatever it does
between hidden states and loss.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from tasks.training.model.heads import UnknownHead
from tasks.training.model.loss import LossModel

HALF = 8
"""Tokens of each of the two documents of a probed row."""


class DocumentLeak(Exception):
    """Documents of one row see each other: the attention implementation ignores `position_ids`."""


@torch.no_grad()
def probe(
    model: LossModel,
    vocabulary: int,
    device: torch.device,
    *,
    document_mask: bool = True,
    autocast: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
    tolerance: float | None = None,
) -> float:
    """Largest relative change of the second document's hidden states when the first is replaced.

    Two rows of two documents: some kernels mask documents only in a single row. Runs in eval and in
    train mode. Without a document mask the two are one document, and only causality is checked.

    Args:
        autocast: makes the context in which training runs its forward pass.
        tolerance: by default 1e-5, and 1e-2 where products are made in 16 bits.

    Raises:
        DocumentLeak: the change exceeds `tolerance`.
    """
    ids_BT = (torch.arange(4 * HALF).view(2, 2 * HALF) * 7 + 3) % vocabulary
    lengths = (HALF, HALF) if document_mask else (2 * HALF,)
    positions_T = torch.cat([torch.arange(length) for length in lengths])
    positions_BT = positions_T.expand(2, -1).to(device)
    replaced = (ids_BT + vocabulary // 2) % vocabulary
    first, second = ids_BT.clone(), ids_BT.clone()
    first[:, :HALF] = replaced[:, :HALF]
    second[:, HALF:] = replaced[:, HALF:]

    def states(ids: Tensor) -> Tensor:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), autocast():
            torch.manual_seed(0)  # the same dropout in every pass
            return model.hidden(ids.to(device), positions_BT)

    leak, was_training = 0.0, model.training
    try:
        for training in (False, True):
            model.train(training)
            usual = states(ids_BT)
            if document_mask:
                leak = max(leak, _change(usual[:, HALF:], states(first)[:, HALF:]))
            ahead = _change(usual[:, :HALF], states(second)[:, :HALF])
            limit = _limit(usual, device, autocast) if tolerance is None else tolerance
            if not leak <= limit:
                raise DocumentLeak(
                    f"replacing one document changed the next one's hidden states by {leak:.2e} of "
                    f"their size (limit {limit:g}): attention ignores document boundaries. Use "
                    "training.attention: sdpa with transformers >= 5; models whose layers pass a "
                    "state along the row (Mamba and other recurrent ones) need "
                    "training.document_mask: false"
                )
            if not ahead <= limit:
                raise DocumentLeak(
                    f"replacing later tokens changed the hidden states of earlier ones by "
                    f"{ahead:.2e} of their size (limit {limit:g}): attention is not causal. Use "
                    "training.attention: sdpa, and a model that predicts the next token"
                )
    finally:
        model.train(was_training)
    return leak


def _limit(
    states: Tensor, device: torch.device, autocast: Callable[[], AbstractContextManager[Any]]
) -> float:
    with autocast():
        narrow = torch.is_autocast_enabled(device.type)
    narrow = narrow or states.dtype in (torch.bfloat16, torch.float16)
    return 1e-2 if narrow else 1e-5


def _change(usual: Tensor, changed: Tensor) -> float:
    usual, changed = usual.double(), changed.double()
    return float((usual - changed).abs().max() / usual.abs().max().clamp_min(1e-12))


@torch.no_grad()
def probe_loss(
    model: LossModel,
    vocabulary: int,
    device: torch.device,
    *,
    autocast: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
    tolerance: float | None = None,
) -> float:
    """Largest relative difference of our logits from the model's own, on a batch of 2 x 16 tokens.

    In eval mode, with sdpa, and without autocast unless weights of both 16 and 32 bits need it:
    what is compared is the head, not the kernels. Logits may differ by `tolerance` of the largest,
    the loss by as many nats: by default 1e-4, and 3e-2 where logits have 16 bits.

    Raises:
        UnknownHead: they differ by more, or the model's own forward gives no loss.
    """
    language_model: Any = model.language_model
    name = type(language_model).__name__
    ids_BT = ((torch.arange(4 * HALF).view(2, -1) * 11 + 5) % vocabulary).to(device)
    positions_BT = torch.arange(2 * HALF, device=device).expand(2, -1)
    was_training = model.training
    model.eval()
    try:
        with torch.autocast(device.type, enabled=False), autocast():
            found = model.compared(ids_BT, positions_BT)
    finally:
        model.train(was_training)
    if tolerance is None:
        tolerance = 3e-2 if found.logits_BTV.dtype in (torch.bfloat16, torch.float16) else 1e-4
    off = _change(found.own_logits_BTV, found.logits_BTV)
    if not off <= tolerance:
        raise UnknownHead(
            f"the logits of {name} are not its output matrix times its hidden states as Puna "
            f"computes them (they differ by {off:.2e} of the largest, limit {tolerance:g}): the "
            f"model changes them in a way of its own{_suspects(language_model.config)}. Puna would "
            "train with a wrong loss, so it does not; use a model without this"
        )
    if found.own_loss is None:
        raise UnknownHead(
            f"the forward of {name} computes no loss from labels, so Puna cannot check its own; "
            "use a model class with a language modelling loss"
        )
    ours, theirs = found.loss.item(), found.own_loss.item()
    if not abs(ours - theirs) <= tolerance * max(1.0, abs(theirs)):
        raise UnknownHead(
            f"the loss of {name} is {theirs:.6f} on a probe of which the cross entropy is "
            f"{ours:.6f} (limit {tolerance:g}): the model adds a term of its own"
            f"{_suspects(language_model.config)}; switch it off in config.json, or use a model "
            "without it"
        )
    return off


def probe_training(
    model: LossModel,
    vocabulary: int,
    device: torch.device,
    *,
    document_mask: bool,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> float:
    """Both probes of a model that is about to be trained; returns the leak that `probe` found."""
    leak = probe(model, vocabulary, device, document_mask=document_mask, autocast=autocast)
    mixed = len({p.dtype for p in model.parameters() if p.is_floating_point()}) > 1
    outside = autocast if mixed else contextlib.nullcontext
    probe_loss(model, vocabulary, device, autocast=outside)
    return leak


_TELLING = ("logit", "scal", "multiplier", "softcap", "soft_cap", "z_loss", "aux", "router")


def _suspects(config: Any) -> str:
    """Keys of a configuration that may be the reason, to name in an error."""
    found = {
        key: value
        for key, value in config.to_dict().items()
        if any(part in key for part in _TELLING) and isinstance(value, int | float) and value
    }
    listed = ", ".join(f"{key}: {value}" for key, value in sorted(found.items()))
    return f" (its config.json has {listed})" if listed else ""
