"""Constraints that a structure can't keep, above all where attention can't be cut."""

from typing import Any

import pytest
from analyses import analysis_of, structure_of

from globalprune.artifacts.plans.plan import Constraints, LayerPins, Target
from globalprune.errors import PlanInvalid, UsageError
from globalprune.planning.eligibility import Pins
from globalprune.planning.planner import PlanResult, make_plan

FIXED = structure_of(((2, 8), (2, 8), (2, 8)), attention_cost=0, output_bias=100)
WHY = (
    r"the attention of this model can't be cut \(its query and key norms span all heads, so that "
    r"no head goes without changing others\)"
)


def planned(ratio: float = 0.1, pins: Any = None, **constraints: Any) -> PlanResult:
    """A plan under these constraints."""
    layers = {layer: LayerPins.model_validate(pin) for layer, pin in (pins or {}).items()}
    target = Target(ratio=ratio, constraints=Constraints.model_validate(constraints))
    return make_plan(analysis_of(FIXED), target, pins=Pins(layers, "plan.yaml"))


@pytest.mark.parametrize(
    ("constraints", "option"),
    [
        ({"only": "attention"}, "--only attention"),
        ({"attention_share": 0.2}, r"--attention-share 0\.2"),
        ({"whole_layers": True}, "--whole-layers"),
    ],
    ids=["only attention", "a share", "whole layers"],
)
def test_who_wants_some_of_it_to_go_is_refused(constraints: dict[str, Any], option: str) -> None:
    """By the option, and with the reason."""
    with pytest.raises(UsageError, match=f"^{option}: {WHY}; leave it out.$"):
        planned(**constraints)


def test_a_pin_that_wants_some_of_it_to_go_is_refused() -> None:
    """By its place."""
    with pytest.raises(PlanInvalid, match=rf"pin\.1\.attention\.remove: {WHY}; take it out\."):
        planned(pins={1: {"attention": {"remove": "0"}}})


@pytest.mark.parametrize(
    "constraints",
    [{}, {"only": "mlp"}, {"attention_share": 0.0}, {"uniform": True}, {"min_attention_groups": 1}],
    ids=["none", "only mlp", "no share", "uniform", "a floor"],
)
def test_all_else_is_planned_from_the_mlp(constraints: dict[str, Any]) -> None:
    """And a note says what stays."""
    plan = planned(**constraints)
    assert plan.is_met
    assert plan.effect.removed_groups["attention"] == 0
    assert plan.warnings[0].endswith("others); only other groups go.")


def test_the_layerwise_way_takes_from_the_mlp_what_attention_would_give() -> None:
    """Its usual share of attention isn't there to be had."""
    target = Target(ratio=0.1, strategy="layerwise")
    plan = make_plan(analysis_of(FIXED), target)
    assert plan.is_met
    assert plan.effect.removed_groups["attention"] == 0


@pytest.mark.parametrize(
    ("widths", "said"),
    [
        ((8, 8, 8), "8 channels that the MLP of layers 0-2 has at most"),
        ((8, 24, 8), "8 channels that the MLP of layers 0, 2 has at most"),
    ],
    ids=["alike", "one is wider"],
)
def test_a_multiple_above_the_width_is_refused_once(widths: tuple[int, ...], said: str) -> None:
    """Not layer by layer."""
    shape = structure_of(tuple((2, width) for width in widths))
    target = Target(ratio=0.1, constraints=Constraints(round_mlp=16))
    with pytest.raises(UsageError, match=f"^--round-mlp 16: is more than the {said}; round to l"):
        make_plan(analysis_of(shape), target)


def test_layers_that_stay_whole_may_be_narrower() -> None:
    """Nothing of them is rounded."""
    shape = structure_of(((2, 8), (2, 24), (2, 24)))
    bound = Constraints.model_validate({"round_mlp": 12, "protect_layers": "0"})
    assert make_plan(analysis_of(shape), Target(ratio=0.05, constraints=bound)).effect.removed
