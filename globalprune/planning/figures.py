"""What a plan costs by the table it was made from: the share of importance that goes."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.group_table import GroupTable
from globalprune.artifacts.groups import GroupType
from globalprune.planning.scoring import Scoring


@dataclass(frozen=True)
class ImportanceByGroup:
    """Looks up what groups are worth; sums of importance are no perplexity."""

    scoring: Scoring
    total: float
    halves: dict[tuple[int, GroupType], NDArray[np.float64]]  # by group_idx

    @classmethod
    def of(cls, table: GroupTable, scoring: Scoring) -> "ImportanceByGroup":
        """Take the table's importances apart by its halves."""
        halves = {half: table.importance[rows] for half, rows in table.halves.items()}
        return cls(scoring, float(table.importance.sum()), halves)

    def sum_of(self, layer: int, kind: GroupType, indices: Iterable[int]) -> float | None:
        """The importance of these groups together; None where the half was not measured."""
        half = self.halves.get((layer, kind))
        wanted = list(indices)
        if half is None:
            return None if wanted else 0.0
        return float(half[wanted].sum())
