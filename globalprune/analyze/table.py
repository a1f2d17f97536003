"""From statistics to the group table: one row for every group of the measured layers."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from globalprune.artifacts.analyses.group_table import ANALYSIS_KEY, GroupTable
from globalprune.artifacts.analyses.normalisers import NormaliserName
from globalprune.artifacts.structure import GROUP_TYPES, HalfStructure, ModelStructure
from globalprune.importance import Importance
from globalprune.statistics.interface import GroupSums, Half, Statistic


def build_table(
    structure: ModelStructure,
    layers: range,
    methods: Sequence[Importance],
    statistics: Mapping[Statistic, GroupSums],
    normaliser: NormaliserName = "none",
    identity: str = "",
) -> GroupTable:
    """Make the table, scored by the first method; `identity` is that of the analysis."""
    halves = [
        ((layer, group_type), half)
        for layer, group_type, half in structure.halves()
        if layer in layers and half.candidates
    ]
    importances = {
        method.name: torch.cat([_combined(method, statistics, half) for half, _ in halves])
        for method in methods
    }
    return GroupTable.build(
        **_facts(halves),
        importances={name: values.cpu().numpy() for name, values in importances.items()},
        metadata={ANALYSIS_KEY: identity},
        normaliser=normaliser,
    )


def _combined(
    method: Importance, statistics: Mapping[Statistic, GroupSums], half: Half
) -> torch.Tensor:
    """One method's importance of one half's groups."""
    return method.combine({need: statistics[need][half] for need in method.needs})


def _facts(halves: Sequence[tuple[Half, HalfStructure]]) -> dict[str, np.ndarray]:
    """What of a row no text changes: which group it is, and its parameters."""
    return {
        "layer_idx": np.concatenate([np.full(half.groups, layer) for (layer, _), half in halves]),
        "group_type": np.concatenate(
            [np.full(half.groups, GROUP_TYPES.index(kind)) for (_, kind), half in halves]
        ),
        "group_idx": np.concatenate([np.arange(half.groups) for _, half in halves]),
        "cost": np.concatenate([np.full(half.groups, half.cost) for _, half in halves]),
    }
