"""One half of one decoder layer, run by itself on the residual stream that enters it.

What it makes of the normalised stream is added to the stream, through a norm or scaled where the
family has it so. Whether that is true of a model is for `composition` to say.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from globalprune.passes.halves.gating import Gating
from globalprune.passes.halves.layer_calls import LayerCalls
from globalprune.passes.interface import Half

_SMALL = 1e-2  # of a norm's weights: the smallest are not divided by


class _Reached(Exception):  # noqa: N818 - no error: the output projection need not run
    """Leaves a half at its output projection, with what enters there."""


@dataclass(frozen=True, eq=False)
class RunningHalf:
    """A half's modules; the stream is `[B, T, D]`, what enters `output` is `[B, T, groups·width]`.

    `output` is None where an earlier cut took every group, and in a mixture, whose `experts` each
    have one.
    """

    place: Half
    norm: nn.Module  # nn.Identity where the body reads the stream itself
    body: nn.Module
    output: nn.Linear | None
    output_name: str  # of its weight, in the whole model
    width: int  # inputs of the output projection that one group owns
    leaving: nn.Module | None = None  # the norm between what the half makes and the stream
    scale: float = 1.0  # of what the stream takes
    experts: tuple[tuple[int, nn.Linear], ...] = ()  # the first group of each, and its output
    gating: Gating | None = None  # where what enters the output is activation(gate(x)) · up(x)

    @property
    def device(self) -> torch.device:
        """Where the half computes."""
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
        """The stream behind the half, in host memory, wherever it came from."""
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
        """What the half adds to the stream."""
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
