"""Ridge regression towards given weights, its strength chosen on tokens that it doesn't see.

W' = W + (H + λD)⁻¹ (C - H·W) minimises Σ_t |x_tᵀW' - y_t|² + λ tr((W' - W)ᵀ D (W' - W)) with D the
mean of H's diagonal times the identity. A strong ridge means no change, where the usual one about
zero would mean no weights (Hoerl and Kennard 1970, https://doi.org/10.1080/00401706.1970.10488634).
Least squares as a repair of pruned language models: GRAIL, arXiv:2602.23795.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from globalprune.compensation.normal_equations import NormalEquations

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
