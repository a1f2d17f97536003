"""The knapsack that planning solves, its bound, and its exact solution by counting.

A unit is one group, or several that go together (a block of channels, one group of every layer, a
whole layer). Nothing here knows how units are made.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Numbers = NDArray[np.integer]  # small ones, of any width: narrow ones sort fast
Mask = NDArray[np.bool_]

MOST_COUNTS: Final = 2_000_000  # combinations of counts that are tried
_UNBOUNDED: Final = np.iinfo(np.int64).max
_FEW: Final = 16  # distinct costs that are found one by one, without sorting


@dataclass(frozen=True, eq=False)
class Ceilings:
    """How much may go of each part of a model."""

    part: Numbers  # [U], the part that a unit belongs to: a number from 0
    weight: Ints  # [U], what it counts there
    most: Sequence[int]  # by part


@dataclass(frozen=True, eq=False)
class Knapsack:
    """Minimise Σ importance of what goes, such that each budget saves at least its need.

    Units are in the order of their scores, which is also the order in which ties fall. Of the
    feasible removals count only those that overshoot the need of some budget by less than the
    cheapest unit costs of it; where there is none, those that overshoot some need least. Of a
    `loose` budget any overshoot counts.
    """

    importance: Floats  # [U], what is lost with a unit
    costs: Ints  # [U, B], what a unit saves of each budget
    needs: Sequence[int]  # [B]
    ceilings: Ceilings | None = None
    loose: Sequence[int] = ()  # budgets by their columns

    @property
    def weight(self) -> Ints:
        """Return the weight of each unit under the ceilings, `[U]`; zeros without ceilings."""
        if self.ceilings is None:
            return np.zeros(len(self.importance), np.int64)
        return self.ceilings.weight

    @property
    def cheapest(self) -> Ints:
        """Return the least that a unit saves of each budget, of units that save any of it, `[B]`.

        Of a loose budget, more than any overshoot.
        """
        costs = np.where(self.costs > 0, self.costs, _UNBOUNDED)
        least: Ints = costs.min(axis=0, initial=_UNBOUNDED)
        least[list(self.loose)] = _UNBOUNDED
        return least

    def lost(self, removed: Mask) -> float:
        """Return the importance of what goes."""
        return float(self.importance[removed].sum())


@dataclass(frozen=True, eq=False)
class Selection:
    """What goes, of the units of a knapsack or the rows of a table, and how good that is."""

    removed: Mask
    lost: float  # the importance of what was chosen; rows that had to go are left out
    bound: float  # every removal that saves as much loses at least this
    proven: bool = False  # no other removal that counts loses less

    @property
    def gap(self) -> float:
        """Return the part of `lost` that another choice may spare, at most."""
        return 0.0 if self.proven or not self.lost else max(0.0, 1 - self.bound / self.lost)


@dataclass(frozen=True, eq=False)
class CostClass:
    """The units of one cost; a best removal takes the first n of them."""

    units: Ints  # [N], the least important first
    cost: Ints  # [B]
    lost: Floats  # [N + 1], the importance of the first n


def fractional_bound(problem: Knapsack) -> float:
    """Return Dantzig's bound: the last unit goes in part. Of several budgets, the greatest bound.

    Source: Dantzig 1957, https://doi.org/10.1287/opre.5.2.266.
    """
    return max(
        (_bound_of(problem, column, need) for column, need in enumerate(problem.needs)), default=0.0
    )


def cost_classes(problem: Knapsack) -> list[CostClass]:
    """Sort the units into classes of one cost; the most numerous class is the last."""
    distinct, class_of = distinct_costs(problem.costs)
    classes = []
    for number, cost in enumerate(distinct):
        units = by_importance(problem.importance, np.flatnonzero(class_of == number))
        lost = np.concatenate([[0.0], np.cumsum(problem.importance[units])])
        classes.append(CostClass(units, cost, lost))
    return sorted(classes, key=lambda one: len(one.units))


def can_enumerate(classes: Sequence[CostClass]) -> bool:
    """Return whether all combinations of counts, but of the last class, are few enough to try."""
    return math.prod(len(one.units) + 1 for one in classes[:-1]) <= MOST_COUNTS


def enumerate_counts(problem: Knapsack, classes: Sequence[CostClass]) -> Selection | None:
    """Return the best removal without ceilings; None where the needs can't be met."""
    *others, last = classes
    tried = math.prod(len(one.units) + 1 for one in others)
    grid = np.indices([len(one.units) + 1 for one in others]).reshape(len(others), tried)
    saved = np.zeros((tried, len(problem.needs)), np.int64)
    lost = np.zeros(len(saved))
    for counts, one in zip(grid, others, strict=True):
        saved += counts[:, None] * one.cost
        lost += one.lost[counts]
    needs = np.asarray(problem.needs, np.int64)
    count = _least_counts(needs - saved, last.cost)
    saved += np.minimum(count, len(last.units))[:, None] * last.cost
    fits = (count <= len(last.units)) & (saved >= needs).all(axis=1)
    if not fits.any():
        return None
    lost += last.lost[np.minimum(count, len(last.units))]
    best = _best(lost, saved, needs, problem.cheapest, np.flatnonzero(fits))
    removed = np.zeros(len(problem.importance), bool)
    for one, number in zip(classes, (*grid[:, best], count[best]), strict=True):
        removed[one.units[:number]] = True
    total = problem.lost(removed)
    return Selection(removed, total, min(fractional_bound(problem), total), proven=True)


