"""Small knapsacks, and their answers by trying every removal."""

import itertools

import numpy as np
from hypothesis import strategies as st

from globalprune.planning.knapsack import Ceilings, Knapsack

# by the number of budgets
KINDS: tuple[tuple[tuple[int, ...], ...], ...] = ((6,), (50,), (7,)), ((6, 0), (0, 50), (7, 0))


@st.composite
def knapsacks(draw: st.DrawFn, *, ceilings: bool) -> Knapsack:
    """Up to ten units of up to three costs, one or two budgets, with or without ceilings."""
    every = draw(st.sampled_from(KINDS))
    kinds = every[: draw(st.integers(1, len(every)))]
    units = draw(st.integers(1, 10))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    costs = np.asarray(kinds, np.int64)[generator.integers(0, len(kinds), units)]
    importance = generator.random(units)
    order = np.argsort(importance / costs.sum(axis=1))
    importance, costs = importance[order], costs[order]
    share = [draw(st.floats(0.01, 1)) for _ in kinds[0]]
    needs = [int(part * total) for part, total in zip(share, costs.sum(axis=0), strict=True)]
    if not ceilings:
        return Knapsack(importance, costs, needs)
    owner = generator.integers(0, 3, units)
    below = [int(draw(st.floats(0, 1.3)) * costs[owner == one].sum()) for one in range(3)]
    return Knapsack(importance, costs, needs, Ceilings(owner, costs.sum(axis=1), below))


def brute_force(problem: Knapsack) -> float | None:
    """The least that a removal which counts can lose; None where the needs can't be met."""
    needs = np.asarray(problem.needs)
    feasible = []
    for bits in itertools.product([False, True], repeat=len(problem.importance)):
        taken = np.asarray(bits)
        over = problem.costs[taken].sum(axis=0) - needs
        if (over >= 0).all() and keeps_ceilings(problem, taken):
            feasible.append((problem.lost(taken), over))
    if not feasible:
        return None
    near = [lost for lost, over in feasible if (over < problem.cheapest).any()]
    least = min(over.min() for _, over in feasible)
    return min(near or [lost for lost, over in feasible if over.min() == least])


def keeps_ceilings(problem: Knapsack, taken: np.ndarray) -> bool:
    """Whether no ceiling is passed."""
    return problem.ceilings is None or all(
        problem.weight[taken & (problem.ceilings.part == one)].sum() <= most
        for one, most in enumerate(problem.ceilings.most)
    )
