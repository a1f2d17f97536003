"""What llama.cpp tells by a layer's place breaks when a layer before it goes; that is said."""

import pytest
from analyses import structure_of, traits_with

from globalprune.artifacts.plans.plan import LayerCuts, PrunePlan
from globalprune.artifacts.plans.plan_effect import PlanEffect, effect_of
from globalprune.artifacts.plans.runtime_compatibility import (
    CYCLES,
    misread_cut,
    misread_whole,
    obstacles,
)
from globalprune.artifacts.structure import LayerKind, ModelTraits

STRUCTURE = structure_of(((3, 4),) * 12)
GONE = LayerCuts.model_validate({"attention": "all", "mlp": "all"})


def without(*layers: int) -> PlanEffect:
    """A plan that drops these layers."""
    return effect_of(PrunePlan(layers=dict.fromkeys(layers, GONE)), STRUCTURE)


def as_counted(family: str) -> ModelTraits:
    """A model of a family as llama.cpp takes it."""
    kinds = tuple(CYCLES[family].kind_at(place) for place in range(12))
    return traits_with(family, hidden_size=12, layer_kinds=kinds)


@pytest.mark.parametrize("family", CYCLES)
def test_a_dropped_layer_moves_those_behind_it(family: str) -> None:
    """But a run as long as the cycle moves none to another place in it, nor does the last one."""
    traits, length = as_counted(family), CYCLES[family].length
    assert misread_cut(traits, without()) is None
    assert misread_cut(traits, without(*range(length))) is None
    assert misread_cut(traits, without(11)) is None
    told = misread_cut(traits, without(1))
    assert told is not None
    assert "moves to a place where it takes it" in told
    assert told in list(obstacles("any", traits, STRUCTURE, without(1)))
    assert not list(obstacles("transformers", traits, STRUCTURE, without(1)))
    older = traits.model_copy(update={"layer_kinds": None})  # analyses of before say nothing
    assert misread_cut(older, without(1)) == told


def test_a_model_that_counts_otherwise_is_told_whole() -> None:
    """Its plain checkpoint isn't what llama.cpp takes it for, cut or not."""
    kinds: tuple[LayerKind, ...] = ("no_rope", "full", "full") * 4
    traits = traits_with("smollm3", layer_kinds=kinds)
    assert "cut or whole" in str(misread_whole(traits))
    assert "cut or whole" in " ".join(obstacles("any", traits, STRUCTURE, without()))
    assert misread_whole(traits_with("llama", layer_kinds=kinds)) is None
