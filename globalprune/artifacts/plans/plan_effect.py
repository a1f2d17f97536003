"""What a plan does to a structure: every figure that is derived and so never stored in a plan."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.plans.plan import LayerCuts, PrunePlan
from globalprune.artifacts.structure import (
    GROUP_TYPES,
    GroupType,
    LayerStructure,
    ModelStructure,
    RemovedGroups,
)


@dataclass(frozen=True)
class LayerEffect:
    """One layer after the cut: the groups that stay, by their original indices."""

    layer_idx: int
    attention: tuple[int, ...]
    mlp: tuple[int, ...]
    dropped: bool
    experts: tuple[int, ...] = ()  # channels that stay of every expert, where the MLP is a mixture

    def of(self, group_type: GroupType) -> tuple[int, ...]:
        """The groups of that kind that stay."""
        return self.attention if group_type == "attention" else self.mlp


@dataclass(frozen=True)
class PlanEffect:
    """A whole model after the cut; `layers` holds all original layers in order."""

    layers: tuple[LayerEffect, ...]
    removed_groups: dict[GroupType, int]
    removed: int  # parameters of the removed groups: what a ratio counts
    on_top: int  # norms of dropped layers, q/k norms of emptied attention: never counted
    parameters_before: int

    @property
    def parameters_after(self) -> int:
        """What is left of the model, embeddings and all."""
        return self.parameters_before - self.removed - self.on_top

    @property
    def ratio(self) -> float:
        """The removed groups' share of all parameters."""
        return self.removed / self.parameters_before

    @property
    def kept_layers(self) -> tuple[LayerEffect, ...]:
        """The layers that stay, in order; their new numbers are their positions here."""
        return tuple(layer for layer in self.layers if not layer.dropped)

    @property
    def dropped_layers(self) -> tuple[int, ...]:
        """The original indices of the layers that go whole."""
        return tuple(layer.layer_idx for layer in self.layers if layer.dropped)

    @property
    def uneven(self) -> bool:
        """Whether layers or experts differ, or a sublayer is empty: no stock config has that."""
        kept = self.kept_layers
        heads = {len(layer.attention) for layer in kept}
        dense = {len(layer.mlp) for layer in kept if not layer.experts}
        experts = {width for layer in kept for width in layer.experts}
        return not kept or any(len(sizes) > 1 or 0 in sizes for sizes in (heads, dense, experts))


def effect_of(plan: PrunePlan, structure: ModelStructure) -> PlanEffect:
    """Work out what `plan` does; its indices must exist (`read_plan` sees to that)."""
    nothing = LayerCuts()
    layers = []
    removed_groups: dict[GroupType, int] = dict.fromkeys(GROUP_TYPES, 0)
    removed = on_top = 0
    for index, layer in enumerate(structure.layers):
        cuts = plan.layers.get(index, nothing)
        effect = _layer_effect(index, cuts, layer, remove_empty=plan.remove_empty_layers)
        layers.append(effect)
        for group_type in GROUP_TYPES:
            sublayer = layer.sublayer(group_type)
            gone = sublayer.groups - len(effect.of(group_type))
            removed_groups[group_type] += gone
            removed += gone * sublayer.cost
            on_top += sublayer.shared if gone and gone == sublayer.groups else 0
        on_top += layer.norms if effect.dropped else 0
    return PlanEffect(tuple(layers), removed_groups, removed, on_top, structure.parameters)


def removed_by(
    plan: PrunePlan, structure: ModelStructure
) -> Iterator[tuple[int, GroupType, NDArray[np.int64]]]:
    """Yield (layer, kind, indices that go) for every sublayer from which something goes."""
    for index, group_type, sublayer in structure.sublayers():
        cuts = plan.layers.get(index)
        if cuts and cuts.of(group_type):
            yield index, group_type, cuts.of(group_type).resolve(sublayer.groups)


def removed_groups(plan: PrunePlan, structure: ModelStructure) -> RemovedGroups:
    """The indices that go, of every sublayer from which something goes."""
    return {(layer, kind): indices for layer, kind, indices in removed_by(plan, structure)}


def _layer_effect(
    index: int, cuts: LayerCuts, layer: LayerStructure, *, remove_empty: bool
) -> LayerEffect:
    """Work out one layer; an untouched layer is never dropped, so that no plan is the identity."""
    kept: dict[GroupType, tuple[int, ...]] = {}
    for group_type in GROUP_TYPES:
        groups = layer.sublayer(group_type).groups
        stays = np.ones(groups, bool)
        stays[cuts.of(group_type).resolve(groups)] = False
        kept[group_type] = tuple(np.flatnonzero(stays).tolist())
    empty = not any(kept.values())
    biases = any(layer.sublayer(group_type).kept for group_type in GROUP_TYPES)
    dropped = remove_empty and empty and bool(cuts) and not biases
    experts = layer.mlp.widths(kept["mlp"])
    return LayerEffect(index, kept["attention"], kept["mlp"], dropped, experts)
