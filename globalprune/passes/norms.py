"""The norm that stands behind a sublayer in some families, seen as a function.

Root mean square norms of all kinds (weights that count from zero or from one, an epsilon of any
name, arithmetic in float32) are recognised by what they do; what does something else is called.
"""

import copy
import math
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import nn

_LARGE: Final = 1e4  # beside it no epsilon counts
_SMALL: Final = 1e-3  # beside its square one does
_TRIED: Final = (1e-2, 1.0, 1e2)  # sizes of vectors that show whether the form holds
_TOLERANCE: Final = 1e-5  # relative; the arithmetic is that of float32 at the least


@dataclass(frozen=True, eq=False)
class RootMeanSquare:
    """n(x) = weight · x / √(mean x² + epsilon)."""

    weight: torch.Tensor  # [D], float32 or wider
    epsilon: float

    def of(self, rows: torch.Tensor) -> torch.Tensor:
        """Normalise rows `[..., D]`."""
        return self.weight * rows * self.inverse_size(rows.square().mean(dim=-1, keepdim=True))

    def inverse_size(self, mean_square: torch.Tensor) -> torch.Tensor:
        """1 / √(mean x² + epsilon)."""
        return (mean_square + self.epsilon).rsqrt()


@dataclass(frozen=True, eq=False)
class NormBehind:
    """A norm of the model, and what it computes in float32 or wider."""

    module: nn.Module
    wide: nn.Module
    form: RootMeanSquare | None

    @classmethod
    @torch.no_grad()
    def of(cls, module: nn.Module, like: torch.Tensor) -> Self:
        """Look at the norm behind a projection with weights `like` `[D, n]`."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        wide = copy.deepcopy(module).to(dtype).requires_grad_(requires_grad=False)
        return cls(module, wide, _form(wide, like.new_ones(len(like), dtype=dtype)))


def _form(norm: nn.Module, ones: torch.Tensor) -> RootMeanSquare | None:
    """The weight and the epsilon of a root mean square norm; None for any other norm."""
    weight = norm(_LARGE * ones)
    share = float((norm(_SMALL * ones) * weight).sum() / weight.square().sum())
    if not 0 < share < math.inf:
        return None
    found = RootMeanSquare(weight, max(0.0, _SMALL**2 * (1 / share**2 - 1)))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(ones), generator=generator).to(ones)
    for rows in (size * noise for size in _TRIED):
        expected = norm(rows)
        if not float((found.of(rows) - expected).norm()) <= _TOLERANCE * float(expected.norm()):
            return None
    return found
