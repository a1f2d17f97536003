"""Ridge regression towards the weights there are, from normal equations."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


class NormalEquations:
    """Σ_t x_t x_tᵀ, Σ_t x_t y_tᵀ and Σ_t |y_t|² over all tokens seen."""

    def __init__(self, inputs: int, outputs: int, device: torch.device | str = "cpu") -> None:
        self.gram = torch.zeros(inputs, inputs, dtype=torch.float64, device=device)
        self.cross = torch.zeros(inputs, outputs, dtype=torch.float64, device=device)
        self.energy = 0.0

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Add tokens."""
        x, y = _widened(x), _widened(y)
        self.gram += x.T @ x
        self.cross += x.T @ y
        self.energy += float(y.double().square().sum())

    def error(self, weights: torch.Tensor) -> float:
        """Σ_t |x_tᵀ·weights - y_t|² as a part of Σ_t |y_t|², for `weights [n, o]`."""
        weights = weights.double()
        explained = (weights * (self.gram @ weights - 2 * self.cross)).sum()
        return (float(explained) + self.energy) / (self.energy or 1.0)


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float32 or wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


STRENGTHS = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 10.0)  # λ: parts of mean(diag(H))


@dataclass(frozen=True)
class Repair:
    """Weights `[n, o]`, and what they do to the error on held-out tokens, as a part of the whole.

    `strength` is None where no strength made that error smaller; the weights are then the prior.
    """

    weights: torch.Tensor
    strength: float | None
    error_before: float
    error_after: float


def repair(
    fitted: NormalEquations,
    held_out: NormalEquations,
    prior: torch.Tensor,
    strengths: Sequence[float] = STRENGTHS,
) -> Repair:
    """Solve for every strength on `fitted`, and keep what is best on `held_out`.

    `prior [n, o]` is what stands there now. Its dtype is that of the result. Nothing is ever fitted
    to what is held out, so that it can judge what is solved behind this too.
    """
    before = held_out.error(prior)
    best = Repair(prior, None, before, before)
    for strength in strengths:
        weights = towards_prior(fitted, prior, strength)
        after = held_out.error(weights)
        if after < best.error_after:  # never where an error is not a number
            best = Repair(weights.to(prior.dtype), strength, before, after)
    return best


def towards_prior(equations: NormalEquations, prior: torch.Tensor, strength: float) -> torch.Tensor:
    """The float64 solution `[n, o]` for one strength."""
    prior = prior.double()
    gram = equations.gram
    scale = gram.diagonal().mean()
    ridge = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    ridged = gram + ridge * (scale * strength)
    factor, failed = torch.linalg.cholesky_ex(ridged)
    if bool(failed):
        return prior
    solved: torch.Tensor = torch.cholesky_solve(equations.cross - gram @ prior, factor)
    return prior + solved
