"""From orders of removal to the curves that are written beside the table."""

import numpy as np

from globalprune.analyze.ordering import Ordered
from globalprune.artifacts.analyses.loss_curves import Curves
from globalprune.artifacts.structure import GROUP_TYPES, ModelStructure


def curves_of(ordered: Ordered, structure: ModelStructure) -> Curves:
    """Every half's removals in order, with what they have cost so far, as far as it is known."""
    parts = []
    for (layer, group_type), order in ordered.removal.orders.items():
        count = len(order.groups)
        steps = np.arange(1, count + 1)
        measured = np.full(count, np.nan)
        for removed, nats in ordered.trials.get((layer, group_type), {}).items():
            measured[removed - 1] = nats
        parts.append(
            {
                "layer_idx": np.full(count, layer, np.int32),
                "group_type": np.full(count, GROUP_TYPES.index(group_type), np.int8),
                "removed_groups": steps.astype(np.int32),
                "group_idx": order.groups.numpy().astype(np.int32),
                "removed_params": steps * structure.layers[layer].half(group_type).cost,
                "predicted_nats": order.losses.cumsum(0).numpy(),
                "measured_nats": measured,
            }
        )
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Curves(**columns)
