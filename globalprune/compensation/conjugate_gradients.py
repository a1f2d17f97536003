"""Conjugate gradients for least squares with too many unknowns to write the equations down.

What is fitted to few tokens must not be fitted to the end: each step is judged on tokens that the
equations don't know, and the best one counts. Stopping early is the regularisation.

Sources: Hestenes and Stiefel 1952, https://doi.org/10.6028/jres.049.044; early stopping as
regularisation: Hanke 1995, Conjugate Gradient Type Methods for Ill-Posed Problems, chapter 3.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import torch

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
