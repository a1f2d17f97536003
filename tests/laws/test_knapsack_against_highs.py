"""Below ceilings, where trying everything takes too long: the value that HiGHS proves."""

import pytest
from knapsack import EQUAL, by_highs, difference, drawn

from globalprune.planning.lagrangian import solve_by_relaxation


@pytest.mark.parametrize("first", range(0, 100, 20))
def test_the_value_is_that_of_highs(first: int) -> None:
    """One budget and two, one instance a seed; `benchmarks/knapsack.py` tries a thousand."""
    for seed in range(first, first + 20):
        problem = drawn(seed)
        found, theirs = solve_by_relaxation(problem), by_highs(problem)

        assert difference(problem, found.removed if found else None, theirs) < EQUAL, seed
        if found is not None and theirs is not None:
            assert found.bound <= problem.lost(theirs) * (1 + 1e-9), seed
