"""The order of removal of one half's groups, from the moments of what enters its output projection.

How the text gets there is not known here.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from globalprune.compensation.removal_order import RemovalOrder, one_shot_losses, removal_order
from globalprune.passes.interface import Split, widened

GUARDED: Final = 50.0  # times the median of its half: such peaks steer the whole stream
_GROUPS, _LOSSES, _ONE_SHOT = "groups", "losses", ("first half", "second half")


@dataclass
class Moments:
    """Σ a·aᵀ of both halves of the windows, and the largest |a| of every input."""

    sums: list[torch.Tensor]  # [n, n] float64 twice
    tokens: list[int]
    peaks: torch.Tensor  # [n]

    @classmethod
    def zeros(cls, inputs: int, device: torch.device) -> "Moments":
        """Nothing seen so far."""
        sums = [torch.zeros(inputs, inputs, dtype=torch.float64, device=device) for _ in range(2)]
        return cls(sums, [0, 0], torch.zeros(inputs, device=device))

    def add(self, inputs: torch.Tensor, which: int) -> None:
        """Add tokens `[tokens, n]` of the first (0) or second (1) half of the windows."""
        values = widened(inputs)
        self.sums[which] += values.T @ values
        self.tokens[which] += len(values)
        self.peaks = torch.maximum(self.peaks, values.abs().amax(dim=0).to(self.peaks.dtype))


@dataclass(frozen=True)
class HalfRemoval:
    """The order, and by each half of the windows what groups `[groups]` cost as the first to go."""

    order: RemovalOrder
    one_shot: tuple[torch.Tensor, torch.Tensor] | None

    def tensors(self) -> dict[str, torch.Tensor]:
        """All of it by name."""
        one_shot = dict(zip(_ONE_SHOT, self.one_shot, strict=True)) if self.one_shot else {}
        return {_GROUPS: self.order.groups, _LOSSES: self.order.losses, **one_shot}

    @classmethod
    def of_tensors(cls, tensors: dict[str, torch.Tensor]) -> "HalfRemoval":
        """What gave these tensors."""
        first, second = (tensors.get(name) for name in _ONE_SHOT)
        one_shot = None if first is None or second is None else (first, second)
        return cls(RemovalOrder(tensors[_GROUPS], tensors[_LOSSES]), one_shot)


def half_removal(
    output: nn.Linear, width: int, moments: Moments, curvature: Split[torch.Tensor]
) -> HalfRemoval:
    """Order groups of `width` inputs each by what the `curvature` `[o]` says of their removal."""
    weights = output.weight.T
    whole = sum(moments.sums[1:], moments.sums[0]) / sum(moments.tokens)
    guarded = _guarded(moments.peaks, width)
    order = removal_order(whole, curvature.whole, weights, width, guarded)
    if curvature.halves is None:
        return HalfRemoval(order, None)
    first, second = (
        one_shot_losses(moment / tokens, of_half, weights, width)
        for moment, tokens, of_half in zip(
            moments.sums, moments.tokens, curvature.halves, strict=True
        )
    )
    return HalfRemoval(order, (first, second))


def _guarded(peaks: torch.Tensor, width: int) -> torch.Tensor:
    """Groups that go last, `[groups]`: an input of theirs peaks far above what is usual."""
    of_groups = peaks.reshape(-1, width).amax(dim=1)
    return of_groups > GUARDED * of_groups.median()
