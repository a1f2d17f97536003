"""What a pass measures: sites, batches, counts, and the protocol of a reducer.

A site is the linear layer where the groups of a sublayer act. A reducer accumulates statistics of
what passes the sites.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, Protocol, TypeVar, get_args

import torch
from torch import nn

from globalprune.artifacts.structure import GroupType
from globalprune.models.architecture import GroupAxis
from globalprune.statistics.post_norm import PostNorm

PassStatistic = Literal[  # collected in one pass over the windows
    "first_order",
    "curvature",
    "gate_fisher",
    "gate_fisher_winsorised",
    "input_rms",
    "magnitude",
    "output_curvature",  # [O], of the output projection and not of groups
]
OrderStatistic = Literal["removal_loss", "measured_removal_loss"]  # of removal orders, in obs/
Statistic = PassStatistic | OrderStatistic
PASS_STATISTICS: Final[tuple[PassStatistic, ...]] = get_args(PassStatistic)
ORDER_STATISTICS: Final[tuple[OrderStatistic, ...]] = get_args(OrderStatistic)
GradientAt = Literal["gate", "output"]  # of a site: its input, gated by group, or its output
SublayerKey = tuple[int, GroupType]  # layer index and kind
GroupBlock = tuple[SublayerKey, int]  # consecutive groups of a sublayer, by their first number
GroupSums = dict[SublayerKey, torch.Tensor]  # float64 [groups] of every measured sublayer
Value = TypeVar("Value")


def sublayer_name(sublayer: SublayerKey) -> str:
    """Return the name that files use for a sublayer: `layer-003-mlp`."""
    layer, group_type = sublayer
    return f"layer-{layer:03}-{group_type}"


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor in float32 or wider, the least that products and sums are made in."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


@dataclass(frozen=True, eq=False)
class Site:
    """One linear layer; `axes` says which slices of its parameters each group owns.

    Its groups are `groups` consecutive ones of the sublayer, from number `first` on: all of them,
    or those of one expert.
    """

    name: str  # as the model calls it: model.layers.3.self_attn.q_proj
    sublayer: SublayerKey
    first: int
    groups: int
    linear: nn.Linear
    axes: Mapping[str, GroupAxis]  # by parameter: weight, and bias where groups own it
    is_output: bool  # its inputs are the groups' outputs: o_proj, down_proj
    norm: PostNorm | None = None  # between its output and the residual stream

    @property
    def device(self) -> torch.device:
        """The device that the layer computes on."""
        return self.linear.weight.device

    @property
    def block(self) -> GroupBlock:
        """The groups that the site belongs to."""
        return (self.sublayer, self.first)

    def parameter(self, name: str) -> torch.Tensor:
        """Return a parameter outside of any graph, in float32 or wider."""
        parameter: torch.Tensor = getattr(self.linear, name)
        return widened(parameter.detach())


@dataclass(frozen=True)
class Batch:
    """Windows of one length that run through the model together."""

    first_window: int  # its position in the calibration text
    windows: int
    predicted: int  # T_s: predicted tokens of each window
    scale: float = 1.0  # gradients arrive multiplied by this power of two

    def unscaled(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient without the scale, in float32 or wider: float16 can't hold it."""
        wide = widened(gradient)
        return wide if self.scale == 1 else wide / self.scale


@dataclass(frozen=True)
class Counts:
    """The amount of text that a statistic is summed over."""

    windows: int
    tokens: int
    predicted: int


@dataclass(frozen=True)
class Split(Generic[Value]):
    """A value over all windows, and over each half of them; a single window has no halves."""

    whole: Value
    halves: tuple[Value, Value] | None = None


class Reducer(Protocol):
    """Accumulates one or more statistics; each `on_...` method does nothing by default."""

    gradient_at: GradientAt | None  # None: it needs no gradient

    def uses(self, site: Site) -> bool:
        """Return whether this reducer needs anything from the site; by default from every one."""
        del site
        return True

    def on_input(self, site: Site, inputs: torch.Tensor) -> None:
        """Handle what enters the site in the forward pass, `[B, T, D]`."""
        del site, inputs

    def on_gradient(
        self, site: Site, inputs: torch.Tensor, delta: torch.Tensor, batch: Batch
    ) -> None:
        """Handle delta = scale · ∂(Σ_s L_s)/∂x, with x the site's output or its gated input.

        `inputs` is `[B, T, D]`. `delta` is `[B, T, O]` at the output, `[B, T, D]` at a gate.
        """
        del site, inputs, delta, batch

    def on_post_norm_gradient(
        self,
        site: Site,
        norm: PostNorm,
        inputs: torch.Tensor,
        output: torch.Tensor,
        delta: torch.Tensor,
        batch: Batch,
    ) -> None:
        """Handle the gradient `[B, T, O]` behind the norm that hides the gates of a site.

        `inputs` `[B, T, D]` enter the site, `output` `[B, T, O]` leaves it for the norm.
        """
        del site, norm, inputs, output, delta, batch

    def end_first_half(self) -> None:
        """Remember the sums so far: the first half of the windows has passed."""
        ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return all that is accumulated, the first half included, by name."""
        ...

    def load_state_dict(self, state: Mapping[str, torch.Tensor], sites: Sequence[Site]) -> None:
        """Restore the tensors in `state`: all of a `state_dict()`, or a part of it at a time."""
        ...

    def finish(self, counts: Split[Counts]) -> dict[Statistic, Split[GroupSums]]:
        """Return the statistics over that much text; the reducer may be used up by this."""
        ...
