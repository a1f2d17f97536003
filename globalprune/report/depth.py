"""What lies at which depth, as numbers: the spread of the scores in every half of every layer."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.structure import GroupType

QUANTILES: Final = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Spread:
    """The scores of one half: importance a parameter, of the group at each of `QUANTILES`."""

    low: float
    median: float
    high: float


def spreads_of(table: GroupTable) -> dict[tuple[int, GroupType], Spread]:
    """The spread of every half that was measured."""
    return {
        half: Spread(*np.quantile(table.score[rows], QUANTILES).tolist())
        for half, rows in table.halves.items()
    }
