"""Gate and up projections refitted by Gauss-Newton steps with conjugate gradients."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import torch

from globalprune.statistics.interface import widened
from globalprune.sublayers.residual_stream import StreamBatch
from globalprune.sublayers.sublayer import GatedRows, Sublayer

Blocks = tuple[torch.Tensor, ...]  # one point in the space of unknowns

STEPS: Final = 8  # products with the normal matrix, at most
_PATIENCE: Final = 2  # as many steps without a new best end the descent


class NormalProblem(Protocol):
    """Σ |J·d - r|² over tokens that are fitted to, around the point where d is zero."""

    def product(self, direction: Blocks) -> Blocks:
        """JᵀJ·direction."""
        ...

    def precondition(self, gradient: Blocks) -> Blocks:
        """About (JᵀJ)⁻¹·gradient; symmetric and positive."""
        ...

    def error(self, step: Blocks) -> float:
        """What is left on tokens that are not fitted to, as it really is there."""
        ...


@dataclass(frozen=True)
class Descent:
    """How far to go, None where nothing helped, and the error there."""

    step: Blocks | None
    error: float


def descend(problem: NormalProblem, gradient: Blocks, error: float) -> Descent:
    """Walk down from zero, where the `gradient` is Jᵀr and the error on held-out tokens `error`."""
    left = gradient
    preconditioned = problem.precondition(left)
    direction = preconditioned
    size = _dot(left, preconditioned)
    here = tuple(map(torch.zeros_like, gradient))
    best, since = Descent(None, error), 0
    for _ in range(STEPS):
        product = problem.product(direction)
        curvature = _dot(direction, product)
        if not (size > 0 and curvature > 0):  # nothing is left, or not a number
            break
        here = _moved(here, direction, size / curvature)
        left = _moved(left, product, -size / curvature)
        error = problem.error(here)
        best, since = (Descent(here, error), 0) if error < best.error else (best, since + 1)
        if since == _PATIENCE:
            break
        preconditioned = problem.precondition(left)
        size, before = _dot(left, preconditioned), size
        direction = _moved(preconditioned, direction, size / before)
    return best


def _dot(first: Blocks, second: Blocks) -> float:
    """The inner product."""
    return sum(float((one * other).sum()) for one, other in zip(first, second, strict=True))


def _moved(point: Blocks, direction: Blocks, length: float) -> Blocks:
    """A new point from there."""
    return tuple(one + length * other for one, other in zip(point, direction, strict=True))


_RIDGE: Final = 0.5  # of the mean second moment: keeps directions that few tokens know small
_LEAST: Final = 1e-8  # of the mean: a channel that is never open makes no infinite step


def refit_gates(
    sublayer: Sublayer,
    rows: GatedRows,
    weight: torch.Tensor,
    batches: Sequence[StreamBatch],
) -> tuple[GatedRows, float] | None:
    """One Gauss-Newton step from `rows`, with `weight [O, n]` behind them, and the error after it.

    The error is that of held-out tokens, as a part of what they ask for. None where it won't fall.
    """
    problem = _GateProblem(sublayer, rows.widened(), widened(weight), batches)
    gradient = problem.gradient()
    found = descend(problem, gradient, problem.error(tuple(map(torch.zeros_like, gradient))))
    if found.step is None:
        return None
    return problem.rows.moved(*found.step), found.error


class _GateProblem:
    """Least squares in differences of gate and up, each `[n, D]`, around `rows`."""

    def __init__(
        self,
        sublayer: Sublayer,
        rows: GatedRows,
        weight: torch.Tensor,
        batches: Sequence[StreamBatch],
    ) -> None:
        self.rows = rows
        self._weight = weight  # [O, n]
        self._fitted = list(_tokens(sublayer, batches, held_out=False))
        self._judging = list(_tokens(sublayer, batches, held_out=True))
        self._slopes = [torch.zeros(len(rows.gate), device=weight.device) for _ in range(2)]
        width = rows.gate.shape[1]
        self._moment = torch.zeros(width, width, dtype=torch.float64, device=weight.device)
        self._inverse = self._moment

    def gradient(self) -> Blocks:
        """Jᵀr, and on the way what `precondition` needs."""
        total = self._zeros()
        tokens = 0
        for inputs, target in self._fitted:
            outputs, by_gate, by_up = self.rows.linearised(inputs)
            asked = (target - outputs @ self._weight.T) @ self._weight
            self._add(total, asked, by_gate, by_up, inputs)
            for squares, slope in zip(self._slopes, (by_gate, by_up), strict=True):
                squares.add_(slope.square().sum(dim=0))
            self._moment += inputs.T @ inputs
            tokens += len(inputs)
        self._moment /= tokens
        mean = self._moment.diagonal().mean()
        ridge = torch.eye(len(self._moment), dtype=torch.float64, device=mean.device) * mean
        self._inverse = torch.linalg.inv(self._moment + _RIDGE * ridge).to(self._weight.dtype)
        return total

    def product(self, direction: Blocks) -> Blocks:
        """JᵀJ·direction, in one walk over the text."""
        gate, up = direction
        total = self._zeros()
        for inputs, _ in self._fitted:
            _, by_gate, by_up = self.rows.linearised(inputs)
            moved = (inputs @ gate.T) * by_gate + (inputs @ up.T) * by_up
            self._add(total, moved @ self._weight.T @ self._weight, by_gate, by_up, inputs)
        return total

    def precondition(self, gradient: Blocks) -> Blocks:
        """As if channels had nothing to do with each other, nor slopes with inputs."""
        strengths = self._weight.square().sum(dim=0)
        found = []
        for block, slopes in zip(gradient, self._slopes, strict=True):
            scale = strengths * slopes
            found.append((block / (scale + _LEAST * scale.mean())[:, None]) @ self._inverse)
        return tuple(found)

    def error(self, step: Blocks) -> float:
        """Σ |y - what the moved channels make|² of held-out tokens, as a part of Σ |y|²."""
        rows = self.rows.moved(*step)
        missed, energy = 0.0, 0.0
        for inputs, target in self._judging:
            missed += float(
                (target - rows.outputs(inputs) @ self._weight.T).double().square().sum()
            )
            energy += float(target.double().square().sum())
        return missed / (energy or 1.0)

    def _add(
        self,
        total: Blocks,
        asked: torch.Tensor,
        by_gate: torch.Tensor,
        by_up: torch.Tensor,
        inputs: torch.Tensor,
    ) -> None:
        """Add what tokens ask of the channels `[T, n]`, taken back to gate and up."""
        for sums, slope in zip(total, (by_gate, by_up), strict=True):
            sums.addmm_((asked * slope).T, inputs)

    def _zeros(self) -> Blocks:
        """No difference at all."""
        return torch.zeros_like(self.rows.gate), torch.zeros_like(self.rows.up)


def _tokens(
    sublayer: Sublayer, batches: Sequence[StreamBatch], *, held_out: bool
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """What enters gate and up `[T, D]`, and what its output should make `[T, O]`."""
    for batch in batches:
        if bool((batch.held_out == held_out).any()):
            inputs = sublayer.norm(batch.pruned.to(sublayer.device))
            yield (
                widened(batch.tokens(inputs, held_out=held_out)),
                widened(batch.tokens(batch.asked(sublayer), held_out=held_out)),
            )
