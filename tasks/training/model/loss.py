"""Training loss: the sum over valid tokens, divided by the valid tokens of the optimizer step.

Chunked cross entropy computes head, loss and gradients C tokens at a time, so the logits of a whole
batch (N x V) never exist. For each chunk:

1. products P = H W^T + b for its C tokens; logits Z from P as the model has them
   (`tasks.training.model.heads`: scale, cap), in float32.
2. loss of token i: logsumexp(Z_i) - Z_i[y_i]; 0 where y_i is ignored.
3. gradient of the logits: G_i = softmax(Z_i) - onehot(y_i); 0 where ignored. Z is overwritten.
   Times the slope of scale and cap: the gradient of P.
4. gradient of the hidden states: G W, written to the chunk's rows; of the weight: G^T H, and of the
   bias the sum of G, added up in float32 whatever the weight's type. The logits are then freed.

Hidden states of ignored positions are read as 0, so whatever they hold (NaN) stays out of the loss.
Under autocast the products of steps 1 and 4 are made in its type, all else in float32.

Backward only multiplies the gradients by the incoming scalar. This is the scheme of Liger Kernel's
fused linear cross entropy (Hsu et al. 2024, arXiv:2410.10989).

Symbols and shapes: B rows, T positions, N = B x T tokens, C tokens of a chunk, D hidden size, V
vocabulary (rows of the matrix); H hidden (N, D), W weight (V, D), b bias (V,), y labels (N,), P, Z
and G (C, V).

Example: V = 2, one token with Z = (0, ln 3) and y = 0. softmax(Z) = (1/4, 3/4), so the loss is
ln 4 - 0 = 1.386 nats and G = (-3/4, 3/4).

`LossModel` wraps an unmodified causal language model so that head and cross entropy run within one
module's forward. It is also the root that FSDP2 wraps, so that the head's weight is unsharded there
(calling body and head separately would mix Tensor and DTensor).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from tasks.training.model.attention import hidden_states, plain_attention
from tasks.training.model.heads import Head, head_of, head_parameters

IGNORE_INDEX = -100

_T = TypeVar("_T")

CHUNK_LOGITS = {"cpu": 2**22, "cuda": 2**26}
"""Logits of one chunk by device: 16 MiB in float32 keep a CPU's caches, 256 MiB keep a GPU busy."""

_FP16_SHRINK = 2.0**-6
"""Factor on hidden states in the weight gradient's float16 products, so that their sums over a
chunk stay below 65,504; a power of two, taken out in float32.
"""


