"""Next-token cross-entropy in float32, and its gradient at the last hidden states.

The head runs on a few tokens at a time and backward at once, so that only one chunk of logits
ever exists. Weights get no gradient.
"""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from globalprune.passes.head import Head
from globalprune.passes.labels import LabelDraw, Sampler

CHUNK_LOGITS = 2**25  # 128 MiB in float32
HALF_HEAD_SCALE = 2.0**8  # float16: probabilities down to 2e-10 still have a gradient


@dataclass(frozen=True)
class HeadGradient:
    """Where the backward pass of a batch begins."""

    gradient: torch.Tensor  # [B, T, D]: scale · ∂(Σ_s L_s)/∂hidden, in the dtype of hidden
    scale: float
    nll: torch.Tensor  # float64 [B]: summed over a window's predicted tokens


def head_gradient(
    head: Head,
    hidden: torch.Tensor,
    ids: torch.Tensor,
    draw: LabelDraw | None = None,
    *,
    first_window: int = 0,
) -> HeadGradient:
    """Compare what `hidden [B, T, D]` predicts with the next ids; L_s is a mean over T - 1 tokens.

    With `draw` the gradient is that of labels drawn from the model itself; `nll` stays the text's.
    In float16 the gradient is scaled by the power of two that puts its largest entry just below
    one: unscaled, a mean over hundreds of tokens underflows long before the first layer.
    """
    windows, length, width = hidden.shape
    predicted = length - 1
    rows = hidden.detach()[:, :-1].reshape(-1, width)
    targets = ids[:, 1:].reshape(-1)
    is_half = hidden.dtype == torch.float16
    head_scale = HALF_HEAD_SCALE if is_half else 1.0
    if draw is None:
        gradient, nll = _in_chunks(head, rows, targets, head_scale)
    else:  # window by window: what one draws must not depend on which others run beside it
        pieces = zip(hidden.detach()[:, :-1], ids[:, 1:], strict=True)
        parts = [
            _in_chunks(head, *piece, head_scale, draw.sampler(window, hidden.device))
            for window, piece in enumerate(pieces, first_window)
        ]
        gradient, nll = (torch.cat(part) for part in zip(*parts, strict=True))
    gradient = gradient.div_(predicted).reshape(windows, predicted, width)
    scale = _scale_to_one(gradient) if is_half else 1.0
    whole = hidden.new_zeros(hidden.shape)  # the last token of a window predicts nothing
    whole[:, :-1] = gradient.mul_(scale).to(hidden.dtype)
    return HeadGradient(whole, scale, nll.reshape(windows, predicted).sum(dim=1))


def _in_chunks(
    head: Head,
    rows: torch.Tensor,
    targets: torch.Tensor,
    scale: float,
    sample: Sampler | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ∂(Σ nll)/∂rows in float32 or wider, and the float64 nll of every row.

    `sample` gives the labels that are differentiated, if not the targets.
    """
    gradients, losses = [], []
    step = max(1, CHUNK_LOGITS // head.vocabulary)
    for start in range(0, len(rows), step):
        chunk = rows[start : start + step].requires_grad_()
        logits = head.logits(chunk)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        nll = functional.cross_entropy(logits, targets[start : start + step], reduction="none")
        loss = nll
        if sample is not None:
            loss = functional.cross_entropy(logits, sample(logits.detach()), reduction="none")
        (gradient,) = torch.autograd.grad(loss.sum() * scale, chunk)
        gradients.append(gradient.to(logits.dtype) / scale)
        losses.append(nll.detach().double())
    return torch.cat(gradients), torch.cat(losses)


def _scale_to_one(gradient: torch.Tensor) -> float:
    """The power of two that brings the largest entry into [½, 1)."""
    peak = float(gradient.abs().max())
    if peak == 0 or not math.isfinite(peak):
        return 1.0
    return 2.0 ** -math.frexp(peak)[1]
