"""One layer as it ran once: what entered and left its modules, and how they join the stream.

A sublayer adds to the residual stream what its body makes of a norm of the stream, perhaps behind
another norm, perhaps times an attribute of the layer. Which modules these are is read off the
values that pass them, never off their names.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from globalprune.artifacts.structure import GROUP_TYPES, GroupType
from globalprune.errors import UnsupportedArchitecture

TOLERANCE: Final = 1e-9  # of a tensor's largest value, in float64
BODIES: Final[dict[GroupType, str]] = {"attention": "self_attn", "mlp": "mlp"}
_STORED_IN_LAYERS: Final = "model.layers"
_EXPERTS_DIMENSIONS: Final = 3  # experts, rows, columns


@dataclass(frozen=True, eq=False)
class ModuleRun:
    """A module, the arguments it was called with, and the first tensor that it gave back."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: torch.Tensor

    @property
    def input(self) -> torch.Tensor:
        """The hidden states that it was called with, `[B, T, D]`."""
        value = self.args[0] if self.args else self.kwargs["hidden_states"]
        tensor: torch.Tensor = value
        return tensor

    def replayed(self) -> torch.Tensor:
        """Call the module again on random hidden states of the same shape; return its output."""
        generator = torch.Generator().manual_seed(2)
        states = torch.randn(self.input.shape, generator=generator).to(self.input)
        others = {name: one for name, one in self.kwargs.items() if name != "hidden_states"}
        return first_tensor(self.module(states, *self.args[1:], **others))


@dataclass(frozen=True, eq=False)
class LayerRun:
    """One layer and its direct children, by their names, in the order in which they ran."""

    layer: ModuleRun
    children: Mapping[str, ModuleRun]

    def body(self, group_type: GroupType) -> ModuleRun:
        """The attention or the MLP itself."""
        return self.children[BODIES[group_type]]

    @property
    def norms(self) -> Iterator[tuple[str, ModuleRun]]:
        """The children that have weights and are no body: norms."""
        return (
            (name, run)
            for name, run in self.children.items()
            if name not in BODIES.values() and any(True for _ in run.module.parameters())
        )


@dataclass(frozen=True)
class Composition:
    """The norms around a layer's sublayers, and the attribute that scales both updates."""

    before: dict[GroupType, str]
    behind: dict[GroupType, str]
    residual_scale: str | None


def find_layers(model: nn.Module) -> Sequence[nn.Module]:
    """Return the decoder's layers, of a model without weights too.

    Raise `UnsupportedArchitecture` where they stand elsewhere or aren't an attention and an MLP.
    """
    modules = dict(model.named_modules())
    layers = modules.get(_STORED_IN_LAYERS)
    if isinstance(layers, nn.ModuleList):
        for index, layer in enumerate(layers):
            _refuse_other_layer(index, layer)
        return list(layers)
    lists = [name for name, one in modules.items() if isinstance(one, nn.ModuleList) and one]
    found = ", ".join(lists[:3]) or "no list of layers"
    raise UnsupportedArchitecture(f"its layers are not called {_STORED_IN_LAYERS} ({found})")


def run_layers(model: nn.Module, ids: torch.Tensor) -> list[LayerRun]:
    """Run token ids `[B, T]` through a model and keep what its layers did.

    Raise `UnsupportedArchitecture` for layers that aren't an attention and an MLP.
    """
    layers = find_layers(model)
    runs: dict[nn.Module, ModuleRun] = {}
    with ExitStack() as stack, torch.no_grad():
        for layer in layers:
            for module in (layer, *layer.children()):
                handle = module.register_forward_hook(_recorder(runs), with_kwargs=True)
                stack.callback(handle.remove)
        model(input_ids=ids, use_cache=False)
    return [
        LayerRun(runs[layer], {n: runs[m] for n, m in layer.named_children() if m in runs})
        for layer in layers
    ]


def composition_of(run: LayerRun) -> Composition:
    """Find norms and scale of one layer; raise where the two updates don't make its output."""
    before, behind = {}, {}
    for group_type in GROUP_TYPES:
        body = run.body(group_type)
        for name, other in run.norms:
            if same(other.output, body.input):
                before[group_type] = name
            if other.input.shape == body.output.shape and same(other.input, body.output):
                behind[group_type] = name
    updates = [
        run.children[behind[kind]].output if kind in behind else run.body(kind).output
        for kind in GROUP_TYPES
    ]
    composition = Composition(before, behind, _residual_scale(run, updates))
    _refuse_side_by_side(run, composition, updates)
    return composition


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether two tensors are equal but for rounding."""
    if first.shape != second.shape:
        return False
    return bool((first - second).abs().max() <= TOLERANCE * second.abs().max())


def first_tensor(output: Any) -> torch.Tensor:
    """Return the hidden states among what a module gives back."""
    first: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return first


def _recorder(runs: dict[nn.Module, ModuleRun]) -> Any:
    def record(module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Any) -> None:
        runs[module] = ModuleRun(module, args, kwargs, first_tensor(output))

    return record


def _refuse_other_layer(index: int, layer: nn.Module) -> None:
    """Raise for a layer without one attention and one dense MLP."""
    children = dict(layer.named_children())
    if missing := [name for name in BODIES.values() if name not in children]:
        with_weights = [n for n, one in children.items() if len(list(one.parameters())) > 1]
        raise UnsupportedArchitecture(
            f"layer {index} has no {' and no '.join(missing)} (it has {', '.join(with_weights)})"
        )
    mlp = children[BODIES["mlp"]]
    if any(isinstance(one, nn.ModuleList) for one in mlp.modules()) or any(
        one.dim() >= _EXPERTS_DIMENSIONS for one in mlp.parameters()
    ):
        raise UnsupportedArchitecture(f"layer {index} has a mixture of experts in place of an MLP")


def _residual_scale(run: LayerRun, updates: Sequence[torch.Tensor]) -> str | None:
    """Return the attribute that multiplies what both sublayers add; None where nothing does."""
    added = run.layer.output - run.layer.input
    total = updates[0] + updates[1]
    if same(added, total):
        return None
    for name, value in vars(run.layer.module).items():
        if isinstance(value, float) and same(added, total * value):
            return name
    raise UnsupportedArchitecture(
        "its layers don't add their attention and their MLP to one residual stream"
    )


def _refuse_side_by_side(
    run: LayerRun, composition: Composition, updates: Sequence[torch.Tensor]
) -> None:
    """Raise unless attention reads the layer's input, and the MLP what the attention leaves."""
    scale = composition.residual_scale
    factor = 1.0 if scale is None else getattr(run.layer.module, scale)
    streams = {"attention": run.layer.input, "mlp": run.layer.input + factor * updates[0]}
    for group_type in GROUP_TYPES:
        name = composition.before.get(group_type)
        entering = run.body(group_type) if name is None else run.children[name]
        if same(entering.input, streams[group_type]):
            continue
        if group_type == "mlp" and same(entering.input, run.layer.input):
            raise UnsupportedArchitecture("attention and MLP stand side by side in its layers")
        raise UnsupportedArchitecture(
            f"its {group_type} reads something else than a norm of the residual stream"
        )
