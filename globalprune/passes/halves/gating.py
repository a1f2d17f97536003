"""The way into a gated MLP: activation(gate(x)) · up(x), of the channels that stay, and its slopes.

Shazeer 2020, arXiv:2002.05202. What is done with the slopes is no business of this file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional

from globalprune.passes.interface import widened

Activation = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class GatedRows:
    """Some channels: their rows of gate and up `[n, D]`, and of biases `[n]` if there are such."""

    gate: torch.Tensor
    up: torch.Tensor
    activation: Activation
    gate_bias: torch.Tensor | None = None
    up_bias: torch.Tensor | None = None

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the channels make of `[..., D]`: `[..., n]`."""
        return self.activation(self._gate(inputs)) * self._up(inputs)

    def linearised(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The outputs `[T, n]`, and their derivatives by what gate and up give."""
        with torch.enable_grad():
            gate = self._gate(inputs).detach().requires_grad_()
            opened = self.activation(gate)
            (slope,) = torch.autograd.grad(opened.sum(), gate)
        opened, up = opened.detach(), self._up(inputs)
        return opened * up, slope * up, opened

    def moved(self, gate: torch.Tensor, up: torch.Tensor) -> "GatedRows":
        """The channels with these differences `[n, D]` added."""
        return replace(self, gate=self.gate + gate, up=self.up + up)

    def widened(self) -> "GatedRows":
        """In float32 or wider."""
        gate_bias, up_bias = (
            None if bias is None else widened(bias) for bias in (self.gate_bias, self.up_bias)
        )
        return GatedRows(widened(self.gate), widened(self.up), self.activation, gate_bias, up_bias)

    def _gate(self, inputs: torch.Tensor) -> torch.Tensor:
        return functional.linear(inputs, self.gate, self.gate_bias)

    def _up(self, inputs: torch.Tensor) -> torch.Tensor:
        return functional.linear(inputs, self.up, self.up_bias)


@dataclass(frozen=True, eq=False)
class Gating:
    """The modules of the way in: gate and up, or the one that is both, gate's rows before up's."""

    linears: tuple[nn.Linear, ...]
    activation: Activation
    names: tuple[str, ...]  # of their weights, in the whole model

    @property
    def dtype(self) -> torch.dtype:
        """What the modules compute in."""
        return self.linears[0].weight.dtype

    def rows(self, channels: torch.Tensor, gate: torch.Tensor, up: torch.Tensor) -> GatedRows:
        """Channels with these rows `[n, D]` in their own dtype, and with the modules' biases."""
        gate_bias, up_bias = (
            None if bias is None else bias[channels]
            for linear in self.linears
            for bias in _parts(linear.bias, 2 // len(self.linears))
        )
        here = self.linears[0].weight.device
        return GatedRows(gate.to(here), up.to(here), self.activation, gate_bias, up_bias)


def gate_and_up(weights: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Gate's rows and up's `[F, D]`, views of a tensor each or of the one that holds both."""
    gate, up = (part for weight in weights for part in weight.chunk(2 // len(weights)))
    return gate, up


def _parts(bias: torch.Tensor | None, count: int) -> Sequence[torch.Tensor | None]:
    """So many parts of a bias, one behind the other; None each where there is none."""
    return [None] * count if bias is None else bias.chunk(count)
