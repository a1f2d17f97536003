"""The knapsack that planning solves: units that may go, what must be saved, and what came out.

A unit is one group, or several that go together (a block of channels, one group of every layer, a
whole layer). Nothing here knows how units are made or how the problem is solved.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Numbers = NDArray[np.integer]  # small ones, of any width: narrow ones sort fast
Mask = NDArray[np.bool_]

_ENDLESS = np.iinfo(np.int64).max
_FEW = 16  # distinct costs that are found one by one, without sorting


@dataclass(frozen=True, eq=False)
class Ceilings:
    """How much may go of each part of a model."""

    part: Numbers  # [U], the part that a unit belongs to: a number from 0
    weight: Ints  # [U], what it counts there
    most: Sequence[int]  # by part


@dataclass(frozen=True, eq=False)
class Knapsack:
    """Minimise Σ importance of what goes, such that each budget saves at least its need.

    Units stand in the order of their scores, which is also the order in which ties fall. Of the
    feasible removals count only those that overshoot the need of some budget by less than the
    cheapest unit costs of it; where there is none, those that overshoot some need least. Of a
    `loose` budget any overshoot counts.
    """

    importance: Floats  # [U], what is lost with a unit
    costs: Ints  # [U, B], what a unit saves of each budget
    needs: Sequence[int]  # [B]
    ceilings: "Ceilings | None" = None
    loose: Sequence[int] = ()  # budgets by their columns

    @property
    def weight(self) -> Ints:
        """What units count under their ceilings, `[U]`; nothing where there are none."""
        if self.ceilings is None:
            return np.zeros(len(self.importance), np.int64)
        return self.ceilings.weight

    @property
    def cheapest(self) -> Ints:
        """The least that a unit saves of each budget, of units that save any of it, `[B]`.

        Of a loose budget, more than anything overshoots.
        """
        paid = np.where(self.costs > 0, self.costs, _ENDLESS)
        least: Ints = paid.min(axis=0, initial=_ENDLESS)
        least[list(self.loose)] = _ENDLESS
        return least

    def lost(self, taken: Mask) -> float:
        """The importance of what goes."""
        return float(self.importance[taken].sum())


def kinds_of(costs: Ints) -> tuple[Ints, Ints]:
    """The distinct rows of costs, ascending, and which of them each unit has."""
    found: list[Ints] = []
    open_ = np.ones(len(costs), bool)
    while open_.any() and len(found) < _FEW:
        found.append(costs[int(open_.argmax())])
        open_ &= (costs != found[-1]).any(axis=1)
    if open_.any():
        distinct, kind = np.unique(costs, axis=0, return_inverse=True)
        return distinct, kind.ravel()
    distinct = np.unique(np.asarray(found, np.int64), axis=0)
    kind = np.zeros(len(costs), np.int64)
    for number, row in enumerate(distinct):
        kind[(costs == row).all(axis=1)] = number
    return distinct, kind


def least_worth_first(importance: Floats, units: Ints) -> Ints:
    """Units, which stand in their order, by importance; mostly they stand so already."""
    worth = importance[units]
    return units if (worth[1:] >= worth[:-1]).all() else units[np.argsort(worth, kind="stable")]


@dataclass(frozen=True, eq=False)
class Solution:
    """Which units go, and how good that is.

    `least` is an importance that every removal which saves as much must lose, whatever the grain of
    the units: the fractional knapsack's bound.
    """

    taken: Mask  # [U]
    least: float
    proven: bool  # no other removal that counts loses less


def fractional_bound(problem: Knapsack) -> float:
    """Dantzig's bound: the last unit goes in part. With several budgets, the greatest of theirs.

    Source: Dantzig 1957, https://doi.org/10.1287/opre.5.2.266.
    """
    return max(
        (_bound_of(problem, column, need) for column, need in enumerate(problem.needs)), default=0.0
    )


def _bound_of(problem: Knapsack, column: int, need: int) -> float:
    """The bound of one budget; what loses less than nothing goes in any case."""
    gains = problem.importance < 0
    costs = problem.costs[:, column]
    lost = float(problem.importance[gains].sum())
    need -= int(costs[gains].sum())
    useful = (costs > 0) & ~gains
    if need <= 0 or not useful.any():
        return lost
    slopes = np.divide(problem.importance, costs, where=useful, out=np.zeros(len(costs)))
    order = least_worth_first(slopes, np.flatnonzero(useful))
    del slopes  # as large as the table
    saved = np.cumsum(costs[order])
    last = int(np.searchsorted(saved, need))  # the unit that goes in part, if there is one
    lost += float(problem.importance[order[:last]].sum())
    if last < len(order):
        before = int(saved[last - 1]) if last else 0
        lost += float(problem.importance[order[last]]) * (need - before) / int(costs[order[last]])
    return lost
