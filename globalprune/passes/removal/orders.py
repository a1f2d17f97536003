"""Walks the windows through the model half by half, and orders each half's groups for removal.

Only one half's Gram matrices exist at a time, so that a large model needs little above itself. The
curvature at the halves' outputs comes from a pass with gradients before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from globalprune.artifacts.run_folder import RunFolder
from globalprune.compensation.removal_order import RemovalOrder
from globalprune.passes.halves.composition import check_composition
from globalprune.passes.halves.running_half import RunningHalf
from globalprune.passes.halves.streams import StreamBatch, stream_batches
from globalprune.passes.interface import GroupSums, Half, Split, half_name
from globalprune.passes.removal.half_removal import HalfRemoval, Moments, half_removal
from globalprune.passes.stream import midpoint
from globalprune.progress import Progress
from globalprune.text.windows import TokenWindows


@dataclass(frozen=True)
class Removal:
    """The order of every measured half, and what each group adds to the loss when its turn comes.

    `losses` grow along each order, so that a ranking by them keeps it. The halves of the windows
    are compared by what each group costs as the first to go.
    """

    orders: dict[Half, RemovalOrder]
    losses: GroupSums
    halves: tuple[GroupSums, GroupSums] | None


@torch.no_grad()
def removal_of(
    model: Any,
    layers: Sequence[nn.Module],
    halves: Sequence[RunningHalf],
    windows: TokenWindows,
    curvature: Split[GroupSums],
    *,
    batch_size: int,
    kept: RunFolder | None = None,
    progress: Progress,
) -> Removal:
    """Order the groups of every half that `curvature` knows; what was `kept` is known already."""
    check_composition(model, layers, halves, windows.rows[0][None].to(model.device))
    batches = stream_batches(model, layers, windows, batch_size=batch_size)
    last = max(layer for layer, _ in curvature.whole)
    needed = [half for half in halves if half.place[0] <= last]
    found: dict[Half, HalfRemoval] = {}
    for half in progress(needed, total=len(needed), label="ordering", unit="halves"):
        output, place = half.output, half.place
        known = None if kept is None else kept.find_tensors(half_name(place))
        if known is not None or output is None or place not in curvature.whole:
            for batch in batches:
                batch.dense = half.through(batch.dense, batch.calls)
            if known is not None:
                found[place] = HalfRemoval.of_tensors(known)
            continue
        moments = _advance(half, output, batches, midpoint(len(windows.rows)))
        found[place] = half_removal(output, half.width, moments, _of(curvature, place))
        if kept is not None:
            kept.keep_tensors(half_name(place), found[place].tensors())
    return _together(found)


def _advance(
    half: RunningHalf, output: nn.Linear, batches: Sequence[StreamBatch], middle: int
) -> Moments:
    """Take the stream through one half; return the moments of what entered its output."""
    moments = Moments.zeros(output.in_features, half.device)
    for batch in batches:
        stream = batch.dense.to(half.device)
        inputs = half.inputs(stream, batch.calls)
        for which, tokens in enumerate(batch.divided(inputs, middle)):
            if len(tokens):
                moments.add(tokens, which)
        made = functional.linear(inputs, output.weight, output.bias)
        batch.dense = (stream + half.joined(made)).cpu()
    return moments


def _of(curvature: Split[GroupSums], place: Half) -> Split[torch.Tensor]:
    """The curvature at one half's output."""
    halves = curvature.halves
    return Split(curvature.whole[place], halves and (halves[0][place], halves[1][place]))


def _together(found: dict[Half, HalfRemoval]) -> Removal:
    """What was found of all halves."""
    one_shots = {place: known.one_shot for place, known in found.items() if known.one_shot}
    first, second = ({place: each[which] for place, each in one_shots.items()} for which in (0, 1))
    return Removal(
        orders={place: known.order for place, known in found.items()},
        losses={place: known.order.by_group for place, known in found.items()},
        halves=(first, second) if one_shots else None,
    )
