"""What a plan does to a structure: figures that are derived, and so never stored in a plan."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.plans.index_set import IndexSet
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
    attention: IndexSet
    mlp: IndexSet
    dropped: bool
    experts: tuple[int, ...] = ()  # channels that stay of every expert, where the MLP is a mixture

    def of(self, group_type: GroupType) -> IndexSet:
        """Return the groups of that kind that stay."""
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
        """Return the parameters of the cut model, embeddings included."""
        return self.parameters_before - self.removed - self.on_top

    @property
    def ratio(self) -> float:
        """Return the removed groups' share of all parameters."""
        return self.removed / self.parameters_before

    @property
    def kept_layers(self) -> tuple[LayerEffect, ...]:
        """Return the layers that stay, in order; their new numbers are their positions here."""
        return tuple(layer for layer in self.layers if not layer.dropped)

    @property
    def dropped_layers(self) -> tuple[int, ...]:
        """Return the original indices of the layers that go whole."""
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
    """Return what `plan` does to the structure; its indices must exist, as `read_plan` checks."""
    untouched = LayerCuts()
    layers = []
    removed_groups: dict[GroupType, int] = dict.fromkeys(GROUP_TYPES, 0)
    removed = on_top = 0
    for index, layer in enumerate(structure.layers):
        cuts = plan.layers.get(index, untouched)
        effect = _layer_effect(index, cuts, layer, remove_empty=plan.remove_empty_layers)
        layers.append(effect)
        for group_type in GROUP_TYPES:
            sublayer = layer.sublayer(group_type)
            count = sublayer.groups - len(effect.of(group_type))
            removed_groups[group_type] += count
            removed += count * sublayer.cost
            on_top += sublayer.shared if count and count == sublayer.groups else 0
        on_top += layer.norms if effect.dropped else 0
    return PlanEffect(tuple(layers), removed_groups, removed, on_top, structure.parameters)


def removed_by(
    plan: PrunePlan, structure: ModelStructure
) -> Iterator[tuple[int, GroupType, NDArray[np.int64]]]:
    """Yield (layer, kind, indices that go) for every sublayer from which something goes."""
    for index, group_type, sublayer in structure.sublayers():
        cuts = plan.layers.get(index)
        if cuts and cuts.of(group_type):
            removed = cuts.of(group_type).resolved(sublayer.groups)
            yield index, group_type, removed.to_array()


def removed_groups(plan: PrunePlan, structure: ModelStructure) -> RemovedGroups:
    """Return the indices that go, of every sublayer from which something goes."""
    return {(layer, kind): indices for layer, kind, indices in removed_by(plan, structure)}


def _layer_effect(
    index: int, cuts: LayerCuts, layer: LayerStructure, *, remove_empty: bool
) -> LayerEffect:
    """One layer after the cut; an untouched layer is never dropped, so no plan is the identity."""
    attention = cuts.attention.complement(layer.attention.groups)
    mlp = cuts.mlp.complement(layer.mlp.groups)
    biases = any(layer.sublayer(group_type).kept for group_type in GROUP_TYPES)
    dropped = remove_empty and bool(cuts) and not (attention or mlp or biases)
    return LayerEffect(index, attention, mlp, dropped, _expert_widths(mlp, layer.mlp.experts))


def _expert_widths(kept: IndexSet, experts: Sequence[int]) -> tuple[int, ...]:
    """Return the channels that stay of every expert; `experts` are their widths before the cut."""
    ends = accumulate(experts)
    return tuple(
        len(kept.within(end - width, end)) for end, width in zip(ends, experts, strict=True)
    )
