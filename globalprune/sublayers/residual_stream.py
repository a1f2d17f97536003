"""A model as a sequence of sublayers on one residual stream, and that stream for every window."""

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from globalprune.artifacts.structure import LayerStructure, ModelStructure
from globalprune.errors import NonFiniteError, UnsupportedArchitecture
from globalprune.models.architecture import GatingModules, ModelAdapter
from globalprune.statistics.interface import SublayerKey
from globalprune.sublayers.sublayer import Gating, LayerCalls, Sublayer, layer_calls
from globalprune.text.windows import TokenWindows, batches

_TOLERANCE: Final = 1e-3  # of the stream's norm; half precision rounds more than float32


@dataclass(eq=False)
class StreamBatch:
    """A batch of windows with two residual streams `[B, T, D]`: the uncut and the cut model's."""

    first_window: int  # its number in the text
    calls: LayerCalls
    held_out: torch.Tensor  # bool [B]: windows that nothing is fitted to
    dense: torch.Tensor
    pruned: torch.Tensor
    dense_output: torch.Tensor | None = None  # of the last sublayer, before its output norm

    @property
    def is_uncut(self) -> bool:
        """Whether no sublayer so far has lost anything, so that both streams are one."""
        return self.pruned is self.dense

    def tokens(self, rows: torch.Tensor, *, held_out: bool) -> torch.Tensor:
        """The tokens `[tokens, ...]` of the windows that are held out, or of the others.

        `rows` is `[B, T, ...]`.
        """
        chosen = self.held_out.to(rows.device) == held_out
        return rows[chosen].flatten(0, 1)

    def split_at(self, rows: torch.Tensor, window: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens `[tokens, ...]` of windows before number `window`, and those of the rest."""
        before = min(max(window - self.first_window, 0), len(rows))
        return rows[:before].flatten(0, 1), rows[before:].flatten(0, 1)

    def advance_dense(self, sublayer: Sublayer) -> None:
        """Run a sublayer on the dense stream; keep its output if an output norm stands behind."""
        stream = self.dense.to(sublayer.device)
        output = sublayer.forward(stream, self.calls)
        self.dense = (stream + sublayer.to_residual(output)).cpu()
        self.dense_output = None if sublayer.output_norm is None else output.cpu()

    def advance_by_inputs(self, sublayer: Sublayer, output: nn.Linear) -> torch.Tensor:
        """Run a sublayer on the dense stream; return the inputs of `output`, `[B, T, n]`."""
        stream = self.dense.to(sublayer.device)
        inputs = sublayer.inputs(stream, self.calls)
        product = functional.linear(inputs, output.weight, output.bias)
        self.dense = (stream + sublayer.to_residual(product)).cpu()
        return inputs

    def target_output(self, sublayer: Sublayer) -> torch.Tensor:
        """The product with the output weight for which both streams are equal, `[B, T, O]`.

        The dense stream stands behind the sublayer, the pruned one in front of it.
        """
        update = self.dense.to(sublayer.device) - self.pruned.to(sublayer.device)
        output = None if self.dense_output is None else self.dense_output.to(sublayer.device)
        return sublayer.target_output(update, output)


@dataclass(frozen=True, eq=False)
class SublayerModel:
    """A loaded model as its sublayers, in the order in which they run."""

    module: Any
    layers: tuple[nn.Module, ...]
    sublayers: tuple[Sublayer, ...]
    final_norm: Any  # the module of the norm behind the last layer


def sublayer_model(model: Any, adapter: ModelAdapter, structure: ModelStructure) -> SublayerModel:
    """Find the layers, the sublayers and the final norm of a loaded model."""
    layers = tuple(
        model.get_submodule(adapter.layer_prefix(layer)[:-1])
        for layer in range(len(structure.layers))
    )
    sublayers = tuple(
        _sublayer(model, adapter, structure.layers[layer], (layer, group_type))
        for layer, group_type, _ in structure.sublayers()
    )
    return SublayerModel(model, layers, sublayers, model.get_submodule(adapter.final_norm))


def stream_batches(
    model: SublayerModel,
    windows: TokenWindows,
    *,
    batch_size: int,
    held_out_every: int | None = None,
) -> list[StreamBatch]:
    """The windows' streams in front of the first layer; one window of `held_out_every` is held out.

    With None, no window is.
    """
    streams: list[StreamBatch] = []
    calls_of: dict[torch.Size, LayerCalls] = {}  # without padding, only a batch's shape matters
    done = 0
    for ids in batches(windows, batch_size):
        calls = layer_calls(model.module, model.layers, ids.to(model.module.device))
        stream = calls.stream.cpu()
        held_out = torch.zeros(len(ids), dtype=torch.bool)
        if held_out_every is not None:
            numbers = torch.arange(done, done + len(ids))
            held_out = numbers % held_out_every == held_out_every - 1
        calls = calls_of.setdefault(ids.shape, calls)
        streams.append(StreamBatch(done, calls, held_out, stream, stream))
        done += len(ids)
    return streams


@torch.no_grad()
def check_composition(model: SublayerModel, ids: torch.Tensor) -> None:
    """Check on `ids [B, T]` that the sublayers, one after the other, compute what the model does.

    Raise `UnsupportedArchitecture` if they don't, and `NonFiniteError` if the model's own residual
    stream is not finite.
    """
    name = type(model.module).__name__
    calls = layer_calls(model.module, model.layers, ids)
    stream = calls.stream
    for sublayer in model.sublayers:
        stream = stream + sublayer.residual_update(stream, calls)
    expected = _final_stream(model, ids)
    if not bool(expected.isfinite().all()):
        raise NonFiniteError(
            f"{name}: its residual stream is not finite behind the last layer; try "
            "--dtype float32 (or bfloat16), and check the model's weights."
        )
    difference = float((stream - expected).float().norm() / expected.float().norm())
    if not difference <= _TOLERANCE:
        raise UnsupportedArchitecture(
            f"{name}: its layers don't add attention and MLP to one residual stream (rebuilt from "
            f"its sublayers, the stream is off by {difference:.1%}), so a cut of it can't be "
            "compensated; apply the plan without compensation, and finetune."
        )


def _sublayer(
    model: Any, adapter: ModelAdapter, layer: LayerStructure, key: SublayerKey
) -> Sublayer:
    """Find the modules of one sublayer."""
    index, group_type = key
    prefix = adapter.layer_prefix(index)
    module = model.get_submodule(prefix[:-1])
    structure = layer.sublayer(group_type)
    axes = adapter.axes(layer, group_type)
    output = adapter.output_module(group_type)
    norm, output_norm = adapter.pre_norm(group_type), adapter.post_norm(group_type)
    scale = adapter.residual_scale
    is_single = structure.groups > 0 and not structure.experts
    outputs = adapter.output_modules(layer, group_type) if structure.experts else ()
    firsts = {axis.tensor.removesuffix(".weight"): axis.first for axis in axes}
    return Sublayer(
        key=key,
        norm=nn.Identity() if norm is None else module.get_submodule(norm),
        body=module.get_submodule(adapter.sublayer_prefix(group_type)[:-1]),
        output=module.get_submodule(output) if is_single else None,
        output_name=f"{prefix}{output}.weight",
        experts=tuple(
            (firsts[name], module.get_submodule(adapter.module_name(name))) for name in outputs
        ),
        width=next((axis.width for axis in axes if axis.tensor == f"{output}.weight"), 0),
        output_norm=None if output_norm is None else module.get_submodule(output_norm),
        residual_scale=1.0 if scale is None else float(getattr(module, scale)),
        gating=_gating(model, prefix, adapter.gating(group_type)) if is_single else None,
    )


def _gating(model: Any, prefix: str, modules: GatingModules | None) -> Gating | None:
    """Find the modules of a gated MLP; None for another sublayer."""
    if modules is None:
        return None
    return Gating(
        linears=tuple(model.get_submodule(prefix + linear) for linear in modules.linears),
        activation=model.get_submodule(prefix + modules.activation),
        names=tuple(f"{prefix}{linear}.weight" for linear in modules.linears),
    )


def _final_stream(model: SublayerModel, ids: torch.Tensor) -> torch.Tensor:
    """The residual stream behind the last layer, as the model itself computes it."""
    outputs: list[torch.Tensor] = []
    handle = model.layers[-1].register_forward_hook(
        lambda _module, _args, output: outputs.append(output)
    )
    try:
        model.module.base_model(input_ids=ids, use_cache=False)
    finally:
        handle.remove()
    return outputs[0]
