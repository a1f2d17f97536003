"""Refits the norm behind the last layer of a cut model, on windows that nothing else was fitted to.

Its weight is all that stands between the stream and the head, and no cut touches it. Whatever the
head does to logits, the model's own one does it here.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from globalprune.compensation.logit_scales import LogitScales, fit_logit_scales
from globalprune.passes.halves.streams import StreamBatch
from globalprune.passes.head import head_of, widened_head

_TOKENS: Final = 2048  # about so many are fitted to
_TOLERANCE: Final = 1e-2  # of all logits; half precision rounds more than float32


@torch.no_grad()
def refit_final_norm(
    model: Any, norm: nn.Module, batches: Sequence[StreamBatch], first_window: torch.Tensor
) -> LogitScales | None:
    """Scales `[D]` for what leaves `norm`, from streams that stand behind the last layer.

    `first_window [T]` holds the ids of the first stream. None where nothing was cut, or where the
    head takes something else than what leaves `norm`.
    """
    if all(batch.alike for batch in batches):
        return None
    head = head_of(model, first_window)
    expected = model(first_window[None].to(model.device), use_cache=False).logits[0].float()
    with widened_head(model):
        weight = model.get_output_embeddings().weight
        rebuilt = head.logits(_left(norm, batches[0].dense[0], weight))
        if not float((rebuilt - expected).norm() / expected.norm()) <= _TOLERANCE:
            return None
        said, hidden = [], []
        for dense, pruned in _chosen(batches):
            own = head.logits(_left(norm, dense, weight))
            said.append(functional.log_softmax(own, dim=-1).cpu())
            hidden.append(_left(norm, pruned, weight))
        return fit_logit_scales(torch.cat(hidden), torch.cat(said), head.logits)


def _left(norm: nn.Module, stream: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """What leaves the norm, `[T, D]`, as the head takes it."""
    device = next(norm.parameters()).device
    left: torch.Tensor = norm(stream.to(device))
    return left.to(head)


def _chosen(batches: Sequence[StreamBatch]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Both streams `[T, D]` of windows that are held out, of as many as make enough tokens."""
    pairs = [
        pair
        for batch in batches
        for pair in zip(batch.dense[batch.held_out], batch.pruned[batch.held_out], strict=True)
    ]
    tokens = sum(len(dense) for dense, _ in pairs)
    return pairs[:: max(1, tokens // _TOKENS)]
