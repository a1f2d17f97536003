"""Layers whose MLP is a mixture of experts, each a gated MLP of its own: where their tensors lie.

A router gives every token to a few of them. Groups are the channels of all experts, one expert's
behind the other's; the router stays as long as one of them does, and no expert goes as such: one
that lost its channels is still chosen, and adds nothing. Experts that all tokens share are refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from globalprune.models.interface import GroupAxis


@dataclass(frozen=True)
class Mixture:
    """What a family calls the parts of its mixtures."""

    stored: str = "mlp."  # what their tensors' names begin with, below the layer
    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"
    width_key: str = "moe_intermediate_size"
    count_keys: tuple[str, ...] = ("num_experts", "num_local_experts")

    @property
    def router(self) -> str:
        """The weight of the router."""
        return f"{self.stored}gate.weight"

    def module(self, name: str) -> str:
        """What the loaded model calls a module that is stored under that name, below the layer."""
        inner = name.removeprefix(self.stored)
        return name if inner == name else f"mlp.{inner}"

    def outputs(self, experts: Sequence[int]) -> tuple[str, ...]:
        """The modules whose inputs are the channels, of all experts that have any."""
        return tuple(self._name(e, self.down) for e, width in enumerate(experts) if width)

    def axes(self, experts: Sequence[int]) -> tuple[GroupAxis, ...]:
        """Rows of every expert's gate and up, and columns of its down."""
        firsts = accumulate(experts, initial=0)
        return tuple(
            GroupAxis(self.weight(number, linear), dim, (1,), first)
            for number, (width, first) in enumerate(zip(experts, firsts, strict=False))
            if width
            for linear, dim in ((self.gate, 0), (self.up, 0), (self.down, 1))
        )

    def shapes(self, experts: Sequence[int], hidden: int) -> dict[str, tuple[int, ...]]:
        """Every tensor of experts of these widths, and the router's."""
        found: dict[str, tuple[int, ...]] = {self.router: (len(experts), hidden)}
        for number, width in enumerate(experts):
            if width:
                found |= {self.weight(number, way): (width, hidden) for way in (self.gate, self.up)}
                found[self.weight(number, self.down)] = (hidden, width)
        return found

    def weight(self, number: int, linear: str) -> str:
        """The name of one of an expert's weights."""
        return f"{self._name(number, linear)}.weight"

    def _name(self, number: int, linear: str) -> str:
        return f"{self.stored}experts.{number}.{linear}"
