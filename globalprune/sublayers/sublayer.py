"""One attention or MLP of a layer, run alone: its input, its gated rows, its update."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from globalprune.statistics.interface import SublayerKey, widened

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


@dataclass(frozen=True)
class LayerCalls:
    """One batch's way into the layers."""

    entering: torch.Tensor  # [B, T, D]: the residual stream before the first layer
    beside: tuple[dict[str, Any], ...]  # of every layer: the keyword arguments beside the stream


def layer_calls(model: Any, layers: Sequence[nn.Module], ids: torch.Tensor) -> LayerCalls:
    """Call the model on `ids [B, T]` with layers that only note what they are called with."""
    noted: list[tuple[torch.Tensor, dict[str, Any]]] = []
    with torch.no_grad(), _only_noting(layers, noted):
        model.base_model(input_ids=ids, use_cache=False)
    return LayerCalls(noted[0][0], tuple(beside for _, beside in noted))


@contextmanager
def _only_noting(
    layers: Sequence[nn.Module], noted: list[tuple[torch.Tensor, dict[str, Any]]]
) -> Iterator[None]:
    """While inside, a layer notes its call and hands the stream on as it is."""

    def forward(hidden_states: torch.Tensor, **beside: Any) -> torch.Tensor:
        noted.append((hidden_states, beside))
        return hidden_states

    with _replaced(layers, forward):
        yield


@contextmanager
def entered_at(layers: Sequence[nn.Module], first: int, stream: torch.Tensor) -> Iterator[None]:
    """While inside, a call of the model begins in layer `first`, with `stream [B, T, D]`."""

    def forward(hidden_states: torch.Tensor, **_beside: Any) -> torch.Tensor:
        return stream.to(hidden_states.device)

    with _replaced(layers[:first], forward):
        yield


@contextmanager
def _replaced(layers: Sequence[nn.Module], forward: Callable[..., torch.Tensor]) -> Iterator[None]:
    """While inside, the layers do this instead; a forward of a layer's own comes back after."""
    own = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        layer.forward = forward
    try:
        yield
    finally:
        for layer, before in zip(layers, own, strict=True):
            if before is None:
                del layer.forward  # the class's own shows through again
            else:
                layer.forward = before


_SMALL = 1e-2  # of a norm's weights: the smallest are not divided by


class _Reached(Exception):  # noqa: N818 - no error: the output projection need not run
    """Leaves a sublayer at its output projection, with what enters there."""


@dataclass(frozen=True, eq=False)
class Sublayer:
    """The modules of a sublayer; the stream is `[B, T, D]`, `output` takes `[B, T, groups·width]`.

    `output` is None where an earlier cut took every group, and in a mixture, whose `experts` each
    have one.
    """

    place: SublayerKey
    norm: nn.Module  # nn.Identity where the body reads the stream itself
    body: nn.Module
    output: nn.Linear | None
    output_name: str  # of its weight, in the whole model
    width: int  # inputs of the output projection that one group owns
    leaving: nn.Module | None = None  # the norm between what the sublayer makes and the stream
    scale: float = 1.0  # of what the stream takes
    experts: tuple[tuple[int, nn.Linear], ...] = ()  # the first group of each, and its output
    gating: Gating | None = None  # where what enters the output is activation(gate(x)) · up(x)

    @property
    def device(self) -> torch.device:
        """Where the sublayer computes."""
        norms = [self.norm] if self.leaving is None else [self.norm, self.leaving]
        return next(weight for norm in norms for weight in norm.parameters()).device

    @property
    def groups(self) -> int:
        """How many groups it has, those of all experts together."""
        if self.experts:
            return sum(output.in_features for _, output in self.experts)
        return 0 if self.output is None else self.output.in_features // self.width

    def columns(self, groups: Sequence[int]) -> torch.Tensor:
        """The columns of the output projection that these groups own, `[groups · width]`."""
        firsts = torch.tensor(groups, dtype=torch.int64)[:, None] * self.width
        return (firsts + torch.arange(self.width)).flatten()

    @torch.no_grad()
    def silence_experts(self, kept: Sequence[int]) -> None:
        """Let no channel but these, in order, reach the experts' outputs."""
        for first, output in self.experts:
            gone = torch.ones(output.in_features, dtype=torch.bool)
            own = kept[bisect_left(kept, first) : bisect_left(kept, first + len(gone))]
            gone[[group - first for group in own]] = False
            output.weight[:, gone.to(output.weight.device)] = 0

    @contextmanager
    def only(self, kept: Sequence[int]) -> Iterator[None]:
        """While inside, no channel of experts but these adds anything."""
        own = [output.weight.data for _, output in self.experts]
        if len(kept) < self.groups:
            for _, output in self.experts:
                output.weight.data = output.weight.data.clone()
            self.silence_experts(kept)
        try:
            yield
        finally:
            for (_, output), weight in zip(self.experts, own, strict=True):
                output.weight.data = weight

    def through(self, stream: torch.Tensor, calls: LayerCalls) -> torch.Tensor:
        """The stream behind the sublayer, in host memory, wherever it came from."""
        here = stream.to(self.device)
        return (here + self.added(here, calls)).cpu()

    def inputs(self, stream: torch.Tensor, calls: LayerCalls) -> torch.Tensor:
        """What the groups feed into the output projection, which itself isn't run."""
        reached: list[torch.Tensor] = []

        def leave(_module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            reached.append(args[0])
            raise _Reached

        if self.output is None:
            return stream[..., :0]
        handle = self.output.register_forward_pre_hook(leave)
        try:
            self.added(stream, calls)
        except _Reached:
            pass
        finally:
            handle.remove()
        return reached[0]

    def added(self, stream: torch.Tensor, calls: LayerCalls) -> torch.Tensor:
        """What the sublayer adds to the stream."""
        return self.joined(self.made(stream, calls))

    def joined(self, made: torch.Tensor) -> torch.Tensor:
        """What the stream takes of what the output projection made, both `[..., D]`."""
        left = made if self.leaving is None else self.leaving(made)
        return left if self.scale == 1 else left * self.scale

    def asked(self, wanted: torch.Tensor, made: torch.Tensor | None) -> torch.Tensor:
        """What the output projection's product should be, for the stream to take what is `wanted`.

        `made` is what it makes in the model itself; needed where a norm stands behind it, through
        which only what differs from that is taken back, to the first order.
        """
        wanted = wanted / self.scale
        if self.leaving is not None and made is not None:
            weight = self.leaving(torch.ones_like(made[:1, :1]))
            floor = _SMALL * weight.square().mean()
            size = made.square().mean(dim=-1, keepdim=True).sqrt()
            drift = wanted - self.leaving(made)
            wanted = made + size * drift * weight / (weight.square() + floor)
        bias = None if self.output is None else self.output.bias
        return wanted if bias is None else wanted - bias

    def made(self, stream: torch.Tensor, calls: LayerCalls) -> torch.Tensor:
        """What the output projection makes, `[B, T, D]`."""
        normalised = self.norm(stream)
        layer, group_type = self.place
        if group_type == "mlp":
            output: torch.Tensor = self.body(normalised)
        else:
            output = self.body(hidden_states=normalised, **calls.beside[layer])[0]
        return output
