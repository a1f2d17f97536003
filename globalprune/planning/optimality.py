"""How good a plan is by the table it was made from, beside every other plan that cuts as much.

Sums of importance only: what a model really loses is its perplexity, and that is measured.
"""

from dataclasses import dataclass

import numpy as np

from globalprune.artifacts.group_table import GroupTable
from globalprune.artifacts.groups import ModelStructure
from globalprune.artifacts.plan_effect import PlanEffect, removed_by
from globalprune.artifacts.prune_plan import PrunePlan
from globalprune.planning.figures import ImportanceByGroup


@dataclass(frozen=True)
class Optimality:
    """What a plan keeps of the summed importance, and what any plan of its size could keep."""

    total: float
    lost: float
    least: float  # lost by every plan that removes as many parameters

    @property
    def kept(self) -> float:
        """The importance that stays."""
        return self.total - self.lost

    @property
    def bound(self) -> float:
        """The most that any plan of this size can keep."""
        return self.total - self.least

    @property
    def gap(self) -> float:
        """How far from the bound, as a fraction of it; what constraints and pins cost is in it."""
        return (self.bound - self.kept) / self.bound if self.bound > 0 else 0.0


def optimality_of(
    plan: PrunePlan, structure: ModelStructure, effect: PlanEffect, worth: ImportanceByGroup
) -> Optimality | None:
    """Hold a plan against the bound; None where layers go that were not measured."""
    sums = [worth.sum_of(*removal) for removal in removed_by(plan, structure)]
    if None in sums:
        return None
    lost = float(sum(value for value in sums if value is not None))
    return Optimality(worth.total, lost, min(lost, least_lost(worth.table, effect.removed)))


def least_lost(table: GroupTable, removed: int) -> float:
    """The importance that every cut of at least `removed` parameters loses, whatever it may do.

    The lowest scores first, the last group in part: the bound of the fractional knapsack (Dantzig
    1957, https://doi.org/10.1287/opre.5.2.266). What is worth less than nothing goes in any case.
    """
    last = max(int(np.searchsorted(np.cumsum(table.cost), removed)), int(np.sum(table.score < 0)))
    lost = float(table.importance[:last].sum())
    missing = removed - int(table.cost[:last].sum())
    if missing > 0 and last < len(table):
        lost += float(table.score[last]) * missing
    return lost
