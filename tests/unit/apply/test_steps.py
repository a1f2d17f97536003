"""Steps from hand-made facts: what goes, what moves up, and which slices stay.

The model here has 2 attention groups of 2 query heads, a head size of 3 and 5 channels. Its hidden
size is 10, which its 4 heads don't even divide.
"""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from globalprune.apply.facts import Axis, HalfFacts, LayerFacts, ModelFacts, TensorFacts
from globalprune.apply.steps import (
    DropLayer,
    DropTensor,
    EmptyHalf,
    KeepTensor,
    RenumberLayer,
    SliceTensor,
    TensorStep,
    cutting_steps,
    promised,
)
from globalprune.artifacts.plans.plan_effect import LayerEffect, PlanEffect

SHAPES: dict[str, tuple[int, ...]] = {
    "input_layernorm.weight": (10,),
    "self_attn.q_proj.weight": (12, 10),
    "self_attn.q_proj.bias": (12,),
    "self_attn.k_proj.weight": (6, 10),
    "self_attn.k_proj.bias": (6,),
    "self_attn.q_norm.weight": (3,),
    "self_attn.o_proj.weight": (10, 12),
    "self_attn.o_proj.bias": (10,),
    "mlp.up_proj.weight": (5, 10),
    "mlp.down_proj.weight": (10, 5),
}
ATTENTION = HalfFacts(
    axes=(
        Axis("self_attn.q_proj.weight", 0, (6,)),
        Axis("self_attn.q_proj.bias", 0, (6,)),
        Axis("self_attn.k_proj.weight", 0, (3,)),
        Axis("self_attn.k_proj.bias", 0, (3,)),
        Axis("self_attn.o_proj.weight", 1, (6,)),
    ),
    shared=("self_attn.q_norm.weight",),
    output_bias="self_attn.o_proj.bias",
)
MLP = HalfFacts(axes=(Axis("mlp.up_proj.weight", 0, (1,)), Axis("mlp.down_proj.weight", 1, (1,))))
GROUPS, CHANNELS = range(2), range(5)


def facts(layers: int) -> ModelFacts:
    """A model of that many layers."""
    prefixes = tuple(f"model.layers.{index}." for index in range(layers))
    inside = {prefix + name: shape for prefix in prefixes for name, shape in SHAPES.items()}
    shapes = {"model.embed_tokens.weight": (7, 10)} | inside | {"model.norm.weight": (10,)}
    tensors = {name: TensorFacts(shape, "F32") for name, shape in shapes.items()}
    return ModelFacts(tensors, prefixes, (LayerFacts(ATTENTION, MLP),) * layers, "norm.weight")


def layer(
    index: int,
    attention: Sequence[int] = GROUPS,
    mlp: Sequence[int] = CHANNELS,
    *,
    dropped: bool = False,
) -> LayerEffect:
    """What stays of a layer."""
    return LayerEffect(index, tuple(attention), tuple(mlp), dropped)


def effect(*layers: LayerEffect) -> PlanEffect:
    """What stays of all layers; the sums don't matter here."""
    return PlanEffect(layers, removed_groups={}, removed=0, on_top=0, parameters_before=1)


def tensor_steps(*layers: LayerEffect) -> dict[str, TensorStep]:
    """The one step of every tensor, by its name."""
    steps = cutting_steps(facts(len(layers)), effect(*layers))
    return {step.name: step for step in steps if isinstance(step, TensorStep)}


@st.composite
def effects(draw: st.DrawFn) -> PlanEffect:
    """Any cut of up to 12 layers, so that 1 and 10 begin alike."""
    layers = []
    for index in range(draw(st.integers(1, 12))):
        if draw(st.booleans()):
            layers.append(layer(index, (), (), dropped=True))
            continue
        groups, channels = draw(st.sets(st.sampled_from(GROUPS))), draw(st.sets(st.integers(0, 4)))
        layers.append(layer(index, sorted(groups), sorted(channels)))
    return effect(*layers)


