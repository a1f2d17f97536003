"""Ridge regression towards the present weights, from normal equations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from globalprune.statistics.interface import widened

STRENGTHS: Final = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 10.0)  # λ, in parts of mean(diag(H))


class NormalEquations:
    """Σ_t x_t x_tᵀ, Σ_t x_t y_tᵀ and Σ_t |y_t|² over tokens, in float64."""

    def __init__(self, inputs: int, outputs: int, device: torch.device | str = "cpu") -> None:
        self.gram = torch.zeros(inputs, inputs, dtype=torch.float64, device=device)
        self.cross = torch.zeros(inputs, outputs, dtype=torch.float64, device=device)
        self.energy = 0.0

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Add tokens with inputs `x [tokens, n]` and targets `y [tokens, o]`."""
        x, y = widened(x), widened(y)
        self.gram += x.T @ x
        self.cross += x.T @ y
        self.energy += float(y.double().square().sum())

    def error(self, weights: torch.Tensor) -> float:
        """Σ_t |x_tᵀ·weights - y_t|² relative to Σ_t |y_t|², for `weights [n, o]`."""
        weights = weights.double()
        explained = (weights * (self.gram @ weights - 2 * self.cross)).sum()
        return (float(explained) + self.energy) / (self.energy or 1.0)


@dataclass(frozen=True)
class RidgeSolution:
    """Weights `[n, o]`, and the relative errors on held-out tokens before and after.

    `strength` is None where no strength lowers that error; the weights are then the prior.
    """

    weights: torch.Tensor
    strength: float | None
    error_before: float
    error_after: float


def solve_ridge(
    fitted: NormalEquations,
    held_out: NormalEquations,
    prior: torch.Tensor,
    strengths: Sequence[float] = STRENGTHS,
) -> RidgeSolution:
    """Solve `fitted` with every strength, and choose the solution that is best on `held_out`.

    `prior [n, o]` are the present weights; the solution has their dtype. Nothing is fitted to
    held-out tokens, so that they can validate later sublayers too.
    """
    before = held_out.error(prior)
    best = RidgeSolution(prior, None, before, before)
    for strength in strengths:
        weights = ridge_towards(fitted, prior, strength)
        after = held_out.error(weights)
        if after < best.error_after:  # never true of an error that is not a number
            best = RidgeSolution(weights.to(prior.dtype), strength, before, after)
    return best


def ridge_towards(equations: NormalEquations, prior: torch.Tensor, strength: float) -> torch.Tensor:
    """The float64 solution `[n, o]` for one strength: H + λ·mean(diag(H))·I around the prior."""
    prior = prior.double()
    gram = equations.gram
    scale = gram.diagonal().mean()
    ridge = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    ridged = gram + ridge * (scale * strength)
    factor, failed = torch.linalg.cholesky_ex(ridged)
    if bool(failed):
        return prior
    difference: torch.Tensor = torch.cholesky_solve(equations.cross - gram @ prior, factor)
    return prior + difference
