"""A plan as a value: one decision, one spelling, one digest."""

from typing import Any

import pytest

from globalprune.artifacts.plans.plan import PrunePlan, layer_key


def plan_of(layers: dict[Any, Any], **others: Any) -> PrunePlan:
    """A plan as it would be read from a file."""
    return PrunePlan.model_validate({"layers": layers, **others})


@pytest.mark.parametrize(
    "other",
    [
        plan_of({2: {"mlp": "0-2"}, 0: {"attention": 1}}),
        plan_of({0: {"attention": "1"}, 2: {"mlp": "2, 0, 1"}}),
        plan_of({"0": {"attention": "1"}, 2: {"mlp": "0-2"}}),
        plan_of({0: {"attention": "1", "mlp": ""}, 1: {}, 2: {"mlp": "0-2"}}),
        plan_of({0: {"attention": 1}, 2: {"mlp": "0-2"}}, pin={3: {"mlp": {}}}),
        plan_of({0: {"attention": 1}, 2: {"mlp": "0-2"}}, target={"ratio": 0.5}),
    ],
    ids=["order", "spelling", "quoted layer", "empty layers", "empty pin", "other target"],
)
def test_the_same_decisions_have_the_same_digest(other: PrunePlan) -> None:
    """However they are spelled, and whatever was once asked for."""
    plan = plan_of({0: {"attention": 1}, 2: {"mlp": "0-2"}})
    assert other.layers == plan.layers
    assert list(other.layers) == [0, 2]
    assert other.decisions_digest() == plan.decisions_digest()


@pytest.mark.parametrize(
    "change",
    [
        {"layers": {0: {"mlp": "0, 1"}}},
        {"layers": {0: {"mlp": "0"}, 1: {"mlp": "0"}}},
        {"layers": {0: {"attention": "0"}}},
        {"layers": {}},
        {"remove_empty_layers": False},
        {"pin": {0: {"mlp": {"width": 3}}}},
        {"pin": {0: {"mlp": {"width": 0}}}},
        {"pin": {0: {"mlp": {"keep": 1}}}},
    ],
    ids=["index", "layer", "sublayer", "nothing", "empty layers", "width", "width of 0", "keep"],
)
def test_every_decision_enters_the_digest(change: dict[str, Any]) -> None:
    """So each edit of a decision is seen, a width of zero included."""
    content = {"layers": {0: {"mlp": "0"}}}
    plan = PrunePlan.model_validate(content)
    generated = plan.model_copy(update={"generated": plan.decisions_digest()})
    changed = PrunePlan.model_validate(content | change | {"generated": generated.generated})
    assert not generated.edited
    assert changed.edited


def test_a_plan_that_names_no_digest_counts_as_edited() -> None:
    """A person wrote it from scratch, so it must not be replaced."""
    assert plan_of({}).edited


@pytest.mark.parametrize("key", [0, 12, "12"], ids=repr)
def test_a_layer_is_a_number_quoted_or_not(key: Any) -> None:
    """JSON has only quoted keys, and a person may quote too."""
    assert layer_key(key) == int(key)


@pytest.mark.parametrize("key", [-1, True, 1.0, None, "x", "-1", "1.0", "", "²"], ids=repr)
def test_anything_else_is_no_layer(key: Any) -> None:
    """`true` is no layer 1, and a superscript no number."""
    with pytest.raises(ValueError, match=r"is no layer; write its number, 0 or more\."):
        layer_key(key)
