"""The removal order of every sublayer, from second moments along the residual stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from globalprune.artifacts.run_folder import RunFolder
from globalprune.obs.removal_order import RemovalOrder, one_shot_losses, removal_order
from globalprune.progress import Progress
from globalprune.statistics.collect import midpoint
from globalprune.statistics.interface import GroupSums, Split, SublayerKey, sublayer_name, widened
from globalprune.sublayers.residual_stream import (
    StreamBatch,
    SublayerModel,
    check_composition,
    stream_batches,
)
from globalprune.sublayers.sublayer import Sublayer
from globalprune.text.windows import TokenWindows

GUARD_RATIO: Final = 50.0  # a peak so far above its sublayer's median steers the whole stream
_GROUPS, _LOSSES, _ONE_SHOT = "groups", "losses", ("first half", "second half")


@dataclass(frozen=True)
class RemovalOrders:
    """The order of every measured sublayer, and the loss that each group adds when it is removed.

    `losses` grow along each order, so that a ranking by them keeps it. `halves` hold each group's
    loss as if it were removed first, by each half of the windows, for reliability.
    """

    orders: dict[SublayerKey, RemovalOrder]
    losses: GroupSums
    halves: tuple[GroupSums, GroupSums] | None


@torch.no_grad()
def order_sublayers(
    model: SublayerModel,
    windows: TokenWindows,
    curvature: Split[GroupSums],
    *,
    batch_size: int,
    kept: RunFolder | None = None,
    progress: Progress,
) -> RemovalOrders:
    """Order the groups of every sublayer in `curvature`.

    Orders found in `kept` are not computed again, and new ones are kept there. Raises what
    `check_composition` raises.
    """
    check_composition(model, windows.rows[0][None].to(model.module.device))
    batches = stream_batches(model, windows, batch_size=batch_size)
    last = max(layer for layer, _ in curvature.whole)
    needed = [sublayer for sublayer in model.sublayers if sublayer.key[0] <= last]
    ordered: dict[SublayerKey, OrderedSublayer] = {}
    for sublayer in progress(needed, total=len(needed), label="ordering", unit="sublayers"):
        output, key = sublayer.output, sublayer.key
        tensors = None if kept is None else kept.load_tensors(sublayer_name(key))
        if tensors is not None or output is None or key not in curvature.whole:
            for batch in batches:
                batch.dense = sublayer.advance(batch.dense, batch.calls)
            if tensors is not None:
                ordered[key] = OrderedSublayer.from_tensors(tensors)
            continue
        moments = _advance(sublayer, output, batches, midpoint(len(windows.rows)))
        ordered[key] = _ordered(output, sublayer.width, moments, _of_sublayer(curvature, key))
        if kept is not None:
            kept.save_tensors(sublayer_name(key), ordered[key].to_tensors())
    return _combined(ordered)


@dataclass
class Moments:
    """Σ a·aᵀ over the tokens of each half of the windows, and the largest |a| of every input."""

    sums: list[torch.Tensor]  # [n, n] float64 twice
    tokens: list[int]
    peaks: torch.Tensor  # [n]

    @classmethod
    def zeros(cls, inputs: int, device: torch.device) -> "Moments":
        """The moments of no tokens."""
        sums = [torch.zeros(inputs, inputs, dtype=torch.float64, device=device) for _ in range(2)]
        return cls(sums, [0, 0], torch.zeros(inputs, device=device))

    def add(self, inputs: torch.Tensor, half: int) -> None:
        """Add tokens `[tokens, n]` of the first (0) or second (1) half of the windows."""
        values = widened(inputs)
        self.sums[half] += values.T @ values
        self.tokens[half] += len(values)
        self.peaks = torch.maximum(self.peaks, values.abs().amax(dim=0).to(self.peaks.dtype))


@dataclass(frozen=True)
class OrderedSublayer:
    """A sublayer's order, and its one-shot losses `[groups]` by each half of the windows."""

    order: RemovalOrder
    one_shot: tuple[torch.Tensor, torch.Tensor] | None

    def to_tensors(self) -> dict[str, torch.Tensor]:
        """All tensors by name."""
        one_shot = dict(zip(_ONE_SHOT, self.one_shot, strict=True)) if self.one_shot else {}
        return {_GROUPS: self.order.groups, _LOSSES: self.order.losses, **one_shot}

    @classmethod
    def from_tensors(cls, tensors: dict[str, torch.Tensor]) -> "OrderedSublayer":
        """Read what `to_tensors` returned."""
        first, second = (tensors.get(name) for name in _ONE_SHOT)
        one_shot = None if first is None or second is None else (first, second)
        return cls(RemovalOrder(tensors[_GROUPS], tensors[_LOSSES]), one_shot)


def _ordered(
    output: nn.Linear, width: int, moments: Moments, curvature: Split[torch.Tensor]
) -> OrderedSublayer:
    """Order groups of `width` inputs each, with the `curvature` `[o]` at the output."""
    weights = output.weight.T
    whole = sum(moments.sums[1:], moments.sums[0]) / sum(moments.tokens)
    order = removal_order(whole, curvature.whole, weights, width, _guarded(moments.peaks, width))
    if curvature.halves is None:
        return OrderedSublayer(order, None)
    first, second = (
        one_shot_losses(moment / tokens, of_half, weights, width)
        for moment, tokens, of_half in zip(
            moments.sums, moments.tokens, curvature.halves, strict=True
        )
    )
    return OrderedSublayer(order, (first, second))


def _guarded(peaks: torch.Tensor, width: int) -> torch.Tensor:
    """Groups `[groups]` with massive activations (arXiv:2402.17762), which are removed last."""
    of_groups = peaks.reshape(-1, width).amax(dim=1)
    return of_groups > GUARD_RATIO * of_groups.median()


def _advance(
    sublayer: Sublayer, output: nn.Linear, batches: Sequence[StreamBatch], middle: int
) -> Moments:
    """Run the stream through a sublayer; return the moments of its output projection's inputs."""
    moments = Moments.zeros(output.in_features, sublayer.device)
    for batch in batches:
        inputs = batch.advance_by_inputs(sublayer, output)
        for half, tokens in enumerate(batch.split_at(inputs, middle)):
            if len(tokens):
                moments.add(tokens, half)
    return moments


def _of_sublayer(curvature: Split[GroupSums], key: SublayerKey) -> Split[torch.Tensor]:
    """The curvature at one sublayer's output."""
    halves = curvature.halves
    return Split(curvature.whole[key], halves and (halves[0][key], halves[1][key]))


def _combined(ordered: dict[SublayerKey, OrderedSublayer]) -> RemovalOrders:
    """The orders of all sublayers."""
    one_shots = {key: each.one_shot for key, each in ordered.items() if each.one_shot}
    first, second = ({key: each[half] for key, each in one_shots.items()} for half in (0, 1))
    return RemovalOrders(
        orders={key: each.order for key, each in ordered.items()},
        losses={key: each.order.by_group for key, each in ordered.items()},
        halves=(first, second) if one_shots else None,
    )
