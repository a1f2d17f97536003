"""Scales for what enters the output embedding, so that a cut model's predictions come back.

What is compensated by least squares fits the text that it was solved on a little too well, so the
cut model is too sure of itself on other text. Where logits are linear in these scales, divergence
is convex in them, so there is one best answer, and no way past it; as in temperature scaling (Guo
et al. 2017, arXiv:1706.04599), but with one temperature a channel and a model as the teacher. Caps
on logits break that promise, and not the rule that other tokens than those fitted to judge.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch.nn import functional

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