def chunk_tokens(vocabulary: int, device: str = "cpu") -> int:
    """Tokens of one chunk for a head of `vocabulary` rows, at least 64."""
    return max(64, CHUNK_LOGITS.get(device, CHUNK_LOGITS["cuda"]) // vocabulary)


class _HeadCrossEntropy(torch.autograd.Function):
    """Cross entropy of a linear head in chunks, with gradients made in the forward pass.

    The steps are in the module's docstring. Three matrix products per chunk, as in the plain
    computation.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        labels_N: Tensor,
        head: Head,
        chunk: int,
    ) -> tuple[Tensor, Tensor]:
        device = hidden_ND.device.type
        narrow = hidden_ND.dtype  # of the products
        if torch.is_autocast_enabled(device):
            narrow = torch.get_autocast_dtype(device)
        wide = torch.float64 if narrow == torch.float64 else torch.float32
        shrink = _FP16_SHRINK if narrow == torch.float16 else 1.0
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        losses_N = torch.empty(hidden_ND.shape[0], dtype=wide, device=hidden_ND.device)
        grad_hidden_ND = torch.empty_like(hidden_ND) if need_hidden else None
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=wide) if need_weight else None
        grad_bias_V = (
            torch.zeros_like(bias_V, dtype=wide) if need_bias and bias_V is not None else None
        )
        with torch.autocast(device, enabled=False):
            matrix_VD = weight_VD.to(narrow)
            for start in range(0, hidden_ND.shape[0], chunk):
                part = slice(start, start + chunk)
                labels_C = labels_N[part]
                ignored_C1 = (labels_C == IGNORE_INDEX)[:, None]
                hidden_CD = hidden_ND[part].to(narrow).masked_fill(ignored_C1, 0)
                targets_C1 = labels_C.clamp_min(0)[:, None]  # a valid index also where ignored
                products_CV = (hidden_CD @ matrix_VD.T).to(wide)
                if bias_V is not None:
                    products_CV += bias_V
                logits_CV, slope_CV = _logits_and_slope(products_CV, head)
                log_sum_C1 = torch.logsumexp(logits_CV, dim=1, keepdim=True)
                losses_C1 = log_sum_C1 - logits_CV.gather(1, targets_C1)
                losses_N[part] = losses_C1.masked_fill(ignored_C1, 0)[:, 0]
                if not (need_hidden or need_weight or need_bias):
                    continue
                grad_CV = logits_CV.sub_(log_sum_C1).exp_()  # softmax, in the logits' memory
                grad_CV.scatter_add_(1, targets_C1, torch.full_like(log_sum_C1, -1))
                grad_CV.masked_fill_(ignored_C1, 0)
                if slope_CV is not None:
                    grad_CV.mul_(slope_CV)
                if head.scale != 1:
                    grad_CV.mul_(head.scale)
                if grad_bias_V is not None:
                    grad_bias_V += grad_CV.sum(0)
                grad_CV = grad_CV.to(narrow)
                if grad_hidden_ND is not None:
                    if grad_hidden_ND.dtype == narrow:
                        torch.mm(grad_CV, matrix_VD, out=grad_hidden_ND[part])
                    else:
                        grad_hidden_ND[part] = grad_CV @ matrix_VD
                if grad_weight_VD is not None and narrow == wide:
                    grad_weight_VD.addmm_(grad_CV.T, hidden_CD)
                elif grad_weight_VD is not None:  # the product is rounded to 16 bits, the sum not
                    grad_weight_VD.add_(grad_CV.T @ (hidden_CD * shrink), alpha=1 / shrink)
        gradients = (grad_hidden_ND, grad_weight_VD, grad_bias_V)
        ctx.save_for_backward(*(g for g in gradients if g is not None))
        ctx.dtypes = (weight_VD.dtype, None if bias_V is None else bias_V.dtype)
        ctx.mark_non_differentiable(losses_N)
        return losses_N.sum(), losses_N

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        scale = grads[0]
        saved = iter(ctx.saved_tensors)
        hidden_ND, weight_VD, bias_V = (
            next(saved).mul_(scale) if needed else None for needed in ctx.needs_input_grad[:3]
        )
        weight_dtype, bias_dtype = ctx.dtypes
        return (
            hidden_ND,
            None if weight_VD is None else weight_VD.to(weight_dtype),
            None if bias_V is None else bias_V.to(bias_dtype),
            None,
            None,
            None,
        )


def _logits_and_slope(products_CV: Tensor, head: Head) -> tuple[Tensor, Tensor | None]:
    """Logits in the memory of the products, and the derivative of the cap (None without one)."""
    if head.scale != 1:
        products_CV.mul_(head.scale)
    if head.cap is None:
        return products_CV, None
    ratio_CV = products_CV.div_(head.cap).tanh_()
    slope_CV = 1 - ratio_CV**2
    return ratio_CV.mul_(head.cap), slope_CV


PLAIN = Head()


def head_cross_entropy(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    labels_N: Tensor,
    chunk_logits: int | None = None,
    *,
    bias_V: Tensor | None = None,
    head: Head = PLAIN,
) -> tuple[Tensor, Tensor]:
    """Sum of the cross entropy over valid labels, and each token's loss (N,), 0 where ignored.

    The sum is differentiable, once; it equals `F.cross_entropy(head.logits(hidden @ weight.T +
    bias), labels, reduction="sum")` up to rounding.
    """
    vocabulary = weight_VD.shape[0]
    chunk = (
        chunk_tokens(vocabulary, hidden_ND.device.type)
        if chunk_logits is None
        else max(64, chunk_logits // vocabulary)
    )
    total, losses_N = _HeadCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden_ND, weight_VD, bias_V, labels_N, head, chunk
    )
    return total, losses_N


class Comparison(NamedTuple):
    """Logits (B, T, V) and mean loss by our head, and by the model's own forward."""

    logits_BTV: Tensor
    loss: Tensor
    own_logits_BTV: Tensor
    own_loss: Tensor | None


class LossModel(nn.Module):
    """A causal language model whose forward returns the loss sum and each row's loss sum.

    Under FSDP2 also `hidden` and `compared` must be registered as forward methods.

    Raises:
        UnknownHead: a head that cannot be computed in chunks.
    """

    def __init__(self, language_model: nn.Module) -> None:
        super().__init__()
        self.language_model = language_model
        self.head = head_of(language_model)
        head_parameters(language_model)  # refused here rather than in the first step

    def forward(
        self, input_ids_BT: Tensor, labels_BT: Tensor, position_ids_BT: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss sum over valid labels, and the same by row (B,) without gradient.

        `position_ids` restart at every document, which hides documents from each other
        (`tasks.training.model.attention`; `tasks.training.model.probe` checks it).
        """
        hidden_BTD = self.hidden(input_ids_BT, position_ids_BT)
        weight_VD, bias_V = head_parameters(self.language_model)
        if not torch.is_grad_enabled():  # else the head's gradients would be made and thrown away
            weight_VD, bias_V = weight_VD.detach(), None if bias_V is None else bias_V.detach()
        total, losses_N = head_cross_entropy(
            hidden_BTD.flatten(0, 1),
            weight_VD,
            labels_BT.flatten(),
            bias_V=bias_V,
            head=self.head,
        )
        return total, losses_N.view_as(labels_BT).sum(1)

    def hidden(self, input_ids_BT: Tensor, position_ids_BT: Tensor) -> Tensor:
        """The last hidden states (B, T, D)."""
        return hidden_states(self.language_model, input_ids_BT, position_ids_BT)

    def next_logits(self, input_ids_BT: Tensor, position_ids_BT: Tensor, last_B: Tensor) -> Tensor:
        """Logits (B, V) of the token after position `last_B` of each row."""
        hidden_BTD = self.hidden(input_ids_BT, position_ids_BT)
        hidden_BD = hidden_BTD[torch.arange(len(last_B), device=last_B.device), last_B]
        weight_VD, bias_V = head_parameters(self.language_model)
        with torch.autocast(hidden_BD.device.type, enabled=False):
            hidden_BD = hidden_BD.to(weight_VD.dtype)
            return self.head.logits(nn.functional.linear(hidden_BD, weight_VD, bias_V))

    def compared(self, input_ids_BT: Tensor, position_ids_BT: Tensor) -> Comparison:
        """Our logits and loss beside those of the model's own forward; one document a row."""
        targets_BT = nn.functional.pad(input_ids_BT[:, 1:], (0, 1), value=IGNORE_INDEX)
        with plain_attention(self.language_model):
            own: Any = self.language_model(
                input_ids=input_ids_BT,
                position_ids=position_ids_BT,
                labels=input_ids_BT,
                use_cache=False,
            )
            hidden_BTD = self.hidden(input_ids_BT, position_ids_BT)
            total, _ = self.forward(input_ids_BT, targets_BT, position_ids_BT)
        weight_VD, bias_V = head_parameters(self.language_model)
        logits_BTV = self.head.logits(nn.functional.linear(hidden_BTD, weight_VD, bias_V))
        loss = total / (targets_BT != IGNORE_INDEX).sum()
        return Comparison(logits_BTV, loss, own.logits, getattr(own, "loss", None))

    def within(self, work: Callable[[], _T]) -> _T:
        """The result of `work`, which uses parts of the model by themselves: where the model is
        split over ranks, as a part of its forward pass, which has the whole matrices.
        """
        return work()
