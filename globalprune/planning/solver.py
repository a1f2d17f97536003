"""Picks how a knapsack is solved: exact enumeration of counts, or the Lagrangian search."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from globalprune.planning.knapsack import (
    Floats,
    Ints,
    Knapsack,
    Solution,
    fractional_bound,
    kinds_of,
    least_worth_first,
)
from globalprune.planning.lagrangian import largest_saving, solve_by_relaxation

MOST_COUNTS: Final = 2_000_000  # combinations of counts that are tried


@dataclass(frozen=True, eq=False)
class CostClass:
    """The units of one cost: the first n of `units` go."""

    units: Ints  # [N], worth least first
    cost: Ints  # [B]
    lost: Floats  # [N + 1], what is lost if n go


def cost_classes(problem: Knapsack) -> list[CostClass]:
    """Take the units apart by cost; the most numerous class is the last."""
    distinct, class_of = kinds_of(problem.costs)
    found = []
    for number, cost in enumerate(distinct):
        units = least_worth_first(problem.importance, np.flatnonzero(class_of == number))
        lost = np.concatenate([[0.0], np.cumsum(problem.importance[units])])
        found.append(CostClass(units, cost, lost))
    return sorted(found, key=lambda one: len(one.units))


def can_enumerate(classes: Sequence[CostClass]) -> bool:
    """Whether few enough combinations of counts are to be tried."""
    return math.prod(len(one.units) + 1 for one in classes[:-1]) <= MOST_COUNTS


def enumerate_counts(problem: Knapsack, classes: Sequence[CostClass]) -> Solution | None:
    """The best removal; None where the needs can't be met."""
    *others, last = classes
    tried = math.prod(len(one.units) + 1 for one in others)
    grid = np.indices([len(one.units) + 1 for one in others]).reshape(len(others), tried)
    saved = np.zeros((tried, len(problem.needs)), np.int64)
    lost = np.zeros(len(saved))
    for counts, one in zip(grid, others, strict=True):
        saved += counts[:, None] * one.cost
        lost += one.lost[counts]
    needs = np.asarray(problem.needs, np.int64)
    count = _needed(needs - saved, last.cost)
    saved += np.minimum(count, len(last.units))[:, None] * last.cost
    fits = (count <= len(last.units)) & (saved >= needs).all(axis=1)
    if not fits.any():
        return None
    lost += last.lost[np.minimum(count, len(last.units))]
    best = _best(lost, saved, needs, problem.cheapest, np.flatnonzero(fits))
    taken = np.zeros(len(problem.importance), bool)
    for one, number in zip(classes, (*grid[:, best], count[best]), strict=True):
        taken[one.units[:number]] = True
    return Solution(taken, min(fractional_bound(problem), problem.lost(taken)), proven=True)


def _needed(missing: Ints, cost: Ints) -> Ints:
    """How many units of a cost fill up what is missing of every budget that they save, `[G]`."""
    paid = cost > 0
    fill = -(-missing[:, paid] // cost[paid])
    count: Ints = np.maximum(fill.max(axis=1, initial=0), 0)
    return count


def _best(lost: Floats, saved: Ints, needs: Ints, cheapest: Ints, fits: Ints) -> int:
    """The feasible combination that counts and loses least; of equals, the one that saves least."""
    over = saved[fits] - needs
    near = (over < cheapest).any(axis=1)
    if not near.any():
        least = over.min(axis=1)
        near = least == least.min()
    chosen = fits[near]
    order = np.lexsort((saved[chosen].sum(axis=1), lost[chosen]))
    return int(chosen[order[0]])


def solve(problem: Knapsack) -> Solution | None:
    """The removal that loses least; None where no removal meets the needs and the ceilings."""
    if all(need <= 0 for need in problem.needs):
        nothing = np.zeros(len(problem.importance), bool)
        return Solution(nothing, 0.0, proven=True)
    if not len(problem.importance):
        return None
    classes = cost_classes(problem)
    if problem.ceilings is None and can_enumerate(classes):
        return enumerate_counts(problem, classes)
    return solve_by_relaxation(problem)


def nearest(problem: Knapsack) -> Solution | None:
    """What loses least and comes near to needs that can't be met.

    Of no budget more is asked than can be saved of it by itself; where all of that together is
    still too much, as much as goes together when each counts by its need.
    """
    alone = [_most(problem, one)[column] for column, one in enumerate(np.eye(len(problem.needs)))]
    needs = np.minimum(alone, problem.needs)
    found = solve(replace(problem, needs=needs.tolist()))
    if found is not None:
        return found
    together = _most(problem, 1 / np.maximum(needs, 1))
    return solve(replace(problem, needs=np.minimum(together, needs).tolist()))


def _most(problem: Knapsack, weights: Floats) -> Ints:
    """What is saved of each budget, `[B]`, where most is saved by these weights of them."""
    if problem.ceilings is None or not len(problem.importance):
        everything: Ints = problem.costs.sum(axis=0)
        return everything
    saved: Ints = problem.costs[largest_saving(problem, weights)].sum(axis=0)
    return saved
