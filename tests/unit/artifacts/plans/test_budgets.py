"""What budgets ask to be saved, and what a group saves."""

import numpy as np
import pytest
from analyses import storage_of, structure_of

from globalprune.artifacts.plans.budgets import BudgetStatus, further_costs, requirements_of
from globalprune.artifacts.plans.plan import Budgets
from globalprune.artifacts.structure import ModelStructure
from globalprune.errors import UsageError

STRUCTURE = structure_of(((2, 4), (2, 4)))  # 2 layers; 50 and 6 parameters a group, 2 x 2 numbers
WHOLE = STRUCTURE.parameters


def test_the_strictest_budget_of_parameters_counts() -> None:
    """A ratio and a number are one need."""
    (need,) = requirements_of(Budgets(ratio=0.1, parameters=WHOLE - 100), STRUCTURE)

    assert need.budgets == ("ratio", "parameters")
    assert (need.before, need.to_save) == (WHOLE, 100)
    assert need.cost.tolist() == [[50, 6], [50, 6]]


def test_a_size_counts_whole_files() -> None:
    """Headers too; each tensor in its own dtype unless one is named, which nothing else decides."""
    storage = storage_of(STRUCTURE, "BF16", attention="F32", overhead=40)
    (own,) = requirements_of(Budgets(size=100), STRUCTURE, storage)
    (sublayers,) = requirements_of(Budgets(size=100, dtype="float16"), STRUCTURE, storage)

    assert own.unit == "bytes of weight files in bfloat16 and float32"
    assert (own.before, own.to_save) == (2 * WHOLE + 2 * 200 + 40, 2 * WHOLE + 340)
    assert own.cost.tolist() == [[200, 12], [200, 12]]
    assert (sublayers.before, sublayers.cost.tolist()) == (2 * WHOLE + 40, [[100, 12], [100, 12]])
    assert own.reachable(100) == f"--size {own.before - 100}B"
    with pytest.raises(UsageError, match=r"--size: the analysis was made before it was recorded"):
        requirements_of(Budgets(size=100), STRUCTURE)


def test_a_cache_holds_a_key_and_a_value() -> None:
    """Of every attention group: two vectors of head_dim numbers."""
    (need,) = requirements_of(Budgets(kv_cache=20, dtype="float32"), STRUCTURE)

    assert need.cost.tolist() == [[2 * 2 * 4, 0], [2 * 2 * 4, 0]]
    assert (need.before, need.to_save) == (4 * 16, 64 - 20)


def test_flops_grow_with_the_context() -> None:
    """Two a parameter; four a number of a query head and token before, for QK and for AV."""
    (need,) = requirements_of(Budgets(flops=0, context=10), STRUCTURE)

    assert need.cost.tolist() == [[2 * 50 + 4 * 10 * 2 * 2, 2 * 6]] * 2
    assert need.before == 2 * (2 * (100 + 160) + 4 * 12) == need.to_save


def test_a_window_holds_and_sees_no_more_than_it_is_long() -> None:
    """Of a context of twelve, eight; counted in thirds of a byte, and told in whole ones."""
    windowed = with_window(STRUCTURE, 1, 8)
    (cache, flops) = requirements_of(
        Budgets(kv_cache=20, dtype="float32", flops=0, context=12), windowed
    )

    assert cache.cost.tolist() == [[3 * 16, 0], [2 * 16, 0]]
    assert (cache.parts, cache.before, cache.at_most) == (3, 3 * 32 + 2 * 32, 3 * 20)
    assert cache.describe(cache.before) == "54 bytes of KV cache a token in float32"
    assert flops.cost[0, 0] - flops.cost[1, 0] == 4 * (12 - 8) * 2 * 2


@pytest.mark.parametrize(("window", "context"), [(None, 12), (12, 12), (13, 12), (4, 0)])
def test_a_window_as_long_as_the_context_is_none(window: int | None, context: int) -> None:
    """And what no window is in, is counted as ever."""
    whole, found = (
        requirements_of(Budgets(kv_cache=20, flops=0, context=context), structure)
        for structure in (STRUCTURE, with_window(STRUCTURE, 1, window))
    )

    assert [need.cost.tolist() for need in found] == [need.cost.tolist() for need in whole]
    assert [need.parts for need in found] == [1, 1]


def test_columns_tell_a_token_of_the_default_context() -> None:
    """A quarter of the context is a quarter of the bytes; of the FLOPs only what attention adds."""
    windowed = with_window(STRUCTURE, 1, 512)
    costs = further_costs(windowed, np.array([0, 1]), np.array([0, 0]))

    assert costs["kv_cache"].tolist() == [8, 2]
    assert np.diff(costs["flops"]).tolist() == [4 * (512 - 2048) * 2 * 2]


def test_columns_hold_what_a_budget_at_its_defaults_counts() -> None:
    """MLPs have no cache, so their channels save none."""
    rows = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    costs = further_costs(STRUCTURE, *rows)

    for need in requirements_of(Budgets(kv_cache=0, flops=0), STRUCTURE):
        assert costs[need.budgets[0]].tolist() == need.costs_of(*rows).tolist()
    assert costs["kv_cache"][[1, 3]].tolist() == [0, 0]


def with_window(structure: ModelStructure, layer: int, window: int | None) -> ModelStructure:
    """The structure with a window in one of its layers."""
    layers = list(structure.layers)
    layers[layer] = layers[layer].model_copy(update={"window": window})
    found = structure.model_copy(update={"layers": tuple(layers)})
    assert found.fingerprint == structure.fingerprint
    return found


def test_an_attention_that_cannot_be_cut_takes_its_share_of_the_whole() -> None:
    """Its groups are in the cache, and its parameters among the FLOPs."""
    fixed = structure_of(((2, 4),), attention_cost=0, output_bias=100)
    (cache, flops) = requirements_of(
        Budgets(kv_cache=0, dtype="float32", flops=0, context=10), fixed
    )

    assert cache.before == 2 * 16
    assert flops.before == 2 * (100 + 24) + 2 * 4 * 10 * 2 * 2


def test_a_budget_that_is_kept_already_needs_nothing() -> None:
    """More may be left than there is."""
    (need,) = requirements_of(Budgets(parameters=10 * WHOLE), STRUCTURE)

    assert need.to_save == 0
    assert BudgetStatus(need, 0).is_met
    assert BudgetStatus(need, 6).after == WHOLE - 6
