"""The greedy OBS order of a sublayer's groups, and the loss along it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import torch

DAMPING: Final = 1e-2  # of A's own diagonal, so that an input's scale changes nothing
_LEAST: Final = 1e-12  # of its mean: an input that is always zero makes no singular matrix
_STEP: Final = 1e-12  # relative: ranks groups of one loss in the order in which they go
_COMPACTED: Final = 16  # as soon as one of so many is gone, the matrices are made smaller


@dataclass(frozen=True)
class RemovalOrder:
    """All groups of a sublayer, the first to go first, and the loss that each adds when it goes."""

    groups: torch.Tensor  # int64 [groups]
    losses: torch.Tensor  # float64 [groups], nats a token

    @property
    def by_group(self) -> torch.Tensor:
        """The loss of every group `[groups]`; it grows along the order, so a ranking keeps it."""
        steps = _STEP * torch.arange(len(self.losses), dtype=self.losses.dtype)
        found = torch.empty_like(self.losses)
        found[self.groups] = self.losses.cummax(0).values * (1 + steps)
        return found


def removal_order(
    second_moment: torch.Tensor,
    curvature: torch.Tensor,
    weights: torch.Tensor,
    width: int,
    guarded: torch.Tensor | None = None,
) -> RemovalOrder:
    """Remove the cheapest group, solve the rest anew, and go on until nothing is left.

    `second_moment` A `[n, n]`, `curvature` the diagonal of G `[o]`, `weights` W `[n, o]`; group u
    owns the inputs `[u·width, (u+1)·width)`. Those that are `guarded [groups]` go last.

    No step asks a GPU what it has found, so that thousands of them run without a pause.
    """
    dtype = torch.float32 if width == 1 else torch.float64  # many rank-one steps, or a few wide
    inverse, scaled = (part.to(dtype) for part in _prepared(second_moment, curvature, weights))
    standing = torch.arange(len(inverse) // width, device=inverse.device)
    gone = torch.zeros_like(standing, dtype=torch.bool)
    late = torch.zeros_like(gone) if guarded is None else guarded.to(gone.device)
    early = len(standing) - int(late.sum())
    groups: list[torch.Tensor] = []
    losses: list[torch.Tensor] = []
    dropped = 0  # of those that are gone, so many left the matrices
    while len(standing):
        now = _losses(inverse, scaled, width)
        closed = gone | late if len(groups) < early else gone
        place = now.masked_fill(closed, torch.inf).argmin(0, keepdim=True)
        groups.append(standing[place])
        losses.append(now[place])
        _remove(inverse, scaled, place, width)
        gone[place] = True
        if (len(groups) - dropped) * _COMPACTED >= len(standing):
            dropped = len(groups)
            kept = ~gone
            inputs = kept.repeat_interleave(width)
            inverse, scaled = inverse[inputs][:, inputs], scaled[inputs]
            standing, gone, late = standing[kept], gone[kept], late[kept]
    return RemovalOrder(torch.cat(groups).cpu(), torch.cat(losses).double().cpu())


def one_shot_losses(
    second_moment: torch.Tensor, curvature: torch.Tensor, weights: torch.Tensor, width: int
) -> torch.Tensor:
    """ΔL_u of every group as if it were the first to go, `[groups]`."""
    inverse, scaled = _prepared(second_moment, curvature, weights)
    return _losses(inverse, scaled, width).cpu()


def _prepared(
    second_moment: torch.Tensor, curvature: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(A + damping)⁻¹ and W·√G in float64; inputs that are always zero don't matter."""
    moment = second_moment.double()
    own = moment.diagonal()
    least = _LEAST * (float(own.mean()) or 1.0)
    damped = moment + torch.diag(DAMPING * own + least)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return inverse, weights.double() * curvature.double().clamp(min=0).sqrt()


def _losses(inverse: torch.Tensor, scaled: torch.Tensor, width: int) -> torch.Tensor:
    """½ tr(V_uᵀ [(A⁻¹)_uu]⁻¹ V_u) of every group, V the weights scaled by √G."""
    if width == 1:
        squares: torch.Tensor = scaled.square().sum(dim=1)
        return 0.5 * squares / inverse.diagonal()
    blocks = _own_blocks(inverse, width)
    parts = scaled.reshape(-1, width, scaled.shape[1])
    products: torch.Tensor = parts * torch.linalg.solve(blocks, parts)
    return 0.5 * products.sum(dim=(1, 2))


def _own_blocks(inverse: torch.Tensor, width: int) -> torch.Tensor:
    """The blocks on the diagonal, `[groups, width, width]`."""
    groups = len(inverse) // width
    apart: torch.Tensor = inverse.reshape(groups, width, groups, width)
    return torch.stack([apart[group, :, group] for group in range(groups)])


def _remove(inverse: torch.Tensor, scaled: torch.Tensor, place: torch.Tensor, width: int) -> None:
    """Solve the weights that stay anew, and forget the inputs of the group at `place [1]`."""
    own = place * width + torch.arange(width, device=place.device)
    rows = inverse[own]
    block = rows[:, own]
    solved = rows / block if width == 1 else torch.linalg.solve(block, rows)
    spread = solved.T  # A⁻¹_:u (A⁻¹_uu)⁻¹
    scaled.addmm_(spread, scaled[own], alpha=-1)
    inverse.addmm_(spread, rows, alpha=-1)
    # what is gone stays regular until it is compacted away
    inverse[own[:, None], own] = torch.eye(width, dtype=inverse.dtype, device=inverse.device)


_CREDIBLE: Final = 0.5  # of the factor up to a trial: a stretch of less tells of noise


def measured_losses(order: RemovalOrder, trials: Mapping[int, float]) -> RemovalOrder:
    """The same order; each stretch up to a trial is multiplied by measured / predicted.

    `trials` are nats a token by groups removed. Behind the last one its stretch's factor goes on. A
    stretch that looks far cheaper than all before it is noise of two measurements, and takes the
    factor of the whole up to there. Where nothing was predicted, nothing is scaled.
    """
    losses = order.losses.clone()
    factor, done = 1.0, 0
    for start, end, factor in _stretches(order, trials):
        losses[start:end] = order.losses[start:end] * factor
        done = end
    losses[done:] *= factor
    return RemovalOrder(order.groups, losses)


def _stretches(
    order: RemovalOrder, trials: Mapping[int, float]
) -> Iterator[tuple[int, int, float]]:
    """Yield places in the order, from and up to, with a factor; a later one may revise."""
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
