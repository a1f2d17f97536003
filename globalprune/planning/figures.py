"""What a plan costs by the table it was made from: the share of importance that goes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.analyses.analysis import Scoring
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.structure import GroupType


@dataclass(frozen=True)
class ImportanceByGroup:
    """Looks up what groups are worth; sums of importance are no perplexity."""

    scoring: Scoring
    table: GroupTable  # scored so
    halves: dict[tuple[int, GroupType], NDArray[np.float64]]  # by group_idx

    @classmethod
    def of(cls, table: GroupTable, scoring: Scoring) -> "ImportanceByGroup":
        """Take the table's importances apart by its halves."""
        halves = {half: table.importance[rows] for half, rows in table.halves.items()}
        return cls(scoring, table, halves)

    @property
    def total(self) -> float:
        """Of all measured groups."""
        return float(self.table.importance.sum())

    def sum_of(self, layer: int, kind: GroupType, indices: NDArray[np.int64]) -> float | None:
        """The importance of these groups together; None where the half was not measured."""
        half = self.halves.get((layer, kind))
        if half is None:
            return None if len(indices) else 0.0
        return float(half[indices].sum())
