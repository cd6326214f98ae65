"""Training loss: the sum over valid tokens, divided by the valid tokens of the optimizer step.

Chunked cross entropy computes head, loss and gradients C tokens at a time, so the logits of a whole
batch (N x V) never exist. For each chunk:

1. logits Z = H W^T for its C tokens, in float32.
2. loss of token i: logsumexp(Z_i) - Z_i[y_i]; 0 where y_i is ignored.
3. gradient of the logits: G_i = softmax(Z_i) - onehot(y_i); 0 where ignored. Z is overwritten.
4. gradient of the hidden states: G W, written to the chunk's rows; of the weight: G^T H, added up.
   The logits are then freed.

Backward only multiplies the two gradients by the incoming scalar. This is the scheme of Liger
Kernel's fused linear cross entropy (Hsu et al. 2024, arXiv:2410.10989).

Symbols and shapes: B rows, T positions, N = B x T tokens, C tokens of a chunk, D hidden size, V
vocabulary (rows of the matrix); H hidden (N, D), W weight (V, D), y labels (N,), Z and G (C, V).

Example: V = 2, one token with Z = (0, ln 3) and y = 0. softmax(Z) = (1/4, 3/4), so the loss is
ln 4 - 0 = 1.386 nats and G = (-3/4, 3/4).

`LossModel` wraps an unmodified causal language model so that head and cross entropy run within one
module's forward. It is also the root that FSDP2 wraps, so that the head's weight is unsharded there
(calling body and head separately would mix Tensor and DTensor).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

IGNORE_INDEX = -100

CHUNK_LOGITS = 2**22
"""Logits of one chunk (16 MiB in float32): enough for fast matrix products, little memory."""


class _HeadCrossEntropy(torch.autograd.Function):
    """Cross entropy of a linear head in chunks, with gradients made in the forward pass.

    The steps are in the module's docstring. Three matrix products per chunk, as in the plain
    computation.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, labels_N: Tensor, chunk: int
    ) -> tuple[Tensor, Tensor]:
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        wide = torch.float64 if hidden_ND.dtype == torch.float64 else torch.float32
        head_VD = weight_VD.to(hidden_ND.dtype)
        losses_N = torch.empty(hidden_ND.shape[0], dtype=wide, device=hidden_ND.device)
        grad_hidden_ND = torch.empty_like(hidden_ND) if need_hidden else None
        grad_weight_VD = torch.zeros_like(weight_VD) if need_weight else None
        for start in range(0, hidden_ND.shape[0], chunk):
            part = slice(start, start + chunk)
            hidden_CD, labels_C = hidden_ND[part], labels_N[part]
            valid_C = labels_C != IGNORE_INDEX
            targets_C1 = labels_C.clamp_min(0)[:, None]  # a valid index also where ignored
            logits_CV = (hidden_CD @ head_VD.T).to(wide)
            log_sum_C1 = torch.logsumexp(logits_CV, dim=1, keepdim=True)
            losses_N[part] = (log_sum_C1 - logits_CV.gather(1, targets_C1))[:, 0] * valid_C
            if need_hidden or need_weight:
                grad_CV = logits_CV.sub_(log_sum_C1).exp_()  # softmax, in the logits' memory
                grad_CV.scatter_add_(1, targets_C1, torch.full_like(log_sum_C1, -1))
                grad_CV.mul_(valid_C[:, None])
                grad_CV = grad_CV.to(hidden_ND.dtype)
                if grad_hidden_ND is not None:
                    torch.mm(grad_CV, head_VD, out=grad_hidden_ND[part])
                # Under autocast the weight is wider than the hidden states: the product is made in
                # bfloat16 and added up in the weight's type.
                if grad_weight_VD is not None and hidden_ND.dtype == weight_VD.dtype:
                    grad_weight_VD.addmm_(grad_CV.T, hidden_CD)
                elif grad_weight_VD is not None:
                    grad_weight_VD += grad_CV.T @ hidden_CD
        ctx.save_for_backward(*(g for g in (grad_hidden_ND, grad_weight_VD) if g is not None))
        ctx.mark_non_differentiable(losses_N)
        return losses_N.sum(), losses_N

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, Tensor | None, None, None]:
        scale = grads[0]
        saved = list(ctx.saved_tensors)
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        grad_hidden_ND = saved.pop(0) if need_hidden else None
        grad_weight_VD = saved.pop(0) if need_weight else None
        return (
            None if grad_hidden_ND is None else grad_hidden_ND.mul_(scale),
            None if grad_weight_VD is None else grad_weight_VD.mul_(scale),
            None,
            None,
        )


def head_cross_entropy(
    hidden_ND: Tensor, weight_VD: Tensor, labels_N: Tensor, chunk_logits: int = CHUNK_LOGITS
) -> tuple[Tensor, Tensor]:
    """Sum of the cross entropy over valid labels, and each token's loss (N,), 0 where ignored.

    The sum is differentiable, once; it equals `F.cross_entropy(hidden @ weight.T, labels,
    reduction="sum")` up to rounding.
    """
    chunk = max(64, chunk_logits // weight_VD.shape[0])
    total, losses_N = _HeadCrossEntropy.apply(hidden_ND, weight_VD, labels_N, chunk)  # type: ignore[no-untyped-call]
    return total, losses_N


class LossModel(nn.Module):
    """A causal language model whose forward returns the loss sum and each row's loss sum."""

    def __init__(self, language_model: nn.Module) -> None:
        super().__init__()
        self.language_model = language_model
        head = language_model.get_output_embeddings()  # type: ignore[operator]
        if getattr(head, "bias", None) is not None:
            raise ValueError(
                f"{type(language_model).__name__} has an output head with a bias; only models "
                "without one can be trained"
            )

    def forward(
        self, input_ids_BT: Tensor, labels_BT: Tensor, position_ids_BT: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss sum over valid labels, and the same by row (B,) without gradient.

        `position_ids` restart at every document. With `use_cache=False` and no attention mask,
        transformers 5 builds a block-diagonal mask from them, so that documents do not see each
        other (`tasks.training.probe` checks it).
        """
        hidden_BTD = self.hidden(input_ids_BT, position_ids_BT)
        weight_VD = self.language_model.get_output_embeddings().weight  # type: ignore[operator]
        total, losses_N = head_cross_entropy(
            hidden_BTD.flatten(0, 1), weight_VD, labels_BT.flatten()
        )
        return total, losses_N.view_as(labels_BT).sum(1)

    def hidden(self, input_ids_BT: Tensor, position_ids_BT: Tensor) -> Tensor:
        """The last hidden states (B, T, D)."""
        states: Tensor = self.language_model.base_model(  # type: ignore[operator]
            input_ids=input_ids_BT, position_ids=position_ids_BT, use_cache=False
        ).last_hidden_state
        return states
