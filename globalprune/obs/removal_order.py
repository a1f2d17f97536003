"""The greedy order in which optimal brain surgeon removes a sublayer's groups, and its losses.

OBS (Hassibi and Stork, 1993; with structures, LLM Surgeon, arXiv:2312.17244) with the curvature
A ⊗ G of K-FAC (arXiv:1503.05671): A is the second moment of the inputs of the output projection,
and G the diagonal of the second moment of the gradient at its output. `order_sublayers` sums up A
along the residual stream, and orders every sublayer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from globalprune.artifacts.run_folder import RunFolder
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

DAMPING: Final = 1e-2  # of A's own diagonal, so that an input's scale changes nothing
_LEAST: Final = 1e-12  # of its mean: an input that is always zero makes no singular matrix
_STEP: Final = 1e-12  # relative: ranks groups of one loss in the order of their removal
_COMPACTED: Final = 16  # the matrices shrink when one of so many groups is removed
_CREDIBLE: Final = 0.5  # of the factor up to a trial: a stretch below that is noise
GUARD_RATIO: Final = 50.0  # a peak so far above its sublayer's median steers the whole stream
_GROUPS, _LOSSES, _ONE_SHOT = "groups", "losses", ("first half", "second half")


@dataclass(frozen=True)
class RemovalOrder:
    """A sublayer's groups in the order of their removal, with the loss that each one adds."""

    groups: torch.Tensor  # int64 [groups]
    losses: torch.Tensor  # float64 [groups], nats per token

    @property
    def by_group(self) -> torch.Tensor:
        """The loss of every group `[groups]`; it grows along the order, so a ranking keeps it."""
        steps = _STEP * torch.arange(len(self.losses), dtype=self.losses.dtype)
        losses = torch.empty_like(self.losses)
        losses[self.groups] = self.losses.cummax(0).values * (1 + steps)
        return losses


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


def removal_order(
    second_moment: torch.Tensor,
    curvature: torch.Tensor,
    weights: torch.Tensor,
    width: int,
    guarded: torch.Tensor | None = None,
) -> RemovalOrder:
    """Remove the cheapest group and compensate the others for it, until no group is left.

    `second_moment` is A `[n, n]`, `curvature` the diagonal of G `[o]`, `weights` W `[n, o]`; group
    u owns the inputs `[u·width, (u+1)·width)`. Groups that are `guarded [groups]` go last.

    No step waits for a result from the GPU, so that thousands of steps run without a pause.
    """
    dtype = torch.float32 if width == 1 else torch.float64  # many rank-one steps, or a few wide
    inverse, scaled = (part.to(dtype) for part in _prepared(second_moment, curvature, weights))
    remaining = torch.arange(len(inverse) // width, device=inverse.device)
    removed = torch.zeros_like(remaining, dtype=torch.bool)
    late = torch.zeros_like(removed) if guarded is None else guarded.to(removed.device)
    early = len(remaining) - int(late.sum())
    groups: list[torch.Tensor] = []
    losses: list[torch.Tensor] = []
    compacted = 0  # removed groups that are no longer in the matrices
    while len(remaining):
        now = _losses(inverse, scaled, width)
        closed = removed | late if len(groups) < early else removed
        position = now.masked_fill(closed, torch.inf).argmin(0, keepdim=True)
        groups.append(remaining[position])
        losses.append(now[position])
        _remove(inverse, scaled, position, width)
        removed[position] = True
        if (len(groups) - compacted) * _COMPACTED >= len(remaining):
            compacted = len(groups)
            kept = ~removed
            inputs = kept.repeat_interleave(width)
            inverse, scaled = inverse[inputs][:, inputs], scaled[inputs]
            remaining, removed, late = remaining[kept], removed[kept], late[kept]
    return RemovalOrder(torch.cat(groups).cpu(), torch.cat(losses).double().cpu())


def one_shot_losses(
    second_moment: torch.Tensor, curvature: torch.Tensor, weights: torch.Tensor, width: int
) -> torch.Tensor:
    """The loss of every group as if it were removed first, `[groups]`, float64 nats per token."""
    inverse, scaled = _prepared(second_moment, curvature, weights)
    return _losses(inverse, scaled, width).cpu()


def measured_losses(order: RemovalOrder, trials: Mapping[int, float]) -> RemovalOrder:
    """The same order; each stretch up to a trial is multiplied by measured / predicted loss.

    `trials` are nats per token by the number of removed groups. Behind the last one its factor goes
    on. A stretch far cheaper than all before it is noise of two measurements, and takes the factor
    of the whole up to its end. A stretch with no predicted loss is not scaled.
    """
    losses = order.losses.clone()
    factor, done = 1.0, 0
    for start, end, factor in _stretches(order, trials):
        losses[start:end] = order.losses[start:end] * factor
        done = end
    losses[done:] *= factor
    return RemovalOrder(order.groups, losses)


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


def _stretches(
    order: RemovalOrder, trials: Mapping[int, float]
) -> Iterator[tuple[int, int, float]]:
    """Yield (from, up to, factor) for stretches of the order; a later one may revise earlier."""
    done, reached = 0, 0.0
    for count, nats in sorted(trials.items()):
        predicted = float(order.losses[done:count].sum())
        if predicted <= 0:
            continue
        whole = nats / float(order.losses[:count].sum())
        factor = (nats - reached) / predicted
        if factor < _CREDIBLE * whole:
            yield 0, count, whole
        else:
            yield done, count, factor
        done, reached = count, nats


def _prepared(
    second_moment: torch.Tensor, curvature: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(A + damping)⁻¹ and W·√G in float64; inputs that are always zero don't matter."""
    moment = second_moment.double()
    diagonal = moment.diagonal()
    least = _LEAST * (float(diagonal.mean()) or 1.0)
    damped = moment + torch.diag(DAMPING * diagonal + least)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return inverse, weights.double() * curvature.double().clamp(min=0).sqrt()


def _losses(inverse: torch.Tensor, scaled: torch.Tensor, width: int) -> torch.Tensor:
    """½ tr(V_uᵀ [(A⁻¹)_uu]⁻¹ V_u) of every group, V the weights scaled by √G."""
    if width == 1:
        squares: torch.Tensor = scaled.square().sum(dim=1)
        return 0.5 * squares / inverse.diagonal()
    blocks = _diagonal_blocks(inverse, width)
    parts = scaled.reshape(-1, width, scaled.shape[1])
    products: torch.Tensor = parts * torch.linalg.solve(blocks, parts)
    return 0.5 * products.sum(dim=(1, 2))


def _diagonal_blocks(inverse: torch.Tensor, width: int) -> torch.Tensor:
    """The blocks on the diagonal, `[groups, width, width]`."""
    groups = len(inverse) // width
    apart: torch.Tensor = inverse.reshape(groups, width, groups, width)
    return torch.stack([apart[group, :, group] for group in range(groups)])


def _remove(
    inverse: torch.Tensor, scaled: torch.Tensor, position: torch.Tensor, width: int
) -> None:
    """Take the group at `position [1]` out of the inverse, and compensate the other weights."""
    own = position * width + torch.arange(width, device=position.device)
    rows = inverse[own]
    block = rows[:, own]
    solved = rows / block if width == 1 else torch.linalg.solve(block, rows)
    spread = solved.T  # A⁻¹_:u (A⁻¹_uu)⁻¹
    scaled.addmm_(spread, scaled[own], alpha=-1)
    inverse.addmm_(spread, rows, alpha=-1)
    # the removed rows stay regular until they are compacted away
    inverse[own[:, None], own] = torch.eye(width, dtype=inverse.dtype, device=inverse.device)


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
