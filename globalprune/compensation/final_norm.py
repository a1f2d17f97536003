"""The final norm compensated: scales of its channels, fitted by the KL divergence of the logits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn
from torch.nn import functional

from globalprune.statistics.loss import head_of, widened_head
from globalprune.sublayers.residual_stream import StreamBatch, SublayerModel

PENALTY: Final = 100.0  # nats for scales that are one off, squared and summed
_STEPS: Final = 8  # of L-BFGS
_ROWS: Final = 256  # tokens whose logits are in memory at once
_TOKENS: Final = 2048  # the scales are fitted to about so many
_TOLERANCE: Final = 1e-2  # of the logits' norm; half precision rounds more than float32

Logits = Callable[[torch.Tensor], torch.Tensor]  # of hidden states [T, D]: [T, V]


@dataclass(frozen=True)
class LogitScales:
    """Scales `[D]`, float32, and KL(model || cut model) in nats per token, before and after.

    Both divergences are of tokens that the scales there are not fitted to. `scales` is None where
    scaling does not lower them.
    """

    scales: torch.Tensor | None
    divergence_before: float
    divergence_after: float


@torch.no_grad()
def compensate_final_norm(
    model: SublayerModel, batches: Sequence[StreamBatch], first_window: torch.Tensor
) -> LogitScales | None:
    """Fit scales `[D]` for the output of the final norm, from streams behind the last layer.

    `first_window [T]` are the ids of the first stream. None where nothing is cut, or where the head
    reads something else than the output of the norm.
    """
    if all(batch.is_uncut for batch in batches):
        return None
    norm = model.final_norm
    head = head_of(model.module, first_window)
    ids = first_window[None].to(model.module.device)
    expected = model.module(ids, use_cache=False).logits[0].float()
    with widened_head(model.module):
        weight = model.module.get_output_embeddings().weight
        rebuilt = head.logits(_normalised(norm, batches[0].dense[0], weight))
        if not float((rebuilt - expected).norm() / expected.norm()) <= _TOLERANCE:
            return None
        targets, hidden = [], []
        for dense, pruned in _validation_streams(batches):
            logits = head.logits(_normalised(norm, dense, weight))
            targets.append(functional.log_softmax(logits, dim=-1).cpu())
            hidden.append(_normalised(norm, pruned, weight))
        return fit_logit_scales(torch.cat(hidden), torch.cat(targets), head.logits)


def fit_logit_scales(
    hidden: torch.Tensor, targets: torch.Tensor, logits: Logits, penalty: float = PENALTY
) -> LogitScales:
    """Fit scales to each half of the tokens, validate them on the other, and average the two.

    `hidden [T, D]` enters the head of the cut model, whose `logits` it computes. `targets [T, V]`
    are the uncut model's log-probabilities; they may be in host memory.
    """
    middle = len(hidden) // 2
    halves = [slice(0, middle), slice(middle, None)]
    fits = [_fit(hidden[half], targets[half], logits, penalty) for half in halves]
    ones = torch.ones_like(fits[0])
    before, after = 0.0, 0.0
    for scales, half in zip(fits, reversed(halves), strict=True):
        before += _divergence(ones, hidden[half], targets[half], logits)
        after += _divergence(scales, hidden[half], targets[half], logits)
    before, after = before / len(hidden), after / len(hidden)
    if not after < before:  # also where one is not a number
        return LogitScales(None, before, before)
    return LogitScales((fits[0] + fits[1]) / 2, before, after)


def _fit(
    hidden: torch.Tensor, targets: torch.Tensor, logits: Logits, penalty: float
) -> torch.Tensor:
    """The scales that minimise the mean divergence of these tokens plus the penalty."""
    offsets = torch.zeros(hidden.shape[-1], device=hidden.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([offsets], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> float:
        here = offsets.detach()
        offsets.grad = 2 * penalty * here / len(hidden)
        total = penalty * float(here.square().sum()) / len(hidden)
        for rows, expected in _chunks(hidden, targets):
            part = _total_divergence(1 + offsets, rows, expected, logits) / len(hidden)
            part.backward()  # type: ignore[no-untyped-call]
            total += float(part.detach())
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return 1 + offsets.detach()


def _divergence(
    scales: torch.Tensor, hidden: torch.Tensor, targets: torch.Tensor, logits: Logits
) -> float:
    """Σ KL(uncut model || cut model) over tokens, a chunk at a time."""
    with torch.no_grad():
        return sum(
            float(_total_divergence(scales, rows, expected, logits))
            for rows, expected in _chunks(hidden, targets)
        )


def _total_divergence(
    scales: torch.Tensor, hidden: torch.Tensor, targets: torch.Tensor, logits: Logits
) -> torch.Tensor:
    """Σ KL(uncut model || cut model with scaled `hidden`) over these tokens."""
    ours = functional.log_softmax(logits(hidden * scales), dim=-1)
    return functional.kl_div(ours, targets.to(ours.device), reduction="sum", log_target=True)


def _chunks(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """The same few rows of each tensor at a time."""
    return zip(*(torch.split(tensor, _ROWS) for tensor in tensors), strict=True)


def _normalised(norm: nn.Module, stream: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """The output of the norm `[T, D]`, on the device and in the dtype of the head."""
    device = next(norm.parameters()).device
    normalised: torch.Tensor = norm(stream.to(device))
    return normalised.to(head)


def _validation_streams(
    batches: Sequence[StreamBatch],
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Both streams `[T, D]` of validation windows, evenly spread, about `_TOKENS` tokens."""
    pairs = [
        pair
        for batch in batches
        for pair in zip(batch.dense[batch.held_out], batch.pruned[batch.held_out], strict=True)
    ]
    tokens = sum(len(dense) for dense, _ in pairs)
    return pairs[:: max(1, tokens // _TOKENS)]
