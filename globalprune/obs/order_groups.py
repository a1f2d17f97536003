"""Second moments of every sublayer, and the removal order that follows from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from globalprune.artifacts.run_folder import RunFolder
from globalprune.obs.removal_order import RemovalOrder, one_shot_losses, removal_order
from globalprune.progress import Progress
from globalprune.statistics.collect import midpoint
from globalprune.statistics.interface import GroupSums, Split, SublayerKey, sublayer_name, widened
from globalprune.sublayers.residual_stream import StreamBatch, check_composition, stream_batches
from globalprune.sublayers.sublayer import Sublayer
from globalprune.text.windows import TokenWindows

GUARDED: Final = 50.0  # times the median of its sublayer: such peaks steer the whole stream
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
class SublayerRemoval:
    """The order, and by each half of the windows what groups `[groups]` cost as the first to go."""

    order: RemovalOrder
    one_shot: tuple[torch.Tensor, torch.Tensor] | None

    def tensors(self) -> dict[str, torch.Tensor]:
        """All of it by name."""
        one_shot = dict(zip(_ONE_SHOT, self.one_shot, strict=True)) if self.one_shot else {}
        return {_GROUPS: self.order.groups, _LOSSES: self.order.losses, **one_shot}

    @classmethod
    def of_tensors(cls, tensors: dict[str, torch.Tensor]) -> "SublayerRemoval":
        """What gave these tensors."""
        first, second = (tensors.get(name) for name in _ONE_SHOT)
        one_shot = None if first is None or second is None else (first, second)
        return cls(RemovalOrder(tensors[_GROUPS], tensors[_LOSSES]), one_shot)


def sublayer_removal(
    output: nn.Linear, width: int, moments: Moments, curvature: Split[torch.Tensor]
) -> SublayerRemoval:
    """Order groups of `width` inputs each by what the `curvature` `[o]` says of their removal."""
    weights = output.weight.T
    whole = sum(moments.sums[1:], moments.sums[0]) / sum(moments.tokens)
    guarded = _guarded(moments.peaks, width)
    order = removal_order(whole, curvature.whole, weights, width, guarded)
    if curvature.halves is None:
        return SublayerRemoval(order, None)
    first, second = (
        one_shot_losses(moment / tokens, of_sublayer, weights, width)
        for moment, tokens, of_sublayer in zip(
            moments.sums, moments.tokens, curvature.halves, strict=True
        )
    )
    return SublayerRemoval(order, (first, second))


def _guarded(peaks: torch.Tensor, width: int) -> torch.Tensor:
    """Groups that go last, `[groups]`: an input of theirs peaks far above what is usual."""
    of_groups = peaks.reshape(-1, width).amax(dim=1)
    return of_groups > GUARDED * of_groups.median()


@dataclass(frozen=True)
class Removal:
    """The order of every measured sublayer, and the loss that each group adds when it is removed.

    `losses` grow along each order, so that a ranking by them keeps it. The halves of the windows
    are compared by what each group costs as the first to go.
    """

    orders: dict[SublayerKey, RemovalOrder]
    losses: GroupSums
    halves: tuple[GroupSums, GroupSums] | None


@torch.no_grad()
def removal_of(
    model: Any,
    layers: Sequence[nn.Module],
    sublayers: Sequence[Sublayer],
    windows: TokenWindows,
    curvature: Split[GroupSums],
    *,
    batch_size: int,
    kept: RunFolder | None = None,
    progress: Progress,
) -> Removal:
    """Order the groups of every sublayer in `curvature`; those in `kept` are known already."""
    check_composition(model, layers, sublayers, windows.rows[0][None].to(model.device))
    batches = stream_batches(model, layers, windows, batch_size=batch_size)
    last = max(layer for layer, _ in curvature.whole)
    needed = [sublayer for sublayer in sublayers if sublayer.place[0] <= last]
    found: dict[SublayerKey, SublayerRemoval] = {}
    for sublayer in progress(needed, total=len(needed), label="ordering", unit="sublayers"):
        output, place = sublayer.output, sublayer.place
        known = None if kept is None else kept.find_tensors(sublayer_name(place))
        if known is not None or output is None or place not in curvature.whole:
            for batch in batches:
                batch.dense = sublayer.through(batch.dense, batch.calls)
            if known is not None:
                found[place] = SublayerRemoval.of_tensors(known)
            continue
        moments = _advance(sublayer, output, batches, midpoint(len(windows.rows)))
        found[place] = sublayer_removal(output, sublayer.width, moments, _of(curvature, place))
        if kept is not None:
            kept.keep_tensors(sublayer_name(place), found[place].tensors())
    return _together(found)


def _advance(
    sublayer: Sublayer, output: nn.Linear, batches: Sequence[StreamBatch], middle: int
) -> Moments:
    """Take the stream through one sublayer; return the moments of what entered its output."""
    moments = Moments.zeros(output.in_features, sublayer.device)
    for batch in batches:
        stream = batch.dense.to(sublayer.device)
        inputs = sublayer.inputs(stream, batch.calls)
        for which, tokens in enumerate(batch.divided(inputs, middle)):
            if len(tokens):
                moments.add(tokens, which)
        made = functional.linear(inputs, output.weight, output.bias)
        batch.dense = (stream + sublayer.joined(made)).cpu()
    return moments


def _of(curvature: Split[GroupSums], place: SublayerKey) -> Split[torch.Tensor]:
    """The curvature at one sublayer's output."""
    halves = curvature.halves
    return Split(curvature.whole[place], halves and (halves[0][place], halves[1][place]))


def _together(found: dict[SublayerKey, SublayerRemoval]) -> Removal:
    """What was found of all sublayers."""
    one_shots = {place: known.one_shot for place, known in found.items() if known.one_shot}
    first, second = ({place: each[which] for place, each in one_shots.items()} for which in (0, 1))
    return Removal(
        orders={place: known.order for place, known in found.items()},
        losses={place: known.order.by_group for place, known in found.items()},
        halves=(first, second) if one_shots else None,
    )
