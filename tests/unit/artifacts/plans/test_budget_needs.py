"""What budgets ask to be saved, and what a group saves."""

from analyses import structure_of

from globalprune.artifacts.plans.budget_needs import Met, needs_of
from globalprune.artifacts.plans.plan_target import Budgets

STRUCTURE = structure_of(((2, 4), (2, 4)))  # 2 layers; 50 and 6 parameters a group, 2 x 2 numbers
WHOLE = STRUCTURE.parameters


def test_the_strictest_budget_of_parameters_counts() -> None:
    """A ratio, a number and a size are one need; a size is divided by the bytes of a number."""
    (need,) = needs_of(Budgets(ratio=0.1, parameters=WHOLE - 100, size=2 * (WHOLE - 70)), STRUCTURE)

    assert need.asked == ("ratio", "parameters", "size")
    assert (need.before, need.amount) == (WHOLE, 100)
    assert need.cost.tolist() == [[50, 6], [50, 6]]


def test_a_cache_holds_a_key_and_a_value() -> None:
    """Of every attention group: two vectors of head_dim numbers."""
    (need,) = needs_of(Budgets(kv_cache=20, dtype="float32"), STRUCTURE)

    assert need.cost.tolist() == [[2 * 2 * 4, 0], [2 * 2 * 4, 0]]
    assert (need.before, need.amount) == (4 * 16, 64 - 20)


def test_flops_grow_with_the_context() -> None:
    """Two a parameter; four a number of a query head and token before, for QK and for AV."""
    (need,) = needs_of(Budgets(flops=0, context=10), STRUCTURE)

    assert need.cost.tolist() == [[2 * 50 + 4 * 10 * 2 * 2, 2 * 6]] * 2
    assert need.before == 2 * (2 * (100 + 160) + 4 * 12) == need.amount


def test_an_attention_that_cannot_be_cut_takes_its_share_of_the_whole() -> None:
    """Its groups are in the cache, and its parameters among the FLOPs."""
    fixed = structure_of(((2, 4),), attention_cost=0, output_bias=100)
    (cache, flops) = needs_of(Budgets(kv_cache=0, dtype="float32", flops=0, context=10), fixed)

    assert cache.before == 2 * 16
    assert flops.before == 2 * (100 + 24) + 2 * 4 * 10 * 2 * 2


def test_a_budget_that_is_kept_already_needs_nothing() -> None:
    """More may be left than there is."""
    (need,) = needs_of(Budgets(parameters=10 * WHOLE), STRUCTURE)

    assert need.amount == 0
    assert Met(need, 0).reached
    assert Met(need, 6).after == WHOLE - 6
