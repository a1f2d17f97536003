"""What a plan costs by the table it was made from: the share of importance that goes."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.group_table import GroupTable
from globalprune.artifacts.groups import GROUP_TYPES, GroupType


@dataclass(frozen=True)
class ImportanceByGroup:
    """Looks up what groups are worth; sums of importance are no perplexity."""

    name: str
    total: float
    halves: dict[tuple[int, GroupType], NDArray[np.float64]]  # by group_idx

    @classmethod
    def of(cls, table: GroupTable, name: str) -> "ImportanceByGroup":
        """Sort the table's importances into its halves."""
        keys = table.layer_idx.astype(np.int64) * len(GROUP_TYPES) + table.group_type
        order = np.lexsort((table.group_idx, keys))
        found, starts = np.unique(keys[order], return_index=True)
        parts = np.split(table.importance[order], starts[1:])
        halves = {
            (key // len(GROUP_TYPES), GROUP_TYPES[key % len(GROUP_TYPES)]): part
            for key, part in zip(found.tolist(), parts, strict=True)
        }
        return cls(name, float(table.importance.sum()), halves)

    def sum_of(self, layer: int, kind: GroupType, indices: Iterable[int]) -> float | None:
        """The importance of these groups together; None where the half was not measured."""
        half = self.halves.get((layer, kind))
        wanted = list(indices)
        if half is None:
            return None if wanted else 0.0
        return float(half[wanted].sum())
