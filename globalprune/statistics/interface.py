"""What a pass measures: sites, batches, counts and the protocol of a reducer.

A site is where the groups of a sublayer act. A norm behind a sublayer is a value here, so reducers
and hooks agree on it.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, Protocol, Self, TypeVar

import torch
from torch import nn

from globalprune.artifacts.structure import GroupType
from globalprune.models.architecture import GroupAxis

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


Collectable = Literal[  # in one pass of the windows
    "first_order",
    "curvature",
    "gate_fisher",
    "gate_fisher_winsorised",
    "input_rms",
    "magnitude",
    "output_curvature",  # [O], of the output projection and not of groups
]
Ordered = Literal["removal_loss", "measured_removal_loss"]  # by walks, sublayer by sublayer
Statistic = Collectable | Ordered
GradientPlace = Literal["gate", "output"]  # of a site
SublayerKey = tuple[int, GroupType]  # layer index and kind
Value = TypeVar("Value")
Part = tuple[SublayerKey, int]  # of a sublayer's groups, with the number of the first
GroupSums = dict[SublayerKey, torch.Tensor]  # float64 [groups] for every measured sublayer


def sublayer_name(sublayer: SublayerKey) -> str:
    """What is kept of a sublayer is kept under this name."""
    layer, group_type = sublayer
    return f"layer-{layer:03}-{group_type}"


@dataclass(frozen=True, eq=False)
class Site:
    """One linear layer that groups own a part of; `axes` says which part of which parameter.

    They are `groups` groups of its sublayer from the number `first` on: all, or those of an expert.
    """

    name: str  # as the model calls it: model.layers.3.self_attn.q_proj
    sublayer: SublayerKey
    first: int
    groups: int
    linear: nn.Linear
    axes: Mapping[str, GroupAxis]  # by parameter: weight, bias (only where groups own it)
    is_output: bool  # its inputs are the groups' outputs: o_proj, down_proj
    norm: NormBehind | None = None  # that its output passes before the stream takes it

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.linear.weight.device

    @property
    def part(self) -> Part:
        """The groups that it belongs to."""
        return (self.sublayer, self.first)

    def parameter(self, name: str) -> torch.Tensor:
        """The parameter itself, outside of any graph and in the width in which we add up."""
        parameter: torch.Tensor = getattr(self.linear, name)
        return widened(parameter.detach())


@dataclass(frozen=True)
class Batch:
    """The windows that run through the model together; all have the same length."""

    first_window: int  # position of the first of them in the calibration text
    windows: int
    predicted: int  # T_s: predicted tokens of each window
    scale: float = 1.0  # gradients arrive multiplied by this power of two

    def unscaled(self, gradient: torch.Tensor) -> torch.Tensor:
        """It as it is, in float32 or wider: only there can float16's scale come off."""
        wide = widened(gradient)
        return wide if self.scale == 1 else wide / self.scale


@dataclass(frozen=True)
class Counts:
    """How much text something was summed over."""

    windows: int
    tokens: int
    predicted: int


@dataclass(frozen=True)
class Split(Generic[Value]):
    """Something of all windows, and of each half of them: a single window has no halves."""

    whole: Value
    halves: tuple[Value, Value] | None = None


class Reducer(Protocol):
    """Takes what passes through the sites; a subclass says only what it wants of that."""

    gradient_at: GradientPlace | None  # None: no gradient is wanted

    def watches(self, site: Site) -> bool:
        """Whether this reducer wants anything from that site; from all, unless it says so."""
        del site
        return True

    def take_input(self, site: Site, inputs: torch.Tensor) -> None:
        """Take what enters the site, `[B, T, D]`, during the forward pass; or leave it."""
        del site, inputs

    def take_gradient(
        self, site: Site, inputs: torch.Tensor, delta: torch.Tensor, batch: Batch
    ) -> None:
        """Take what entered, and delta = scale · ∂(Σ_s L_s)/∂(what is at the place), `[B, T, …]`.

        At the output that is `[B, T, O]`, at a gate, which stands at the input, `[B, T, D]`. Or
        leave it.
        """
        del site, inputs, delta, batch

    def take_gradient_behind(
        self,
        site: Site,
        norm: NormBehind,
        inputs: torch.Tensor,
        output: torch.Tensor,
        delta: torch.Tensor,
        batch: Batch,
    ) -> None:
        """Take the same of a gate that a norm hides: delta is that behind the norm, `[B, T, O]`.

        `output [B, T, O]` is what enters the norm. Or leave it.
        """
        del site, norm, inputs, output, delta, batch


class StatisticReducer(Reducer, Protocol):
    """Turns what it takes into one or more statistics."""

    def halve(self) -> None:
        """Note what there is so far: the first half of the windows is through."""
        ...

    def state(self) -> dict[str, torch.Tensor]:
        """All that it has taken, halves included, by names that `restore` knows."""
        ...

    def restore(self, state: Mapping[str, torch.Tensor], sites: Sequence[Site]) -> None:
        """Take what `state` gave, or a part of it at a time, as if it had passed the sites."""
        ...

    def finish(self, counts: Split[Counts]) -> dict[Statistic, Split[GroupSums]]:
        """The statistics over that much text, of its halves too if it has any."""
        ...


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float32 or wider: nothing is multiplied or added up in less."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
