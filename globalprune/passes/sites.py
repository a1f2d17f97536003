"""Which linear layers of a loaded model the groups of the measured layers own parts of."""

from collections.abc import Iterator

from torch import nn

from globalprune.artifacts.structure import GROUP_TYPES, GroupType, ModelStructure
from globalprune.errors import CheckpointError, UnsupportedArchitecture
from globalprune.models.architecture import GroupAxis, ModelAdapter
from globalprune.passes.interface import Site
from globalprune.passes.norms import NormBehind


def find_sites(
    model: nn.Module, adapter: ModelAdapter, structure: ModelStructure, layers: range
) -> tuple[Site, ...]:
    """The sites of these layers, in the order in which they are computed.

    Halves that are empty or can't be cut have none.

    Raise `CheckpointError` where the loaded model is not the one that the structure describes.
    """
    return tuple(
        site
        for layer in layers
        for group_type in GROUP_TYPES
        for site in _sites_of_half(model, adapter, structure, layer, group_type)
    )


def _sites_of_half(
    model: nn.Module,
    adapter: ModelAdapter,
    structure: ModelStructure,
    layer: int,
    group_type: GroupType,
) -> Iterator[Site]:
    """Yield one half's sites."""
    below = structure.layers[layer]
    outputs = adapter.outputs(below, group_type)
    if below.half(group_type).fixed:
        return
    norm = norm_behind(model, adapter, structure, layer, group_type)
    by_module: dict[str, dict[str, GroupAxis]] = {}
    for axis in adapter.axes(below, group_type):
        module, _, parameter = axis.tensor.rpartition(".")
        by_module.setdefault(module, {})[parameter] = axis
    for module, axes in by_module.items():
        name = adapter.layer_prefix(layer) + adapter.module(module)
        axis = next(iter(axes.values()))
        groups = axis.groups(below.tensors[axis.tensor])
        linear = _linear(model, name, axes, groups)
        is_output = module in outputs
        yield Site(
            name=name,
            half=(layer, group_type),
            first=axis.first,
            groups=groups,
            linear=linear,
            axes=axes,
            is_output=is_output,
            norm=NormBehind.of(norm, linear.weight) if norm is not None and is_output else None,
        )


def norm_behind(
    model: nn.Module,
    adapter: ModelAdapter,
    structure: ModelStructure,
    layer: int,
    group_type: GroupType,
) -> nn.Module | None:
    """The norm that what a half makes passes before the residual stream takes it.

    Raise `UnsupportedArchitecture` where it stands behind experts: what one of their groups makes
    of a token is scaled by the router before it comes there.
    """
    name = adapter.leaving_norm(group_type)
    if name is None:
        return None
    if structure.layers[layer].half(group_type).experts:
        raise UnsupportedArchitecture(
            f"{adapter.name}: a norm stands behind the experts of layer {layer}, and what a group "
            "in front of it is worth can't be measured."
        )
    return model.get_submodule(adapter.layer_prefix(layer) + name)


def _linear(model: nn.Module, name: str, axes: dict[str, GroupAxis], groups: int) -> nn.Linear:
    """Find the linear layer, and make sure that its parameters are as large as promised."""
    linear = model.get_submodule(name)
    if not isinstance(linear, nn.Linear):
        raise CheckpointError(
            f"{name}: is a {type(linear).__name__} and not a plain linear layer; "
            "load the model without quantisation or adapters."
        )
    for parameter, axis in axes.items():
        size = linear.get_parameter(parameter).shape[axis.dim]
        if size != groups * axis.width:
            raise CheckpointError(
                f"{name}.{parameter}: has {size} along dimension {axis.dim} in the loaded model, "
                f"{groups * axis.width} in its checkpoint; the checkpoint was not loaded whole."
            )
    return linear
