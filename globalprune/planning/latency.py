"""A latency budget: times between measured points are interpolated, so no sum of costs tells them.

Groups are chosen by what one of their kind saves on average; how much of that has to go is searched
until the time of the layers as they would be is what was asked.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.evaluations.latency import Latencies
from globalprune.artifacts.plans.budgets import Met, Need
from globalprune.artifacts.structure import GROUP_TYPES, ModelStructure
from globalprune.planning.choice import Choice
from globalprune.planning.knapsack.problem import Ints, Mask

_STEPS: Final = 12  # of the search, in turns by interpolation and by halving
_NEAR: Final = 1000  # a part of the amount, by which overshooting it is near enough
_MILLION: Final = 1e6  # nanoseconds a millisecond


class LatencyNeed(Need):
    """Nanoseconds a token, told as milliseconds."""

    def text(self, amount: int) -> str:
        """Milliseconds."""
        return f"{amount / _MILLION:.3f} ms a token"


@dataclass(frozen=True, eq=False)
class LatencyGoal:
    """Nanoseconds that a decoded token may take, by what was measured of this structure."""

    latencies: Latencies
    milliseconds: float
    table: GroupTable
    structure: ModelStructure

    def need(self, amount: int | None = None) -> Need:
        """The goal in nanoseconds, or what saves so many of them by the average of each kind."""
        before = self.latencies.nanoseconds_per_token(self._whole())
        at_most = int(_MILLION * self.milliseconds) if amount is None else before - amount
        per_group = [self.latencies.nanoseconds_per_group(kind) for kind in GROUP_TYPES]
        cost = np.tile(np.asarray(per_group, np.int64), (len(self.structure.layers), 1))
        return LatencyNeed(("latency",), "nanoseconds a token", before, at_most, cost, loose=True)

    def met_by(self, taken: Mask) -> Met:
        """How far the goal is met where these rows go, by interpolation."""
        need = self.need()
        return Met(need, need.before - self.latencies.nanoseconds_per_token(self._kept(taken)))

    def _whole(self) -> Ints:
        """The groups that every layer has, `[layers, kinds]`."""
        return np.asarray(
            [[layer.half(kind).groups for kind in GROUP_TYPES] for layer in self.structure.layers]
        )

    def _kept(self, taken: Mask) -> Ints:
        """The groups that every layer keeps, `[layers, kinds]`."""
        kept = self._whole()
        np.subtract.at(kept, (self.table.layer_idx[taken], self.table.group_type[taken]), 1)
        return kept


def choose_in_time(goal: LatencyGoal, most: Mask, choose: Callable[[Need], Choice]) -> Choice:
    """The choice that has to save least, by averages, for the goal to be met by interpolation.

    `most` are the rows that may go or must; where all don't meet the goal, the largest choice.
    """
    amount = goal.need().amount
    low, low_saved, best = 0, 0, choose(goal.need(0))
    if goal.met_by(best.taken).reached:
        return replace(best, gap=0.0)  # of a knapsack of averages, it would tell nothing
    costs = goal.need().of_rows(goal.table.layer_idx, goal.table.group_type)
    high, high_saved = int(costs[most].sum()), goal.met_by(most).saved
    best = choose(goal.need(high))
    for step in range(_STEPS):
        if not low_saved < amount <= high_saved or high - low <= 1:
            break
        part = 0.5 if step % 2 else (amount - low_saved) / (high_saved - low_saved)
        middle = min(max(low + round(part * (high - low)), low + 1), high - 1)
        found = choose(goal.need(middle))
        saved = goal.met_by(found.taken).saved
        if saved < amount:
            low, low_saved = middle, saved
            continue
        high, high_saved, best = middle, saved, found
        if (saved - amount) * _NEAR <= amount:
            break
    return replace(best, gap=0.0)  # of a knapsack of averages, it would tell nothing
