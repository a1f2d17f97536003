"""The final norm refitted by KL divergence, with the scales of the logits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from globalprune.statistics.loss import head_of, widened_head
from globalprune.sublayers.residual_stream import StreamBatch

PENALTY: Final = 100.0  # nats for scales that lie one off, squared and summed
_STEPS: Final = 8
_ROWS = 256  # tokens whose logits are in memory at once

Logits = Callable[[torch.Tensor], torch.Tensor]  # of hidden states [T, D]: [T, V]


@dataclass(frozen=True)
class LogitScales:
    """Scales `[D]`, float32, and KL(model || cut model) in nats a token, before and after.

    Both figures are of tokens that the scales judged there weren't fitted to. `scales` is None
    where they helped nothing.
    """

    scales: torch.Tensor | None
    divergence_before: float
    divergence_after: float


def fit_logit_scales(
    hidden: torch.Tensor, said: torch.Tensor, logits: Logits, penalty: float = PENALTY
) -> LogitScales:
    """Fit scales to each half of the tokens, judge them by the other, and take their mean.

    `hidden [T, D]` enters the head of the cut model, which makes `logits` of it; `said [T, V]` are
    the model's own log-probabilities, in host memory perhaps.
    """
    middle = len(hidden) // 2
    halves = [slice(0, middle), slice(middle, None)]
    fits = [_fit(hidden[half], said[half], logits, penalty) for half in halves]
    ones = torch.ones_like(fits[0])
    before, after = 0.0, 0.0
    for fitted, judged in zip(fits, reversed(halves), strict=True):
        before += _divergence(ones, hidden[judged], said[judged], logits)
        after += _divergence(fitted, hidden[judged], said[judged], logits)
    before, after = before / len(hidden), after / len(hidden)
    if not after < before:  # nor where it is not a number
        return LogitScales(None, before, before)
    return LogitScales((fits[0] + fits[1]) / 2, before, after)


def _fit(hidden: torch.Tensor, said: torch.Tensor, logits: Logits, penalty: float) -> torch.Tensor:
    """The scales near one that bring the divergence of these tokens down furthest."""
    off = torch.zeros(hidden.shape[-1], device=hidden.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([off], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> float:
        far = off.detach()
        off.grad = 2 * penalty * far / len(hidden)
        total = penalty * float(far.square().sum()) / len(hidden)
        for ours, theirs in _chunks(hidden, said):
            lost = _lost(1 + off, ours, theirs, logits) / len(hidden)
            lost.backward()  # type: ignore[no-untyped-call]
            total += float(lost.detach())
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return 1 + off.detach()


def _divergence(
    scales: torch.Tensor, hidden: torch.Tensor, said: torch.Tensor, logits: Logits
) -> float:
    """Σ KL over tokens."""
    with torch.no_grad():
        return sum(
            float(_lost(scales, ours, theirs, logits)) for ours, theirs in _chunks(hidden, said)
        )


def _chunks(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """The same few rows of each."""
    return zip(*(torch.split(tensor, _ROWS) for tensor in tensors), strict=True)


def _lost(
    scales: torch.Tensor, hidden: torch.Tensor, said: torch.Tensor, logits: Logits
) -> torch.Tensor:
    """Σ KL(what was said || what scaled `hidden` says) over these tokens."""
    ours = functional.log_softmax(logits(hidden * scales), dim=-1)
    return functional.kl_div(ours, said.to(ours.device), reduction="sum", log_target=True)


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
