"""The attention or the MLP of one layer, run alone on a residual stream."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.statistics.interface import SublayerKey, widened

Activation = Callable[[torch.Tensor], torch.Tensor]
_SMALL: Final = 1e-2  # of the mean square of a norm's weights: keeps divisions by them bounded


@dataclass(frozen=True)
class LayerCalls:
    """What the decoder layers are called with for one batch."""

    stream: torch.Tensor  # [B, T, D]: the residual stream before the first layer
    kwargs: tuple[dict[str, Any], ...]  # of every layer: its other arguments


def layer_calls(model: Any, layers: Sequence[nn.Module], ids: torch.Tensor) -> LayerCalls:
    """Call the model on `ids [B, T]` and record what its layers are called with; none computes."""
    recorded: list[tuple[torch.Tensor, dict[str, Any]]] = []

    def record(hidden_states: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        recorded.append((hidden_states, kwargs))
        return hidden_states

    with torch.no_grad(), _replaced_forward(layers, record):
        model.base_model(input_ids=ids, use_cache=False)
    return LayerCalls(recorded[0][0], tuple(kwargs for _, kwargs in recorded))


@contextmanager
def start_at_layer(layers: Sequence[nn.Module], first: int, stream: torch.Tensor) -> Iterator[None]:
    """While inside, a call of the model starts in layer `first` with `stream [B, T, D]`."""

    def forward(hidden_states: torch.Tensor, **_kwargs: Any) -> torch.Tensor:
        return stream.to(hidden_states.device)

    with _replaced_forward(layers[:first], forward):
        yield


@contextmanager
def _replaced_forward(
    layers: Sequence[nn.Module], forward: Callable[..., torch.Tensor]
) -> Iterator[None]:
    """While inside, the layers run `forward`; a layer's own override is restored afterwards."""
    overrides = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        layer.forward = forward
    try:
        yield
    finally:
        for layer, override in zip(layers, overrides, strict=True):
            if override is None:
                del layer.forward  # the class's own is visible again
            else:
                layer.forward = override


