"""The solver's answer is the best there is, and it never claims a bound that something beats."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from knapsacks import brute_force, keeps_ceilings, knapsacks

from globalprune.planning.knapsack import Ceilings, Knapsack, Selection, fractional_bound
from globalprune.planning.knapsack_units import solve
from globalprune.planning.lagrangian import solve_by_relaxation


def assert_best(problem: Knapsack, found: Selection | None) -> None:
    """As good as trying everything, within the constraints, and with a true bound."""
    best = brute_force(problem)
    if best is None:
        assert found is None
        return
    assert found is not None
    lost = problem.lost(found.removed)
    assert lost == pytest.approx(best, rel=1e-5)
    assert (problem.costs[found.removed].sum(axis=0) >= problem.needs).all()
    assert keeps_ceilings(problem, found.removed)
    assert found.proven
    assert fractional_bound(problem) <= lost * (1 + 1e-9)
    assert found.bound <= lost


@settings(deadline=None, max_examples=300)
@given(problem=knapsacks(ceilings=False))
def test_counting_is_exact(problem: Knapsack) -> None:
    """One budget or two, up to three costs."""
    assume(any(need > 0 for need in problem.needs))
    assert_best(problem, solve(problem))


@settings(deadline=None, max_examples=60)
@given(problem=knapsacks(ceilings=False))
def test_searching_agrees_with_counting(problem: Knapsack) -> None:
    """Where both can be used, the search at prices finds no better and no worse."""
    assume(any(need > 0 for need in problem.needs))
    assert_best(problem, solve_by_relaxation(problem))


@settings(deadline=None, max_examples=60)
@given(problem=knapsacks(ceilings=True))
def test_ceilings_are_kept_at_the_least_price(problem: Knapsack) -> None:
    """The needs are met below the ceilings, or nothing is claimed."""
    assume(any(need > 0 for need in problem.needs))
    assert_best(problem, solve(problem))


@settings(deadline=None, max_examples=100)
@given(problem=knapsacks(ceilings=False))
def test_a_larger_need_never_removes_less(problem: Knapsack) -> None:
    """Whatever the costs: every need in turn."""
    assume(len(problem.needs) == 1)
    total = int(problem.costs.sum())
    saved = []
    for need in range(1, total + 1):
        found = solve(Knapsack(problem.importance, problem.costs, [need]))
        assert found is not None
        saved.append(int(problem.costs[found.removed].sum()))
    assert all(smaller <= larger for smaller, larger in itertools.pairwise(saved))


@pytest.mark.parametrize("seed", range(3))
def test_bundles_come_near_what_units_alone_would_do(seed: int) -> None:
    """Of chains too long to be told apart at once, the gap that is told is small, and true."""
    draw = np.random.default_rng(seed)
    owner = np.repeat(np.arange(3), 203)
    costs = np.tile(np.asarray([9] * 3 + [1] * 200, np.int64), 3)[:, None]
    importance = draw.lognormal(size=len(costs)) * costs[:, 0]
    below = [int(0.4 * costs[owner == one].sum()) for one in range(3)]
    problem = Knapsack(
        importance, costs, [int(0.3 * costs.sum())], Ceilings(owner, costs[:, 0], below)
    )
    found = solve(problem)
    assert found is not None
    lost = problem.lost(found.removed)
    assert keeps_ceilings(problem, found.removed)
    assert fractional_bound(problem) <= found.bound * (1 + 1e-9)
    assert found.bound <= lost <= 1.01 * found.bound
