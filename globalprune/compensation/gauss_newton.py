"""Gauss-Newton steps of gate and up projections, by preconditioned conjugate gradients."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import torch

from globalprune.statistics.interface import widened
from globalprune.sublayers.residual_stream import StreamBatch
from globalprune.sublayers.sublayer import GatedRows, Sublayer

STEPS: Final = 8  # of conjugate gradients, at most: each is a product with JᵀJ
_PATIENCE: Final = 2  # steps without a new best error that end the descent
_RIDGE: Final = 0.5  # of the mean second moment: keeps directions that few tokens show small
_LEAST: Final = 1e-8  # of the mean: a channel that never opens makes no infinite step

Blocks = tuple[torch.Tensor, ...]  # one vector of unknowns, in parts


def gauss_newton_step(
    sublayer: Sublayer,
    rows: GatedRows,
    weight: torch.Tensor,
    batches: Sequence[StreamBatch],
) -> tuple[GatedRows, float] | None:
    """Move gate and up by one Gauss-Newton step, with the output `weight [O, n]` fixed.

    Return the moved rows, and their error on held-out tokens relative to the targets there; None
    where no step lowers that error.
    """
    problem = _GateProblem(sublayer, rows.widened(), widened(weight), batches)
    gradient = problem.gradient()
    start = problem.error(tuple(map(torch.zeros_like, gradient)))
    descent = conjugate_gradients(problem, gradient, start)
    if descent.step is None:
        return None
    return problem.rows.plus(*descent.step), descent.error


class NormalProblem(Protocol):
    """Least squares Σ |J·d - r|² over fitted tokens, linearised around d = 0."""

    def product(self, direction: Blocks) -> Blocks:
        """JᵀJ·direction."""
        ...

    def precondition(self, gradient: Blocks) -> Blocks:
        """An approximation of (JᵀJ)⁻¹·gradient, symmetric and positive."""
        ...

    def error(self, step: Blocks) -> float:
        """The true error after a step, without linearisation, on held-out tokens."""
        ...


@dataclass(frozen=True)
class Descent:
    """The best step, None where none lowers the error, and the error there."""

    step: Blocks | None
    error: float


def conjugate_gradients(problem: NormalProblem, gradient: Blocks, error: float) -> Descent:
    """Descend from zero, and return the point with the lowest error on held-out tokens.

    `gradient` is Jᵀr and `error` the held-out error, both at zero. The method is that of Hestenes
    and Stiefel (1952), stopped early.
    """
    residual = gradient
    preconditioned = problem.precondition(residual)
    direction = preconditioned
    size = _dot(residual, preconditioned)
    point = tuple(map(torch.zeros_like, gradient))
    best, since = Descent(None, error), 0
    for _ in range(STEPS):
        product = problem.product(direction)
        curvature = _dot(direction, product)
        if not (size > 0 and curvature > 0):  # converged, or not a number
            break
        point = _moved(point, direction, size / curvature)
        residual = _moved(residual, product, -size / curvature)
        error = problem.error(point)
        best, since = (Descent(point, error), 0) if error < best.error else (best, since + 1)
        if since == _PATIENCE:
            break
        preconditioned = problem.precondition(residual)
        size, before = _dot(residual, preconditioned), size
        direction = _moved(preconditioned, direction, size / before)
    return best


def _dot(first: Blocks, second: Blocks) -> float:
    """The inner product."""
    return sum(float((one * other).sum()) for one, other in zip(first, second, strict=True))


def _moved(point: Blocks, direction: Blocks, length: float) -> Blocks:
    """Point + length · direction."""
    return tuple(one + length * other for one, other in zip(point, direction, strict=True))


class _GateProblem:
    """The least squares of differences of gate and up, each `[n, D]`, around `rows`."""

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
        self._held_out = list(_tokens(sublayer, batches, held_out=True))
        self._slopes = [torch.zeros(len(rows.gate), device=weight.device) for _ in range(2)]
        width = rows.gate.shape[1]
        self._moment = torch.zeros(width, width, dtype=torch.float64, device=weight.device)
        self._inverse = self._moment

    def gradient(self) -> Blocks:
        """Jᵀr; also collects the sums that `precondition` needs."""
        total = self._zeros()
        tokens = 0
        for inputs, target in self._fitted:
            outputs, by_gate, by_up = self.rows.linearise(inputs)
            residual = (target - outputs @ self._weight.T) @ self._weight
            self._add(total, residual, by_gate, by_up, inputs)
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
        """JᵀJ·direction, in one pass over the fitted tokens."""
        gate, up = direction
        total = self._zeros()
        for inputs, _ in self._fitted:
            _, by_gate, by_up = self.rows.linearise(inputs)
            outputs = (inputs @ gate.T) * by_gate + (inputs @ up.T) * by_up
            self._add(total, outputs @ self._weight.T @ self._weight, by_gate, by_up, inputs)
        return total

    def precondition(self, gradient: Blocks) -> Blocks:
        """The inverse of JᵀJ as if channels, and slopes and inputs, were independent."""
        strengths = self._weight.square().sum(dim=0)
        blocks = []
        for block, slopes in zip(gradient, self._slopes, strict=True):
            scale = strengths * slopes
            blocks.append((block / (scale + _LEAST * scale.mean())[:, None]) @ self._inverse)
        return tuple(blocks)

    def error(self, step: Blocks) -> float:
        """Σ |y - outputs of the moved channels|² over held-out tokens, relative to Σ |y|²."""
        rows = self.rows.plus(*step)
        missed, energy = 0.0, 0.0
        for inputs, target in self._held_out:
            missed += float(
                (target - rows.outputs(inputs) @ self._weight.T).double().square().sum()
            )
            energy += float(target.double().square().sum())
        return missed / (energy or 1.0)

    def _add(
        self,
        total: Blocks,
        by_outputs: torch.Tensor,
        by_gate: torch.Tensor,
        by_up: torch.Tensor,
        inputs: torch.Tensor,
    ) -> None:
        """Add tokens' gradients by the channels' outputs `[T, n]`, taken back to gate and up."""
        for sums, slope in zip(total, (by_gate, by_up), strict=True):
            sums.addmm_((by_outputs * slope).T, inputs)

    def _zeros(self) -> Blocks:
        """The zero vector."""
        return torch.zeros_like(self.rows.gate), torch.zeros_like(self.rows.up)


def _tokens(
    sublayer: Sublayer, batches: Sequence[StreamBatch], *, held_out: bool
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield each batch's inputs of gate and up `[T, D]`, and the target outputs `[T, O]`."""
    for batch in batches:
        if bool((batch.held_out == held_out).any()):
            inputs = sublayer.norm(batch.pruned.to(sublayer.device))
            yield (
                widened(batch.tokens(inputs, held_out=held_out)),
                widened(batch.tokens(batch.target_output(sublayer), held_out=held_out)),
            )
