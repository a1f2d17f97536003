"""Next-token cross-entropy in float32, and its gradient at the last hidden states.

The head runs on a few tokens at a time and backward at once, so that only one chunk of logits
ever exists. Weights get no gradient.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

CHUNK_LOGITS = 2**25  # 128 MiB in float32
HALF_HEAD_SCALE = 2.0**8  # float16: probabilities down to 2e-10 still have a gradient


@dataclass(frozen=True)
class HeadGradient:
    """Where the backward pass of a batch begins."""

    gradient: torch.Tensor  # [B, T, D]: scale · ∂(Σ_s L_s)/∂hidden, in the dtype of hidden
    scale: float
    nll: torch.Tensor  # float64 [B]: summed over a window's predicted tokens


def head_gradient(head: nn.Module, hidden: torch.Tensor, ids: torch.Tensor) -> HeadGradient:
    """Compare what `hidden [B, T, D]` predicts with the next ids; L_s is a mean over T - 1 tokens.

    In float16 the gradient is scaled by the power of two that puts its largest entry just below
    one: unscaled, a mean over hundreds of tokens underflows long before the first layer.
    """
    windows, length, width = hidden.shape
    predicted = length - 1
    rows = hidden.detach()[:, :-1].reshape(-1, width)
    targets = ids[:, 1:].reshape(-1)
    is_half = hidden.dtype == torch.float16
    gradient, nll = _in_chunks(head, rows, targets, HALF_HEAD_SCALE if is_half else 1.0)
    gradient = gradient.div_(predicted).reshape(windows, predicted, width)
    scale = _scale_to_one(gradient) if is_half else 1.0
    whole = hidden.new_zeros(hidden.shape)  # the last token of a window predicts nothing
    whole[:, :-1] = gradient.mul_(scale).to(hidden.dtype)
    return HeadGradient(whole, scale, nll.reshape(windows, predicted).sum(dim=1))


def _in_chunks(
    head: nn.Module, rows: torch.Tensor, targets: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ∂(Σ nll)/∂rows in float32 or wider, and the float64 nll of every row."""
    gradients, losses = [], []
    step = max(1, CHUNK_LOGITS // _vocabulary(head))
    for start in range(0, len(rows), step):
        chunk = rows[start : start + step].requires_grad_()
        logits = head(chunk)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        nll = functional.cross_entropy(logits, targets[start : start + step], reduction="none")
        (gradient,) = torch.autograd.grad(nll.sum() * scale, chunk)
        gradients.append(gradient.to(logits.dtype) / scale)
        losses.append(nll.detach().double())
    return torch.cat(gradients), torch.cat(losses)


def _vocabulary(head: nn.Module) -> int:
    """How many logits the head makes for one token."""
    weight = head.get_parameter("weight")
    return int(weight.shape[0])


def _scale_to_one(gradient: torch.Tensor) -> float:
    """The power of two that brings the largest entry into [½, 1)."""
    peak = float(gradient.abs().max())
    if peak == 0 or not math.isfinite(peak):
        return 1.0
    return 2.0 ** -math.frexp(peak)[1]
