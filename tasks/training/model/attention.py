"""Attention that hides the documents of a row from each other, chosen by what can be used.

| kind | documents are told by | where |
|---|---|---|
| flash | cumulative lengths, to flash-attn's kernel | CUDA, 16 bits, flash-attn installed |
| varlen | cumulative lengths, to `torch.nn.attention.varlen` | CUDA, 16 bits, torch >= 2.10 |
| sdpa | a block mask that transformers makes from position ids | everywhere |

The first two compute only what a document needs; with them a micro-batch is one long row. `auto`
takes the first that device and model can use. Models with sliding windows, caps on attention
scores, attention sinks or chunks keep sdpa. What is chosen must reproduce sdpa's hidden states on
the model itself before it is used, so an unknown kind of attention is not computed silently.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from tasks.training.recipe.exclusions import attention_unusable, kernel_in, kernel_on
from tasks.training.recipe.sections import AttentionKind, Precision

VARLEN = "puna_varlen"
"""Our name in transformers' `AttentionInterface`. It has no mask function, so none is made."""

_BY_LENGTHS = (VARLEN, "flash_attention_2", "flash_attention_3")

AGREEMENT = 0.05
"""Limit of the relative difference (root mean square) from sdpa's hidden states, both computed in
16 bits; another mask or scale gives tenths and more.
"""

_MARGIN = 64
"""Cumulative lengths are padded to a multiple of this, so that compiled layers see few shapes."""


class AttentionError(ValueError):
    """The kind of attention asked for cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Chosen:
    """The attention of a model, and why better kinds were not taken."""

    kind: AttentionKind
    notes: tuple[str, ...] = ()


def document_edges(positions_BT: Tensor) -> Tensor:
    """Where documents begin in the rows laid end to end, and at last B x T; int32.

    Every row begins one (its first position must be 0). Padded with B x T to a multiple of 64
    entries plus one: documents of no tokens, which kernels skip.
    """
    flat = positions_BT.flatten()
    starts = (flat == 0).nonzero().flatten()
    count = -(-starts.numel() // _MARGIN) * _MARGIN
    edges = torch.full((count + 1,), flat.numel(), dtype=torch.int32, device=flat.device)
    edges[: starts.numel()] = starts
    return edges


def hidden_states(language_model: Any, ids_BT: Tensor, positions_BT: Tensor) -> Tensor:
    """Last hidden states (B, T, D) of packed rows; documents begin at position 0.

    With `use_cache=False` and no attention mask, transformers 5 makes a block mask for sdpa and
    eager from `position_ids`; kernels by length get the rows end to end and their edges.
    """
    if language_model.config._attn_implementation not in _BY_LENGTHS:
        states: Tensor = language_model.base_model(
            input_ids=ids_BT, position_ids=positions_BT, use_cache=False
        ).last_hidden_state
        return states
    edges = document_edges(positions_BT)
    longest = positions_BT.shape[1]  # an upper bound; the true one would recompile layers
    states = language_model.base_model(
        input_ids=ids_BT.reshape(1, -1),
        position_ids=positions_BT.reshape(1, -1),
        use_cache=False,
        cu_seq_lens_q=edges,
        cu_seq_lens_k=edges,
        max_length_q=longest,
        max_length_k=longest,
    ).last_hidden_state
    return states.view(*ids_BT.shape, -1)


def choose_attention(
    language_model: Any, wanted: AttentionKind, device: torch.device, dtype: torch.dtype
) -> Chosen:
    """Set a loaded model's attention to the best kind that works; it was loaded with sdpa.

    `dtype`: of matrix products in training.

    Raises:
        AttentionError: `wanted` is not `auto` and cannot be used.
    """
    if wanted == "sdpa":
        return Chosen("sdpa")
    kinds: tuple[AttentionKind, ...] = ("flash", "varlen") if wanted == "auto" else (wanted,)
    notes: list[str] = []
    for kind in kinds:
        reason = (
            _unusable_on(device, dtype)
            or _unusable_for(language_model)
            or (_flash_name()[1] if kind == "flash" else _varlen_fault())
            or _disagreement(language_model, kind, device, dtype)
        )
        if not reason:
            _use(language_model, kind)
            return Chosen(kind, tuple(notes))
        notes.append(f"attention {kind}: {reason}")
        if wanted != "auto":
            raise AttentionError(attention_unusable(wanted, reason))
    return Chosen("sdpa", tuple(notes))


@contextlib.contextmanager
def plain_attention(language_model: Any) -> Iterator[None]:
    """sdpa for the block: for calls without document edges (generation, evaluation, float32)."""
    before = language_model.config._attn_implementation
    if before not in _BY_LENGTHS:
        yield
        return
    language_model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        language_model.set_attn_implementation(before)


_KERNEL: _Kernel | None = None
"""What `_varlen` calls; looked up once, as compiled layers cannot inspect signatures."""


def _use(language_model: Any, kind: AttentionKind) -> None:
    if kind == "varlen":
        global _KERNEL
        found = varlen_kernel()
        if isinstance(found, str):
            raise AttentionError(found)
        _KERNEL = found
        AttentionInterface.register(VARLEN, varlen_attention)
        language_model.set_attn_implementation(VARLEN)
    else:
        language_model.set_attn_implementation(_flash_name()[0])


def _unusable_on(device: torch.device, dtype: torch.dtype) -> str:
    names: dict[torch.dtype, Precision] = {torch.bfloat16: "bf16", torch.float16: "fp16"}
    return kernel_on(device.type) or kernel_in(names.get(dtype, "fp32"))


def _unusable_for(language_model: Any) -> str:
    """What a model's attention has beside plain causal attention; "" where nothing."""
    config = language_model.config
    name = type(language_model).__name__
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if other := sorted(kinds - {"full_attention"}):
        return f"{name} has layers of {', '.join(other)}"
    for key in ("sliding_window", "attention_chunk_size", "attn_logit_softcapping"):
        if (value := getattr(config, key, None)) is not None:
            return f"{name} has {key}: {value}"
    if dropout := getattr(config, "attention_dropout", 0.0):
        return f"{name} has attention_dropout: {dropout}"
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if width > 256:
        return f"{name} has heads of {width}, its kernel takes 256 at most"
    if not getattr(type(language_model), "_supports_attention_backend", False):
        return f"transformers cannot set the attention of {name}"
    return ""


