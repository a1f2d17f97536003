"""Chooses how a knapsack is solved: by counting where costs are few, else by a search at prices.

Nobody has to choose: the answer is the same, as far as it is proven.
"""

import numpy as np

from globalprune.planning.knapsack.enumeration import can_enumerate, cost_classes, enumerate_counts
from globalprune.planning.knapsack.problem import Knapsack, Mask, Solution
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


def most_saved(problem: Knapsack) -> Mask:
    """As much as may go, whatever is lost: all units, or those that fill the ceilings best."""
    if problem.ceilings is None or not len(problem.importance):
        return np.ones(len(problem.importance), bool)
    return most_below(problem)
