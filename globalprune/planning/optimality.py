"""How good a plan is by the table it was made from, beside every other plan that cuts as much.

Sums of importance only: what a model really loses is its perplexity, and that is measured.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_effect import PlanEffect, removed_by
from globalprune.artifacts.structure import ModelStructure
from globalprune.planning.figures import ImportanceByGroup
from globalprune.planning.knapsack.problem import Knapsack, fractional_bound

_ROUNDING: Final = 1e-12  # of sums in two orders


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
        """The most that any cut as large can keep."""
        return self.total - self.least

    @property
    def gap(self) -> float:
        """How far from the bound, as a fraction of it; what constraints and pins cost is in it."""
        gap = (self.bound - self.kept) / self.bound if self.bound > 0 else 0.0
        return gap if gap > _ROUNDING else 0.0


def optimality_of(
    plan: PrunePlan, structure: ModelStructure, effect: PlanEffect, worth: ImportanceByGroup
) -> Optimality | None:
    """Hold a plan against the bound; None where layers go that were not measured."""
    sums = [worth.sum_of(*removal) for removal in removed_by(plan, structure)]
    if None in sums:
        return None
    lost = float(sum(value for value in sums if value is not None))
    table = worth.table
    any_plan = Knapsack(table.importance, table.cost[:, None].astype(np.int64), [effect.removed])
    return Optimality(worth.total, lost, min(lost, fractional_bound(any_plan)))
