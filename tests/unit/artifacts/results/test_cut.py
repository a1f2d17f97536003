"""metrics.json: the widths of a result, and the model that it goes back to."""

from cards import CUT

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan_effect import LayerEffect, PlanEffect
from globalprune.artifacts.results.cut import FirstModel, widths_of


def test_widths_are_those_of_the_layers_that_stay() -> None:
    """Under their new numbers, with the old ones beside them."""
    layers = (
        LayerEffect(0, IndexSet.of([0, 2]), IndexSet.of(range(5)), dropped=False),
        LayerEffect(1, IndexSet(), IndexSet(), dropped=True),
        LayerEffect(2, IndexSet(), IndexSet.of([7]), dropped=False),
    )
    widths = widths_of(PlanEffect(layers, {}, removed=0, on_top=0, parameters_before=1))
    assert [tuple(layer.model_dump().values()) for layer in widths] == [(0, 0, 2, 5), (1, 2, 0, 1)]


def test_a_model_that_was_never_changed_is_its_own_original() -> None:
    """Else the record says which was the first."""
    original = CUT.original_model
    assert (original.source, original.parameters) == (CUT.model.source, CUT.parameters_before)
    first = FirstModel(source="org/first", revision=None, weights="sha256:f", parameters=2000)
    assert CUT.model_copy(update={"first": first}).original_model == first
