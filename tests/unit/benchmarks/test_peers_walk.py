"""The benchmarks' own walk, which stands for choosing without a solver, keeps law 4 as well."""

import itertools

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from peers.walk import select

COSTS = st.lists(st.sampled_from([1, 6, 7, 50]), min_size=1, max_size=14)
TWO_COSTS = st.lists(st.sampled_from([6, 50]), min_size=1, max_size=14)


def removed(costs: list[int], need: int) -> tuple[int, list[int]]:
    """What a walk removes in all, and the costs that stand."""
    array = np.asarray(costs, np.int64)
    taken = select(array, need)
    return int(array[taken].sum()), array[~taken].tolist()


@settings(deadline=None, max_examples=300)
@given(costs=COSTS, share=st.floats(0, 1))
@example(costs=[50, 6, 6, 50], share=0.4)
def test_enough_goes_and_hardly_more(costs: list[int], share: float) -> None:
    """At least what is asked goes; the overshoot is less than the smallest group left."""
    need = int(share * sum(costs))
    total, standing = removed(costs, need)

    assert total >= need
    assert not standing or total - need < min(standing)


@settings(deadline=None, max_examples=200)
@given(costs=TWO_COSTS)
def test_a_larger_budget_never_removes_less(costs: list[int]) -> None:
    """With two distinct costs, as in a model of equal layers, every budget in turn."""
    totals = [removed(costs, need)[0] for need in range(sum(costs) + 1)]

    assert all(smaller <= larger for smaller, larger in itertools.pairwise(totals))


@settings(deadline=None, max_examples=100)
@given(costs=COSTS, cut=st.integers(0, 14))
def test_the_walk_is_a_prefix_where_costs_are_equal(costs: list[int], cut: int) -> None:
    """Groups of one cost go strictly by score, so that no worse group stays for a better one."""
    same = [6] * len(costs)
    taken = select(np.asarray(same, np.int64), 6 * min(cut, len(same)))

    assert taken.tolist() == sorted(taken.tolist(), reverse=True)
