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
from torch import Tensor, nn

from tasks.training.attention import hidden_states, plain_attention
from tasks.training.heads import UnknownHead, head_parameters
from tasks.training.loss import IGNORE_INDEX, LossModel

HALF = 8
"""Tokens of each of the two documents of a probed row."""


class DocumentLeak(Exception):
    """Documents of one row see each other: the attention implementation ignores `position_ids`."""


@torch.no_grad()
def probe(
    language_model: nn.Module,
    vocabulary: int,
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
    device = _device_of(language_model)
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
            found = hidden_states(language_model, ids.to(device), positions_BT)
        if tolerance is None and found.dtype in (torch.bfloat16, torch.float16):
            narrow.append(True)
        return found.double()

    narrow: list[bool] = []
    leak, was_training = 0.0, language_model.training
    try:
        for training in (False, True):
            language_model.train(training)
            usual = states(ids_BT)
            if document_mask:
                leak = max(leak, _change(usual[:, HALF:], states(first)[:, HALF:]))
            ahead = _change(usual[:, :HALF], states(second)[:, :HALF])
            limit = _limit(tolerance, autocast, device, usual, bool(narrow))
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
        language_model.train(was_training)
    return leak


def _limit(
    tolerance: float | None,
    autocast: Callable[[], AbstractContextManager[Any]],
    device: torch.device,
    states: Tensor,
    narrow: bool,
) -> float:
    if tolerance is not None:
        return tolerance
    with autocast():
        narrow = narrow or torch.is_autocast_enabled(device.type)
    return 1e-2 if narrow else 1e-5


def _change(usual: Tensor, changed: Tensor) -> float:
    return float((usual - changed).abs().max() / usual.abs().max().clamp_min(1e-12))


def _device_of(module: nn.Module) -> torch.device:
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


@torch.no_grad()
def probe_loss(model: LossModel, tolerance: float | None = None) -> float:
    """Largest relative difference of our logits from the model's own, on a batch of 2 x 16 tokens.

    Without autocast, in eval mode, with sdpa: what is compared is the head, not the kernels. Logits
    may differ by `tolerance` of the largest, the loss by as many nats: by default 1e-4, and 3e-2
    where the weights have 16 bits.

    Raises:
        UnknownHead: they differ by more, or the model's own forward gives no loss.
    """
    language_model: Any = model.language_model
    weight_VD, bias_V = head_parameters(language_model)
    name = type(language_model).__name__
    device = weight_VD.device
    ids_BT = ((torch.arange(4 * HALF).view(2, -1) * 11 + 5) % weight_VD.shape[0]).to(device)
    positions_BT = torch.arange(2 * HALF, device=device).expand(2, -1)
    was_training = language_model.training
    language_model.eval()
    try:
        with plain_attention(language_model), torch.autocast(device.type, enabled=False):
            output = language_model(
                input_ids=ids_BT, position_ids=positions_BT, labels=ids_BT, use_cache=False
            )
            hidden_BTD = hidden_states(language_model, ids_BT, positions_BT)
            products = hidden_BTD.to(weight_VD.dtype) @ weight_VD.T
            logits = model.head.logits(products if bias_V is None else products + bias_V)
            targets_BT = torch.nn.functional.pad(ids_BT[:, 1:], (0, 1), value=IGNORE_INDEX)
            # not model(...), which is called around this one where the model is split over ranks
            total, _ = model.forward(ids_BT, targets_BT, positions_BT)
    finally:
        language_model.train(was_training)
    if tolerance is None:
        tolerance = 3e-2 if weight_VD.dtype in (torch.bfloat16, torch.float16) else 1e-4
    own = output.logits.double()
    off = float((logits.double() - own).abs().max() / own.abs().max().clamp_min(1e-12))
    if not off <= tolerance:
        raise UnknownHead(
            f"the logits of {name} are not its output matrix times its hidden states as Puna "
            f"computes them (they differ by {off:.2e} of the largest, limit {tolerance:g}): the "
            f"model changes them in a way of its own{_suspects(language_model.config)}. Puna would "
            "train with a wrong loss, so it does not; use a model without this"
        )
    if getattr(output, "loss", None) is None:
        raise UnknownHead(f"the forward of {name} computes no loss from labels; Puna cannot check")
    ours, theirs = float(total) / int((targets_BT != IGNORE_INDEX).sum()), float(output.loss)
    if not abs(ours - theirs) <= tolerance * max(1.0, abs(theirs)):
        raise UnknownHead(
            f"the loss of {name} is {theirs:.6f} on a probe of which the cross entropy is "
            f"{ours:.6f} (limit {tolerance:g}): the model adds a term of its own"
            f"{_suspects(language_model.config)}; switch it off in config.json, or use a model "
            "without it"
        )
    return off


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