def _flash_name() -> tuple[str, str]:
    """transformers' name of the newest flash-attn installed, or "" and why there is none."""
    for module, name in (
        ("flash_attn_interface", "flash_attention_3"),
        ("flash_attn", "flash_attention_2"),
    ):
        if importlib.util.find_spec(module) is not None:
            return name, ""
    return "", "flash-attn is not installed"


@dataclass(frozen=True)
class _Kernel:
    """torch's `varlen_attn` and which of its arguments this release has."""

    call: Callable[..., Any]
    causal: dict[str, Any]
    groups: bool
    scale: bool


def varlen_kernel() -> _Kernel | str:
    """This torch's `varlen_attn`, or why it cannot be used.

    2.10 takes `is_causal`; later ones a window, of which (-1, 0) is all to the left.
    """
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return f"torch {torch.__version__} has no varlen_attn; install 2.10 or later"
    known = inspect.signature(varlen_attn).parameters
    if "is_causal" in known:
        causal: dict[str, Any] = {"is_causal": True}
    elif "window_size" in known:
        causal = {"window_size": (-1, 0)}
    else:
        return f"varlen_attn of torch {torch.__version__} has no known argument for causal masks"
    return _Kernel(varlen_attn, causal, "enable_gqa" in known, "scale" in known)


def _varlen_fault() -> str:
    found = varlen_kernel()
    return found if isinstance(found, str) else ""


@torch.no_grad()
def _disagreement(
    language_model: Any, kind: AttentionKind, device: torch.device, dtype: torch.dtype
) -> str:
    """Compare hidden states with sdpa's on rows of several documents; "" where they agree."""
    vocabulary = language_model.get_input_embeddings().weight.shape[0]
    lengths = (5, 17, 10, 1, 31)
    positions_T = torch.cat([torch.arange(length) for length in lengths])
    ids_BT = (torch.arange(2 * len(positions_T)).view(2, -1) * 7 + 3) % vocabulary
    ids_BT, positions_BT = ids_BT.to(device), positions_T.expand(2, -1).to(device)
    before, was_training = language_model.config._attn_implementation, language_model.training
    language_model.eval()
    try:
        with torch.autocast(device.type, dtype=dtype):
            expected = hidden_states(language_model, ids_BT, positions_BT).double()
            _use(language_model, kind)
            got = hidden_states(language_model, ids_BT, positions_BT).double()
    except Exception as error:  # kernels and transformers raise what they like
        return f"it fails on {type(language_model).__name__}: {str(error).splitlines()[0]}"
    finally:
        language_model.set_attn_implementation(before)
        language_model.train(was_training)
    off = float((got - expected).norm() / expected.norm().clamp_min(1e-12))
    if not off <= AGREEMENT:
        return f"its hidden states differ by {off:.3f} from sdpa's (limit {AGREEMENT:g})"
    return ""


def varlen_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention within documents, as transformers' `AttentionInterface` calls it.

    query (1, H, N, d), key and value (1, H_kv, N, d); the result is (1, N, H, d).

    Raises:
        AttentionError: a call without document edges, or with what the kernel would ignore.
    """
    if cu_seq_lens_q is None or max_length_q is None:
        raise AttentionError(
            "attention by document lengths was called without them; wrap the call in "
            "tasks.training.model.attention.plain_attention"
        )
    ignored = [name for name in _CHANGES_SCORES if others.get(name) is not None]
    if attention_mask is not None or dropout or ignored:
        raise AttentionError(
            f"{type(module).__name__} asks for {', '.join(ignored) or 'a mask or dropout'}, which "
            "varlen_attn does not apply"
        )
    if torch.is_autocast_enabled(query.device.type):
        narrow = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(narrow), key.to(narrow), value.to(narrow)
    query_NHd, key_NKd, value_NKd = (
        states[0].transpose(0, 1).contiguous() for states in (query, key, value)
    )
    output = _varlen(query_NHd, key_NKd, value_NKd, cu_seq_lens_q, max_length_q, scaling)
    return output[None], None


_CHANGES_SCORES = ("sliding_window", "softcap", "s_aux", "position_bias", "block_table")


def _varlen(
    query_NHd: Tensor,
    key_NKd: Tensor,
    value_NKd: Tensor,
    edges: Tensor,
    longest: int,
    scale: float | None,
) -> Tensor:
    kernel = _KERNEL
    if kernel is None:
        raise AttentionError("varlen attention was not chosen by choose_attention")
    options = dict(kernel.causal)
    groups = query_NHd.shape[1] // key_NKd.shape[1]
    if groups > 1 and kernel.groups:
        options["enable_gqa"] = True
    elif groups > 1:
        key_NKd = key_NKd.repeat_interleave(groups, 1)
        value_NKd = value_NKd.repeat_interleave(groups, 1)
    if kernel.scale:
        options["scale"] = scale
    elif scale is not None:  # the kernel divides by the root of d
        query_NHd = query_NHd * (scale * query_NHd.shape[-1] ** 0.5)
    result: Tensor = kernel.call(
        query_NHd, key_NKd, value_NKd, edges, edges, longest, longest, **options
    )
    return result