@dataclass(frozen=True)
class GatedRows:
    """Channels of a gated MLP: their rows of gate and up `[n, D]`, and the biases `[n]` if any."""

    gate: torch.Tensor
    up: torch.Tensor
    activation: Activation
    gate_bias: torch.Tensor | None = None
    up_bias: torch.Tensor | None = None

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """activation(gate(x)) · up(x) of inputs `[..., D]`: `[..., n]`."""
        return self.activation(self._gate(inputs)) * self._up(inputs)

    def linearise(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Outputs `[T, n]`, and their derivatives by gate(x) and by up(x), each `[T, n]`."""
        with torch.enable_grad():
            gate = self._gate(inputs).detach().requires_grad_()
            activated = self.activation(gate)
            (slope,) = torch.autograd.grad(activated.sum(), gate)
        activated, up = activated.detach(), self._up(inputs)
        return activated * up, slope * up, activated

    def plus(self, gate: torch.Tensor, up: torch.Tensor) -> "GatedRows":
        """The channels with these differences `[n, D]` added to their rows."""
        return replace(self, gate=self.gate + gate, up=self.up + up)

    def widened(self) -> "GatedRows":
        """The channels in float32 or wider."""
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
    """The modules in front of a gated MLP's channels: gate and up, or one that fuses both."""

    linears: tuple[nn.Linear, ...]  # of a fused one, gate's rows come before up's
    activation: Activation
    names: tuple[str, ...]  # of their weights, in the whole model

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the modules compute in."""
        return self.linears[0].weight.dtype

    def rows(self, channels: torch.Tensor, gate: torch.Tensor, up: torch.Tensor) -> GatedRows:
        """Channels with these rows `[n, D]` in their own dtype, and with the modules' biases."""
        gate_bias, up_bias = (
            None if bias is None else bias[channels]
            for linear in self.linears
            for bias in _bias_parts(linear.bias, 2 // len(self.linears))
        )
        device = self.linears[0].weight.device
        return GatedRows(gate.to(device), up.to(device), self.activation, gate_bias, up_bias)


def gate_and_up(weights: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Views of gate's rows and up's rows, each `[F, D]`, of two weights or of a fused one."""
    gate, up = (part for weight in weights for part in weight.chunk(2 // len(weights)))
    return gate, up


def _bias_parts(bias: torch.Tensor | None, count: int) -> Sequence[torch.Tensor | None]:
    """A bias in `count` parts; each is None where there is no bias."""
    return [None] * count if bias is None else bias.chunk(count)


class _OutputReached(Exception):  # noqa: N818 - no error: the output projection need not run
    """Leaves a sublayer at its output projection."""


@dataclass(frozen=True, eq=False)
class Sublayer:
    """The modules of a sublayer: stream `[B, T, D]` → norm → body → output norm → scale.

    `output` is the body's output projection, with inputs `[B, T, groups · width]`. It is None where
    an earlier cut removed every group, and in a mixture, whose `experts` have one each.
    """

    key: SublayerKey
    norm: nn.Module  # nn.Identity where the body reads the stream itself
    body: nn.Module
    output: nn.Linear | None
    output_name: str  # of its weight, in the whole model
    width: int  # inputs of the output projection that one group owns
    output_norm: nn.Module | None = None  # between the output projection and the stream
    residual_scale: float = 1.0  # of the update of the stream
    experts: tuple[tuple[int, nn.Linear], ...] = ()  # of each: its first group, its output
    gating: Gating | None = None  # of a gated MLP

    @property
    def device(self) -> torch.device:
        """The device that the sublayer computes on."""
        norms = [self.norm] if self.output_norm is None else [self.norm, self.output_norm]
        return next(weight for norm in norms for weight in norm.parameters()).device

    @property
    def groups(self) -> int:
        """The number of groups, those of all experts together."""
        if self.experts:
            return sum(output.in_features for _, output in self.experts)
        return 0 if self.output is None else self.output.in_features // self.width

    def columns(self, groups: IndexSet) -> torch.Tensor:
        """The columns of the output projection that these groups own, `[groups · width]`."""
        firsts = torch.from_numpy(groups.to_array())[:, None] * self.width
        return (firsts + torch.arange(self.width)).flatten()

    def forward(self, stream: torch.Tensor, calls: LayerCalls) -> torch.Tensor:
        """The body's output `[B, T, D]`, before the output norm."""
        normalised = self.norm(stream)
        layer, group_type = self.key
        if group_type == "mlp":
            output: torch.Tensor = self.body(normalised)
        else:
            output = self.body(hidden_states=normalised, **calls.kwargs[layer])[0]
        return output

    def to_residual(self, output: torch.Tensor) -> torch.Tensor:
        """The update of the stream that an output of the body `[..., D]` gives."""
        normalised = output if self.output_norm is None else self.output_norm(output)
        return normalised if self.residual_scale == 1 else normalised * self.residual_scale

    def residual_update(self, stream: torch.Tensor, calls: LayerCalls) -> torch.Tensor:
        """What the sublayer adds to the stream, `[B, T, D]`."""
        return self.to_residual(self.forward(stream, calls))

    def advance(self, stream: torch.Tensor, calls: LayerCalls) -> torch.Tensor:
        """The stream behind the sublayer, in host memory; `stream` may be on any device."""
        here = stream.to(self.device)
        return (here + self.residual_update(here, calls)).cpu()

    def inputs(self, stream: torch.Tensor, calls: LayerCalls) -> torch.Tensor:
        """The inputs of the output projection `[B, T, groups · width]`; itself it does not run."""
        reached: list[torch.Tensor] = []

        def leave(_module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            reached.append(args[0])
            raise _OutputReached

        if self.output is None:
            return stream[..., :0]
        handle = self.output.register_forward_pre_hook(leave)
        try:
            self.forward(stream, calls)
        except _OutputReached:
            pass
        finally:
            handle.remove()
        return reached[0]

    def target_output(self, update: torch.Tensor, output: torch.Tensor | None) -> torch.Tensor:
        """The product with the output weight for which the stream gets `update`, both `[B, T, O]`.

        `output` is the body's output in the uncut model. It is needed where an output norm stands
        behind it: the norm is inverted to first order around that output.
        """
        target = update / self.residual_scale
        if self.output_norm is not None and output is not None:
            weight = self.output_norm(torch.ones_like(output[:1, :1]))
            floor = _SMALL * weight.square().mean()
            size = output.square().mean(dim=-1, keepdim=True).sqrt()
            drift = target - self.output_norm(output)
            target = output + size * drift * weight / (weight.square() + floor)
        bias = None if self.output is None else self.output.bias
        return target if bias is None else target - bias

    @torch.no_grad()
    def zero_other_experts(self, kept: IndexSet) -> None:
        """Set the output columns of all channels of experts but `kept` to zero."""
        for first, output in self.experts:
            removed = torch.ones(output.in_features, dtype=torch.bool)
            removed[kept.within(first, first + len(removed)).to_array()] = False
            output.weight[:, removed.to(output.weight.device)] = 0

    @contextmanager
    def only_experts(self, kept: IndexSet) -> Iterator[None]:
        """While inside, no channel of experts but `kept` contributes."""
        weights = [output.weight.data for _, output in self.experts]
        if len(kept) < self.groups:
            for _, output in self.experts:
                output.weight.data = output.weight.data.clone()
            self.zero_other_experts(kept)
        try:
            yield
        finally:
            for (_, output), weight in zip(self.experts, weights, strict=True):
                output.weight.data = weight
