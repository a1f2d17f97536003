"""Law 4: removed ≥ asked, overshoot below the smallest standing group, monotone in the budget."""

import itertools

import numpy as np
from analyses import analysis_of, structure_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from peers.walk import select

from globalprune.artifacts.plans.plan_target import Target
from globalprune.planning.planner import make_plan

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


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 999), ratio=st.floats(0, 0.7))
def test_a_plan_keeps_the_budget_of_all_parameters(seed: int, ratio: float) -> None:
    """The ratio is one of all parameters, embeddings too; the effect is counted from the plan."""
    structure = structure_of(((3, 9), (3, 9), (3, 9)))
    planned = make_plan(analysis_of(structure, seed), Target(ratio=ratio))
    standing = [
        half.cost
        for layer, kind, half in structure.halves()
        for _ in planned.effect.layers[layer].of(kind)
    ]

    assert planned.met[0].need.amount >= ratio * structure.parameters - 1e-6
    assert planned.effect.removed - planned.met[0].need.amount < min(standing)
    assert planned.reached
