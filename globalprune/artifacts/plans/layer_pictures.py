"""Layer by layer: what an analysis finds there, and what a plan leaves of it."""

from dataclasses import dataclass

import numpy as np

from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.groups import GROUP_TYPES, GroupType, ModelStructure
from globalprune.artifacts.plans.plan_effect import PlanEffect


@dataclass(frozen=True)
class HalfPicture:
    """One half of a layer."""

    groups: int
    kept: int
    importance: float | None  # of all its groups, as a share of the model's; None: not measured
    lost: float | None  # the share that goes


@dataclass(frozen=True)
class LayerPicture:
    """One layer, its halves by kind."""

    layer_idx: int
    halves: dict[GroupType, HalfPicture]
    dropped: bool


def layer_pictures(
    structure: ModelStructure, table: GroupTable | None, effect: PlanEffect | None
) -> tuple[LayerPicture, ...]:
    """A picture of every layer; without a table no importance is known, without an effect all stay.

    Importances are shares of the table's sum.
    """
    total = (float(table.importance.sum()) if table else 0.0) or 1.0
    found = []
    for at, layer in enumerate(structure.layers):
        cut = effect.layers[at] if effect else None
        halves: dict[GroupType, HalfPicture] = {}
        for kind in GROUP_TYPES:
            groups = layer.half(kind).groups
            kept = cut.of(kind) if cut else range(groups)
            rows = table.halves.get((at, kind)) if table else None
            worth = lost = None
            if table is not None and rows is not None:
                shares = table.importance[rows] / total
                worth = float(shares.sum())
                lost = worth - float(shares[np.asarray(kept, np.int64)].sum())
            halves[kind] = HalfPicture(groups, len(kept), worth, lost)
        found.append(LayerPicture(at, halves, dropped=cut.dropped if cut else False))
    return tuple(found)
