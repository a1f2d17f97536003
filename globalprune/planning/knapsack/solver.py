"""Chooses how a knapsack is solved: by counting where costs are few, else by a search at prices.

Nobody has to choose: the answer is the same, as far as it is proven.
"""

from dataclasses import replace

import numpy as np

from globalprune.planning.knapsack.enumeration import can_enumerate, cost_classes, enumerate_counts
from globalprune.planning.knapsack.problem import Floats, Ints, Knapsack, Solution
from globalprune.planning.knapsack.search import most_below, solve_searching


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
    return solve_searching(problem)


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
    saved: Ints = problem.costs[most_below(problem, weights)].sum(axis=0)
    return saved
