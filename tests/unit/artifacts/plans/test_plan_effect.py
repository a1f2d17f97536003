"""The figures that follow from a plan: never stored, so they must be right every time."""

from typing import Any

import pytest
from artifact_values import ATTENTION_COST, MLP_COST, NORMS, OUTSIDE, SHARED, layer_of, structure_of

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_effect import PlanEffect, effect_of, removed_by
from globalprune.artifacts.structure import ModelStructure

WHOLE = {"attention": "all", "mlp": "all"}
LAYER = 4 * ATTENTION_COST + 24 * MLP_COST


def effect(
    layers: dict[int, Any], structure: ModelStructure | None = None, **others: Any
) -> PlanEffect:
    """What a plan of these layers does."""
    plan = PrunePlan.model_validate({"layers": layers, **others})
    return effect_of(plan, structure or structure_of())


def test_the_empty_plan_does_nothing() -> None:
    """All parameters and layers stay, and the model stays even."""
    found = effect({})
    assert (found.removed, found.on_top, found.dropped_layers) == (0, 0, ())
    assert found.parameters_after == found.parameters_before == structure_of().parameters
    assert not found.uneven


def test_groups_are_counted_by_kind_and_cost() -> None:
    """What a ratio counts is groups times their cost, and nothing else."""
    found = effect({0: {"attention": "2", "mlp": "0-4, 23"}, 3: {"mlp": 7}})
    assert found.removed_groups == {"attention": 1, "mlp": 7}
    assert found.removed == ATTENTION_COST + 7 * MLP_COST
    assert found.on_top == 0
    assert found.ratio == found.removed / structure_of().parameters
    assert found.layers[0].attention == IndexSet.of([0, 1, 3])
    assert found.layers[0].mlp == IndexSet.of(range(5, 23))


def test_an_emptied_attention_takes_its_norms_along() -> None:
    """They come on top of what the ratio counts; the layer stays for its MLP."""
    found = effect({1: {"attention": "0-3"}})
    assert (found.removed, found.on_top) == (4 * ATTENTION_COST, SHARED)
    assert found.dropped_layers == ()
    assert found.layers[1].attention == IndexSet()


def test_a_layer_without_groups_is_dropped_with_its_norms() -> None:
    """What is left is exactly the rest of the model."""
    found = effect({1: WHOLE, 2: {"attention": "0-3", "mlp": "0-23"}})
    assert found.dropped_layers == (1, 2)
    assert [layer.layer_idx for layer in found.kept_layers] == [0, 3]
    assert (found.removed, found.on_top) == (2 * LAYER, 2 * (SHARED + NORMS))
    assert found.parameters_after == OUTSIDE + 2 * (LAYER + SHARED + NORMS)


def test_a_person_may_keep_empty_layers() -> None:
    """Then their norms stay, and the kept layers are no longer all alike."""
    found = effect({1: WHOLE}, remove_empty_layers=False)
    assert found.dropped_layers == ()
    assert (found.removed, found.on_top) == (LAYER, SHARED)
    assert found.uneven


def test_an_output_bias_keeps_an_emptied_layer_alive() -> None:
    """It is added to every token, so the layer still does something; the bias is not removed."""
    structure = structure_of(layer_of(kept=8), layer_of())
    found = effect({0: WHOLE}, structure)
    assert found.dropped_layers == ()
    assert (found.removed, found.on_top) == (LAYER, SHARED)
    assert found.parameters_after == structure.parameters - LAYER - SHARED
    assert found.layers[0].of("mlp") == IndexSet()


def test_a_sublayer_that_an_earlier_cut_took_whole_is_not_taken_again() -> None:
    """Its norms are gone already; the other sublayer going drops the layer."""
    structure = structure_of(layer_of(attention=0), layer_of())
    found = effect({0: {"mlp": "all"}}, structure)
    assert (found.removed, found.on_top) == (24 * MLP_COST, NORMS)
    assert found.dropped_layers == (0,)


def test_an_untouched_layer_is_never_dropped() -> None:
    """A model with an empty layer passes an empty plan unchanged."""
    found = effect({}, structure_of(layer_of(0, 0), layer_of()))
    assert found.dropped_layers == ()


@pytest.mark.parametrize(
    ("layers", "uneven"),
    [
        ({0: WHOLE}, False),
        ({layer: {"mlp": f"{layer}-{layer + 3}"} for layer in range(4)}, False),
        ({0: {"mlp": "3"}}, True),
        ({0: {"attention": "0"}, 1: {"mlp": "0"}}, True),
        ({layer: {"attention": "all"} for layer in range(4)}, True),
        ({**{layer: {"mlp": "0"} for layer in (0, 1, 3)}, 2: WHOLE}, False),
    ],
    ids=["layer", "equal widths", "one sublayer", "two sublayers", "no attention at all", "both"],
)
def test_uneven_is_what_no_stock_config_can_say(layers: dict[int, Any], *, uneven: bool) -> None:
    """Kept layers of several widths, or a sublayer without groups."""
    assert effect(layers).uneven is uneven


def test_what_goes_is_listed_sublayer_by_sublayer() -> None:
    """`all` is spelled out by the structure's count; sublayers that lose nothing are left out."""
    plan = PrunePlan.model_validate({"layers": {2: {"mlp": "5, 1"}, 0: {"attention": "all"}}})
    assert [(*sublayer, gone.tolist()) for *sublayer, gone in removed_by(plan, structure_of())] == [
        (0, "attention", [0, 1, 2, 3]),
        (2, "mlp", [1, 5]),
    ]