def distinct_costs(costs: Ints) -> tuple[Ints, Ints]:
    """Return the distinct rows of `[U, B]` costs, ascending, and which of them each unit has."""
    found: list[Ints] = []
    rest = np.ones(len(costs), bool)
    while rest.any() and len(found) < _FEW:
        found.append(costs[int(rest.argmax())])
        rest &= (costs != found[-1]).any(axis=1)
    if rest.any():
        distinct, kind = np.unique(costs, axis=0, return_inverse=True)
        return distinct, kind.ravel()
    distinct = np.unique(np.asarray(found, np.int64), axis=0)
    kind = np.zeros(len(costs), np.int64)
    for number, row in enumerate(distinct):
        kind[(costs == row).all(axis=1)] = number
    return distinct, kind


def by_importance(importance: Floats, units: Ints) -> Ints:
    """Return units, given in their order, the least important first; they mostly are already."""
    values = importance[units]
    return units if (values[1:] >= values[:-1]).all() else units[np.argsort(values, kind="stable")]


def _bound_of(problem: Knapsack, column: int, need: int) -> float:
    """Return the bound of one budget; units of negative importance go in any case."""
    gains = problem.importance < 0
    costs = problem.costs[:, column]
    lost = float(problem.importance[gains].sum())
    need -= int(costs[gains].sum())
    useful = (costs > 0) & ~gains
    if need <= 0 or not useful.any():
        return lost
    slopes = np.divide(problem.importance, costs, where=useful, out=np.zeros(len(costs)))
    order = by_importance(slopes, np.flatnonzero(useful))
    del slopes  # as large as the table
    saved = np.cumsum(costs[order])
    last = int(np.searchsorted(saved, need))  # the unit that goes in part, if there is one
    lost += float(problem.importance[order[:last]].sum())
    if last < len(order):
        before = int(saved[last - 1]) if last else 0
        lost += float(problem.importance[order[last]]) * (need - before) / int(costs[order[last]])
    return lost


def _least_counts(missing: Ints, cost: Ints) -> Ints:
    """How many units of a cost save what is missing of every budget that they save, `[G]`."""
    saves = cost > 0
    counts = -(-missing[:, saves] // cost[saves])
    least: Ints = np.maximum(counts.max(axis=1, initial=0), 0)
    return least


def _best(lost: Floats, saved: Ints, needs: Ints, cheapest: Ints, fits: Ints) -> int:
    """The feasible combination that counts and loses least; of equals, the one that saves least."""
    over = saved[fits] - needs
    near = (over < cheapest).any(axis=1)
    if not near.any():
        least = over.min(axis=1)
        near = least == least.min()
    candidates = fits[near]
    order = np.lexsort((saved[candidates].sum(axis=1), lost[candidates]))
    return int(candidates[order[0]])
