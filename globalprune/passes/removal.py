"""Walks the windows through the model half by half, and orders each half's groups for removal.

Only one half's Gram matrices exist at a time, so that a large model needs little above itself. The
curvature at the halves' outputs comes from a pass with gradients before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from globalprune.compensation.removal_order import RemovalOrder, one_shot_losses, removal_order
from globalprune.passes.halves import RunningHalf, check_composition
from globalprune.passes.interface import GroupSums, Half, Split, widened
from globalprune.passes.stream import midpoint
from globalprune.passes.streams import StreamBatch, stream_batches
from globalprune.progress import Progress
from globalprune.text.windows import TokenWindows

GUARDED: Final = 50.0  # times the median of its half: such peaks steer the whole stream


@dataclass(frozen=True)
class Removal:
    """The order of every measured half, and what each group adds to the loss when its turn comes.

    `losses` grow along each order, so that a ranking by them keeps it. The halves of the windows
    are compared by what each group costs as the first to go.
    """

    orders: dict[Half, RemovalOrder]
    losses: GroupSums
    halves: tuple[GroupSums, GroupSums] | None


@dataclass
class _Moments:
    """Σ a·aᵀ of both halves of the windows, and the largest |a| of every input."""

    sums: list[torch.Tensor]  # [n, n] float64 twice
    tokens: list[int]
    peaks: torch.Tensor  # [n]

    @classmethod
    def zeros(cls, inputs: int, device: torch.device) -> "_Moments":
        """Nothing seen so far."""
        sums = [torch.zeros(inputs, inputs, dtype=torch.float64, device=device) for _ in range(2)]
        return cls(sums, [0, 0], torch.zeros(inputs, device=device))

    def add(self, inputs: torch.Tensor, which: int) -> None:
        """Add tokens `[tokens, n]` of the first (0) or second (1) half of the windows."""
        values = widened(inputs)
        self.sums[which] += values.T @ values
        self.tokens[which] += len(values)
        self.peaks = torch.maximum(self.peaks, values.abs().amax(dim=0).to(self.peaks.dtype))


@torch.no_grad()
def removal_of(
    model: Any,
    layers: Sequence[nn.Module],
    halves: Sequence[RunningHalf],
    windows: TokenWindows,
    curvature: Split[GroupSums],
    *,
    batch_size: int,
    progress: Progress,
) -> Removal:
    """Order the groups of every half that `curvature` knows."""
    check_composition(model, layers, halves, windows.rows[0][None].to(model.device))
    batches = stream_batches(model, layers, windows, batch_size=batch_size)
    last = max(layer for layer, _ in curvature.whole)
    needed = [half for half in halves if half.place[0] <= last]
    removal = Removal({}, {}, None if curvature.halves is None else ({}, {}))
    for half in progress(needed, total=len(needed), label="ordering", unit="halves"):
        moments = _advance(half, batches, midpoint(len(windows.rows)))
        if moments is not None and half.place in curvature.whole:
            _order(half, moments, curvature, removal)
    return removal


def _advance(half: RunningHalf, batches: Sequence[StreamBatch], middle: int) -> _Moments | None:
    """Take the stream through one half; return the moments of what entered its output, if any."""
    if half.output is None:
        for batch in batches:
            batch.dense = half.through(batch.dense, batch.calls)
        return None
    output = half.output
    moments = _Moments.zeros(output.in_features, half.device)
    for batch in batches:
        stream = batch.dense.to(half.device)
        inputs = half.inputs(stream, batch.calls)
        for which, tokens in enumerate(batch.divided(inputs, middle)):
            if len(tokens):
                moments.add(tokens, which)
        made = functional.linear(inputs, output.weight, output.bias)
        batch.dense = (stream + half.joined(made)).cpu()
    return moments


def _order(
    half: RunningHalf, moments: _Moments, curvature: Split[GroupSums], removal: Removal
) -> None:
    """Order one half, and note what its groups cost by each half of the windows."""
    output = half.output
    if output is None:
        return
    weights = output.weight.T
    whole = sum(moments.sums[1:], moments.sums[0]) / sum(moments.tokens)
    guarded = _guarded(moments.peaks, half.width)
    order = removal_order(whole, curvature.whole[half.place], weights, half.width, guarded)
    removal.orders[half.place] = order
    removal.losses[half.place] = order.by_group
    if removal.halves is None or curvature.halves is None:
        return
    for which, found in enumerate(removal.halves):
        moment = moments.sums[which] / moments.tokens[which]
        found[half.place] = one_shot_losses(
            moment, curvature.halves[which][half.place], weights, half.width
        )


def _guarded(peaks: torch.Tensor, width: int) -> torch.Tensor:
    """Groups that go last, `[groups]`: an input of theirs peaks far above what is usual."""
    of_groups = peaks.reshape(-1, width).amax(dim=1)
    return of_groups > GUARDED * of_groups.median()
