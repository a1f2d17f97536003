"""The norm between a sublayer's output and the residual stream, as a value for reducers.

Gemma 2, Gemma 3 and OLMo 2 have such norms. Most of them are root mean square norms, for which the
effect of a group has a closed form.
"""

import copy
import math
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import nn

from globalprune.artifacts.structure import GroupType, ModelStructure
from globalprune.errors import UnsupportedArchitecture
from globalprune.models.architecture import ModelAdapter

_LARGE: Final = 1e4  # an epsilon is negligible beside it
_SMALL: Final = 1e-3  # an epsilon is not negligible beside its square
_PROBES: Final = (1e-2, 1.0, 1e2)  # sizes of the vectors that a norm is tested on
_TOLERANCE: Final = 1e-5  # relative; norms compute in float32 at least


@dataclass(frozen=True, eq=False)
class RmsNorm:
    """n(x) = weight · x / √(mean x² + epsilon): https://arxiv.org/abs/1910.07467."""

    weight: torch.Tensor  # [D], float32 or wider
    epsilon: float

    def normalise(self, rows: torch.Tensor) -> torch.Tensor:
        """Normalise rows `[..., D]`."""
        mean_square = rows.square().mean(dim=-1, keepdim=True)
        return self.weight * rows * (mean_square + self.epsilon).rsqrt()


@dataclass(frozen=True, eq=False)
class PostNorm:
    """A norm of the model, a copy of it in float32 or wider, and its closed form if it has one."""

    module: nn.Module
    wide: nn.Module
    rms: RmsNorm | None

    @classmethod
    @torch.no_grad()
    def of(cls, module: nn.Module, weight: torch.Tensor) -> Self:
        """Describe the norm behind a projection with this weight `[D, n]`."""
        dtype = torch.promote_types(weight.dtype, torch.float32)
        wide = copy.deepcopy(module).to(dtype).requires_grad_(requires_grad=False)
        return cls(module, wide, _rms_norm_of(wide, weight.new_ones(len(weight), dtype=dtype)))


def _rms_norm_of(norm: nn.Module, ones: torch.Tensor) -> RmsNorm | None:
    """Return the weight and epsilon of a root mean square norm; None for any other norm."""
    weight = norm(_LARGE * ones)
    share = float((norm(_SMALL * ones) * weight).sum() / weight.square().sum())
    if not 0 < share < math.inf:
        return None
    candidate = RmsNorm(weight, max(0.0, _SMALL**2 * (1 / share**2 - 1)))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(ones), generator=generator).to(ones)
    for rows in (size * noise for size in _PROBES):
        expected = norm(rows)
        error = float((candidate.normalise(rows) - expected).norm())
        if not error <= _TOLERANCE * float(expected.norm()):
            return None
    return candidate


def post_norm_module(
    model: nn.Module,
    adapter: ModelAdapter,
    structure: ModelStructure,
    layer: int,
    group_type: GroupType,
) -> nn.Module | None:
    """Return the norm between a sublayer's output and the residual stream, or None.

    Raises:
        UnsupportedArchitecture: the norm stands behind experts, so the router scales what a group
            adds before the norm sees it.
    """
    name = adapter.post_norm(group_type)
    if name is None:
        return None
    if structure.layers[layer].sublayer(group_type).experts:
        raise UnsupportedArchitecture(
            f"{adapter.name}: a norm stands behind the experts of layer {layer}, and what a group "
            "in front of it is worth can't be measured."
        )
    return model.get_submodule(adapter.layer_prefix(layer) + name)