@settings(deadline=None, max_examples=30)
@given(cut=effects())
def test_every_tensor_is_decided_once_and_none_lands_on_another(cut: PlanEffect) -> None:
    """Each is kept, cut or dropped; what is written has gapless layers and no name twice."""
    model = facts(len(cut.layers))
    steps = [step for step in cutting_steps(model, cut) if isinstance(step, TensorStep)]
    written = [step.becomes for step in steps if not isinstance(step, DropTensor)]
    assert Counter(step.name for step in steps) == Counter(list(model.tensors))
    assert Counter(written) == Counter(list(promised(steps)))
    numbers = {int(name.split(".")[2]) for name in written if name.startswith("model.layers.")}
    assert numbers == set(range(len(cut.kept_layers)))


@pytest.mark.parametrize(
    ("tensor", "dim", "kept", "shape"),
    [
        ("q_proj.weight", 0, (6, 12), (6, 10)),
        ("q_proj.bias", 0, (6, 12), (6,)),
        ("k_proj.weight", 0, (3, 6), (3, 10)),
        ("k_proj.bias", 0, (3, 6), (3,)),
        ("o_proj.weight", 1, (6, 12), (10, 6)),
    ],
)
def test_a_group_takes_its_rows_of_every_tensor(
    tensor: str, dim: int, kept: tuple[int, int], shape: tuple[int, ...]
) -> None:
    """Biases lose the rows of their weights, and a row's width is the head size that is stated."""
    step = tensor_steps(layer(0, attention=[1]))[f"model.layers.0.self_attn.{tensor}"]
    assert isinstance(step, SliceTensor)
    assert (step.dim, step.kept) == (dim, (kept,))
    assert step.facts == TensorFacts(shape, "F32")


@pytest.mark.parametrize("name", ["self_attn.o_proj.bias", "self_attn.q_norm.weight"])
def test_what_belongs_to_no_single_group_stays_whole(name: str) -> None:
    """An output bias and a q norm are copied as they are while a group is left."""
    step = tensor_steps(layer(0, attention=[1]))[f"model.layers.0.{name}"]
    assert isinstance(step, KeepTensor)


def test_an_emptied_half_leaves_nothing_but_its_output_bias() -> None:
    """Projections, their biases and the q norm are dropped; the step says what is kept."""
    steps = cutting_steps(facts(1), effect(layer(0, attention=())))
    attention = {
        step.name.removeprefix("model.layers.0.self_attn."): type(step)
        for step in steps
        if isinstance(step, TensorStep) and ".self_attn." in step.name
    }
    assert attention.pop("o_proj.bias") is KeepTensor
    assert set(attention.values()) == {DropTensor}
    assert EmptyHalf(0, "attention", "model.layers.0.self_attn.o_proj.bias") in steps


def test_layers_behind_a_dropped_one_move_up() -> None:
    """Layer 10 becomes 9, and is no part of the dropped layer 1."""
    layers = [layer(index) for index in range(12)]
    layers[1] = layer(1, (), (), dropped=True)
    steps = cutting_steps(facts(12), effect(*layers))
    moves = {step.layer: step.becomes for step in steps if isinstance(step, RenumberLayer)}
    assert moves == {index: index - 1 for index in range(2, 12)}
    assert [step for step in steps if isinstance(step, DropLayer)] == [DropLayer(1)]
    dropped = [step for step in steps if isinstance(step, DropTensor)]
    assert [step.layer for step in dropped] == [1] * len(SHAPES)
    moved = tensor_steps(*layers)["model.layers.10.mlp.up_proj.weight"]
    assert isinstance(moved, KeepTensor)
    assert moved.becomes == "model.layers.9.mlp.up_proj.weight"


def test_neighbouring_channels_are_one_range() -> None:
    """A range of kept slices is read at once, and ranges keep their order."""
    step = tensor_steps(layer(0, mlp=[0, 1, 4]))["model.layers.0.mlp.down_proj.weight"]
    assert isinstance(step, SliceTensor)
    assert (step.dim, step.kept, step.facts.shape) == (1, ((0, 2), (4, 5)), (10, 3))


def test_a_half_that_an_earlier_cut_took_is_no_news() -> None:
    """Only a half that loses its last group now is told as emptied."""
    model = facts(1)
    gone = {name for name in model.tensors if ".mlp." in name}
    left = {name: fact for name, fact in model.tensors.items() if name not in gone}
    earlier = ModelFacts(left, model.prefixes, (LayerFacts(ATTENTION, HalfFacts()),), "norm.weight")
    steps = cutting_steps(earlier, effect(layer(0, mlp=())))
    assert all(isinstance(step, KeepTensor) for step in steps)
