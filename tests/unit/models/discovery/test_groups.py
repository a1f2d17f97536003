"""The finest exact groups of planted sublayers, and of those that have none."""

import pytest
import torch
from torch import nn

from globalprune.errors import UnsupportedArchitecture
from globalprune.models.discovery.groups import SublayerGroups, TensorSlices, find_groups
from globalprune.models.discovery.layer_run import ModuleRun


class Gated(nn.Module):
    """A gated MLP whose activation learns one number."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(6, 5), nn.Linear(6, 5, bias=False)
        self.slope = nn.Parameter(torch.ones(1))
        self.down = nn.Linear(5, 6)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Compute down(silu(slope · gate(x)) · up(x))."""
        inner = nn.functional.silu(self.slope * self.gate(states)) * self.up(states)
        output: torch.Tensor = self.down(self.mixed(inner))
        return output

    def mixed(self, inner: torch.Tensor) -> torch.Tensor:
        """Leave the channels apart."""
        return inner


class Paired(Gated):
    """Channels 0 and 1, 2 and 3 … change places with one another."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(6, 4), nn.Linear(6, 4, bias=False)
        self.down = nn.Linear(4, 6)

    def mixed(self, inner: torch.Tensor) -> torch.Tensor:
        """Give each the sum of its pair."""
        pairs = inner.view(*inner.shape[:-1], 2, 2)
        return (pairs + pairs.flip(-1)).flatten(-2)


class Normed(Gated):
    """A norm spans all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(5)

    def mixed(self, inner: torch.Tensor) -> torch.Tensor:
        """Normalise."""
        normed: torch.Tensor = self.norm(inner)
        return normed


class Scrambled(Paired):
    """The groups are channels 0 and 3, 1 and 2: no slices."""

    def mixed(self, inner: torch.Tensor) -> torch.Tensor:
        """Give each the sum of its pair."""
        return inner + inner.flip(-1)


class Scaled(Gated):
    """What it gives back is not what its last linear layer makes."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Double it."""
        return 2 * super().forward(states)


def groups_of(module: nn.Module) -> SublayerGroups:
    """The groups of a module that is drawn and run once."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    states = torch.randn(2, 7, 6, generator=generator, dtype=torch.float64)
    return find_groups(ModuleRun(module, (states,), {}, module(states).detach()))


def test_channels_own_rows_biases_and_columns_and_share_a_number() -> None:
    """The output's bias belongs to no group."""
    rows = TensorSlices(0, (1,))
    assert groups_of(Gated()) == SublayerGroups(
        output="down",
        count=5,
        slices={
            "down.weight": TensorSlices(1, (1,)),
            "gate.weight": rows,
            "gate.bias": rows,
            "up.weight": rows,
        },
        shared=("slope",),
    )


def test_channels_that_depend_on_one_another_form_a_group() -> None:
    """Two pairs, two channels wide."""
    groups = groups_of(Paired())

    assert groups.count == 2
    assert groups.slices["up.weight"] == TensorSlices(0, (2,))
    assert groups.slices["down.weight"] == TensorSlices(1, (2,))


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Normed(), "its norms norm span all heads"),
        (Scrambled(), "no slices of equal size"),
        (Scaled(), "not the output of one linear layer"),
    ],
    ids=["a norm over all", "no slices", "scaled"],
)
def test_what_has_no_exact_groups_is_refused_with_the_reason(
    module: nn.Module, reason: str
) -> None:
    """No cut of such a sublayer equals a mask."""
    with pytest.raises(UnsupportedArchitecture, match=reason):
        groups_of(module)
