"""A model as a sequence of sublayers on one residual stream, held on streams of windows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from globalprune.artifacts.structure import ModelStructure
from globalprune.errors import NonFiniteError, UnsupportedArchitecture
from globalprune.models.architecture import GatingModules, ModelAdapter
from globalprune.sublayers.sublayer import Gating, LayerCalls, Sublayer, layer_calls
from globalprune.text.windows import TokenWindows, batches


@dataclass(eq=False)
class StreamBatch:
    """Some windows: what layers are called with, and both residual streams `[B, T, D]`."""

    first_window: int  # its number in the text
    calls: LayerCalls
    held_out: torch.Tensor  # bool [B]: windows that nothing is fitted to
    dense: torch.Tensor
    pruned: torch.Tensor
    made: torch.Tensor | None = None  # by the sublayer that the model's own stream has passed last

    @property
    def alike(self) -> bool:
        """Whether nothing was cut so far."""
        return self.pruned is self.dense

    def tokens(self, rows: torch.Tensor, *, held_out: bool) -> torch.Tensor:
        """Those rows of a tensor `[B, T, ...]` as `[tokens, ...]`."""
        chosen = self.held_out.to(rows.device) == held_out
        return rows[chosen].flatten(0, 1)

    def advance(self, sublayer: Sublayer) -> None:
        """Pass the model's own stream through a sublayer; keep the output if asked to."""
        stream = self.dense.to(sublayer.device)
        made = sublayer.made(stream, self.calls)
        self.dense = (stream + sublayer.joined(made)).cpu()
        self.made = None if sublayer.leaving is None else made.cpu()

    def asked(self, sublayer: Sublayer) -> torch.Tensor:
        """What the product with the output's weight should be, for both streams to be alike.

        After the model's own stream has passed the sublayer: `[B, T, O]` on its device.
        """
        wanted = self.dense.to(sublayer.device) - self.pruned.to(sublayer.device)
        return sublayer.asked(wanted, None if self.made is None else self.made.to(sublayer.device))

    def divided(self, rows: torch.Tensor, window: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens `[tokens, ...]` of windows before that one, and of the others."""
        before = min(max(window - self.first_window, 0), len(rows))
        return rows[:before].flatten(0, 1), rows[before:].flatten(0, 1)


def stream_batches(
    model: Any,
    layers: Sequence[nn.Module],
    windows: TokenWindows,
    *,
    batch_size: int,
    every: int | None = None,
) -> list[StreamBatch]:
    """The windows' streams as they enter the first layer; one window of `every` is held out.

    Without an `every`, none is.
    """
    found: list[StreamBatch] = []
    alike: dict[torch.Size, LayerCalls] = {}  # without padding, only a batch's shape matters
    done = 0
    for ids in batches(windows, batch_size):
        calls = layer_calls(model, layers, ids.to(model.device))
        entering = calls.entering.cpu()
        held_out = torch.zeros(len(ids), dtype=torch.bool)
        if every is not None:
            held_out = torch.arange(done, done + len(ids)) % every == every - 1
        found.append(
            StreamBatch(done, alike.setdefault(ids.shape, calls), held_out, entering, entering)
        )
        done += len(ids)
    return found


_TOLERANCE = 1e-3  # of the stream's size; half precision rounds more than float32


def layers_of(model: Any, adapter: ModelAdapter, structure: ModelStructure) -> list[nn.Module]:
    """The decoder layers, in order."""
    count = len(structure.layers)
    return [model.get_submodule(adapter.layer_prefix(layer)[:-1]) for layer in range(count)]


def sublayers_of(model: Any, adapter: ModelAdapter, structure: ModelStructure) -> list[Sublayer]:
    """Every sublayer in the order in which they run."""
    sublayers = []
    for layer, group_type, sublayer in structure.sublayers():
        prefix = adapter.layer_prefix(layer)
        below = model.get_submodule(prefix[:-1])
        axes = adapter.axes(structure.layers[layer], group_type)
        output = adapter.output(group_type)
        entering, leaving = adapter.entry_norm(group_type), adapter.leaving_norm(group_type)
        scale = adapter.residual_scale
        is_single = sublayer.groups > 0 and not sublayer.experts
        outputs = adapter.outputs(structure.layers[layer], group_type) if sublayer.experts else ()
        firsts = {axis.tensor.removesuffix(".weight"): axis.first for axis in axes}
        sublayers.append(
            Sublayer(
                place=(layer, group_type),
                norm=nn.Identity() if entering is None else below.get_submodule(entering),
                body=below.get_submodule(adapter.sublayer_prefix(group_type)[:-1]),
                output=below.get_submodule(output) if is_single else None,
                output_name=f"{prefix}{output}.weight",
                experts=tuple(
                    (firsts[name], below.get_submodule(adapter.module(name))) for name in outputs
                ),
                width=next((axis.width for axis in axes if axis.tensor == f"{output}.weight"), 0),
                leaving=None if leaving is None else below.get_submodule(leaving),
                scale=1.0 if scale is None else float(getattr(below, scale)),
                gating=_gating(model, prefix, adapter.gating(group_type)) if is_single else None,
            )
        )
    return sublayers


def _gating(model: Any, prefix: str, modules: GatingModules | None) -> Gating | None:
    """The modules of a gated way in."""
    if modules is None:
        return None
    return Gating(
        linears=tuple(model.get_submodule(prefix + linear) for linear in modules.linears),
        activation=model.get_submodule(prefix + modules.activation),
        names=tuple(f"{prefix}{linear}.weight" for linear in modules.linears),
    )


@torch.no_grad()
def check_composition(
    model: Any, layers: Sequence[nn.Module], sublayers: Sequence[Sublayer], ids: torch.Tensor
) -> None:
    """Raise `UnsupportedArchitecture` unless the sublayers, one after the other, are the model.

    Raise `NonFiniteError` where the model's own stream is no number.
    """
    calls = layer_calls(model, layers, ids)
    stream = calls.entering
    for sublayer in sublayers:
        stream = stream + sublayer.added(stream, calls)
    left = _leaving(model, layers[-1], ids)
    if not bool(left.isfinite().all()):
        raise NonFiniteError(
            f"{type(model).__name__}: its residual stream is not finite behind the last layer; try "
            "--dtype float32 (or bfloat16), and check the model's weights."
        )
    difference = float((stream - left).float().norm() / left.float().norm())
    if not difference <= _TOLERANCE:
        raise UnsupportedArchitecture(
            f"{type(model).__name__}: its layers don't add attention and MLP to one residual "
            f"stream (rebuilt from its sublayers, the stream is off by {difference:.1%}), so what "
            "a cut leaves can't be compensated; apply the plan without compensation, and finetune."
        )


def _leaving(model: Any, last: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """The residual stream behind the last layer, as the model itself makes it."""
    left: list[torch.Tensor] = []
    handle = last.register_forward_hook(lambda _module, _args, output: left.append(output))
    try:
        model.base_model(input_ids=ids, use_cache=False)
    finally:
        handle.remove()
    return left[0]
