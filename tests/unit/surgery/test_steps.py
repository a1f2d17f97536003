"""Steps from a hand-made model: what goes, what moves up, and which slices stay.

The model here has 2 attention groups of 2 query heads, a head size of 3 and 5 channels. Its hidden
size is 10, which its 4 heads don't even divide.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from applying import ALL_CHANNELS, prepared_cut
from cutting import Removals, cuttable, groups_of, write_removals
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import FAMILIES, MLP_ONLY, tiny_model
from uneven_models import save_uneven, uneven_cut

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan_effect import LayerEffect, PlanEffect
from globalprune.artifacts.results.cut import CompensationRequest
from globalprune.artifacts.structure import (
    GroupType,
    LayerStructure,
    ModelStructure,
    SublayerStructure,
)
from globalprune.models.architecture import GroupAxis
from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.surgery.steps import (
    CompensatedFinalNorm,
    CompensatedTensor,
    DropLayer,
    DropTensor,
    EmptySublayer,
    KeepTensor,
    RenumberLayer,
    SliceTensor,
    Step,
    TensorStep,
    cutting_steps,
    promised_tensors,
)

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
AXES: dict[GroupType, tuple[GroupAxis, ...]] = {
    "attention": (
        GroupAxis("self_attn.q_proj.weight", 0, (6,)),
        GroupAxis("self_attn.q_proj.bias", 0, (6,)),
        GroupAxis("self_attn.k_proj.weight", 0, (3,)),
        GroupAxis("self_attn.k_proj.bias", 0, (3,)),
        GroupAxis("self_attn.o_proj.weight", 1, (6,)),
    ),
    "mlp": (GroupAxis("mlp.up_proj.weight", 0, (1,)), GroupAxis("mlp.down_proj.weight", 1, (1,))),
}
GROUPS, CHANNELS = range(2), range(5)


class HandMade:
    """The parts of an adapter that steps ask for."""

    final_norm = "model.norm"

    def layer_prefix(self, index: int) -> str:
        """As in most families."""
        return f"model.layers.{index}."

    def axes(self, layer: LayerStructure, group_type: GroupType) -> tuple[GroupAxis, ...]:
        """Those above."""
        return AXES[group_type] if layer.sublayer(group_type).groups else ()

    def shared_tensors(self, layer: LayerStructure, group_type: GroupType) -> tuple[str, ...]:
        """A query norm."""
        del layer
        return ("self_attn.q_norm.weight",) if group_type == "attention" else ()

    def output_module(self, group_type: GroupType) -> str:
        """As in most families."""
        return "self_attn.o_proj" if group_type == "attention" else "mlp.down_proj"


ADAPTER: Any = HandMade()


def structure(layers: int, channels: int = len(CHANNELS)) -> ModelStructure:
    """A model of that many layers; the costs don't matter here."""
    layer_structure = LayerStructure(
        attention=SublayerStructure(groups=len(GROUPS), cost=1),
        mlp=SublayerStructure(groups=channels, cost=1),
        norms=10,
        query_heads_per_group=2,
        head_dim=3,
        tensors=SHAPES,
    )
    return ModelStructure(layers=(layer_structure,) * layers, parameters=1)


def tensors(layers: int) -> dict[str, TensorInfo]:
    """The tensors of a model of that many layers."""
    inside = {
        f"model.layers.{index}.{name}": shape
        for index in range(layers)
        for name, shape in SHAPES.items()
    }
    shapes = {"model.embed_tokens.weight": (7, 10)} | inside | {"model.norm.weight": (10,)}
    return {name: TensorInfo(shape, "F32") for name, shape in shapes.items()}


def cut_by(effect: PlanEffect) -> tuple[Step, ...]:
    """The steps of a cut of such a model."""
    count = len(effect.layers)
    return cutting_steps(tensors(count), ADAPTER, structure(count), effect)


def layer(
    index: int,
    attention: Sequence[int] = GROUPS,
    mlp: Sequence[int] = CHANNELS,
    *,
    dropped: bool = False,
) -> LayerEffect:
    """What stays of a layer."""
    return LayerEffect(index, IndexSet.of(attention), IndexSet.of(mlp), dropped)


def effect(*layers: LayerEffect) -> PlanEffect:
    """What stays of all layers; the sums don't matter here."""
    return PlanEffect(layers, removed_groups={}, removed=0, on_top=0, parameters_before=1)


def tensor_steps(*layers: LayerEffect) -> dict[str, TensorStep]:
    """The one step of every tensor, by its name."""
    steps = cut_by(effect(*layers))
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
    steps = [step for step in cut_by(cut) if isinstance(step, TensorStep)]
    written = [step.becomes for step in steps if not isinstance(step, DropTensor)]
    assert Counter(step.name for step in steps) == Counter(list(tensors(len(cut.layers))))
    assert Counter(written) == Counter(list(promised_tensors(steps)))
    numbers = {int(name.split(".")[2]) for name in written if name.startswith("model.layers.")}
    assert numbers == set(range(len(cut.kept_layers)))


@pytest.mark.parametrize(
    ("tensor", "dim", "kept", "shape"),
    [
        ("q_proj.weight", 0, range(6, 12), (6, 10)),
        ("q_proj.bias", 0, range(6, 12), (6,)),
        ("k_proj.weight", 0, range(3, 6), (3, 10)),
        ("k_proj.bias", 0, range(3, 6), (3,)),
        ("o_proj.weight", 1, range(6, 12), (10, 6)),
    ],
)
def test_a_group_takes_its_rows_of_every_tensor(
    tensor: str, dim: int, kept: range, shape: tuple[int, ...]
) -> None:
    """Biases lose the rows of their weights, and a row's width is the head size that is stated."""
    step = tensor_steps(layer(0, attention=[1]))[f"model.layers.0.self_attn.{tensor}"]
    assert isinstance(step, SliceTensor)
    assert (step.dim, step.kept) == (dim, IndexSet.of(kept))
    assert step.facts == TensorInfo(shape, "F32")


@pytest.mark.parametrize("name", ["self_attn.o_proj.bias", "self_attn.q_norm.weight"])
def test_what_belongs_to_no_single_group_stays_whole(name: str) -> None:
    """An output bias and a q norm are copied as they are while a group is left."""
    step = tensor_steps(layer(0, attention=[1]))[f"model.layers.0.{name}"]
    assert isinstance(step, KeepTensor)


def test_an_emptied_sublayer_leaves_nothing_but_its_output_bias() -> None:
    """Projections, their biases and the q norm are dropped; the step says what is kept."""
    steps = cut_by(effect(layer(0, attention=())))
    attention = {
        step.name.removeprefix("model.layers.0.self_attn."): type(step)
        for step in steps
        if isinstance(step, TensorStep) and ".self_attn." in step.name
    }
    assert attention.pop("o_proj.bias") is KeepTensor
    assert set(attention.values()) == {DropTensor}
    assert EmptySublayer(0, "attention", "model.layers.0.self_attn.o_proj.bias") in steps


def test_layers_behind_a_dropped_one_move_up() -> None:
    """Layer 10 becomes 9, and is no part of the dropped layer 1."""
    layers = [layer(index) for index in range(12)]
    layers[1] = layer(1, (), (), dropped=True)
    steps = cut_by(effect(*layers))
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
    assert (step.dim, step.facts.shape) == (1, (10, 3))
    assert step.kept.ranges == ((0, 1), (4, 4))


def test_a_sublayer_that_an_earlier_cut_took_is_no_news() -> None:
    """Only a sublayer that loses its last group now is told as emptied."""
    left = {name: info for name, info in tensors(1).items() if ".mlp." not in name}
    steps = cutting_steps(left, ADAPTER, structure(1, channels=0), effect(layer(0, mlp=())))
    assert all(isinstance(step, KeepTensor) for step in steps)


Tiny = Callable[[str], Path]


OUTPUTS = CompensationRequest(gate_steps=0)
GATES = CompensationRequest(gate_steps=1)


def steps_of(
    base: Path, folder: Path, gone: Removals, request: CompensationRequest | None
) -> Sequence[Step]:
    """What applying does."""
    plan = write_removals(folder / "plan.yaml", gone)
    return prepared_cut(base, plan, compensation=request).steps


def compensated(base: Path, folder: Path, gone: Removals) -> list[str]:
    """The tensors that are compensated, by layer and projection, in order."""
    steps = steps_of(base, folder, gone, OUTPUTS)
    return [
        f"{step.layer} {step.name.split('.')[-2]}"
        for step in steps
        if isinstance(step, CompensatedTensor)
    ]


BEHIND_3 = ["3 down_proj", "3 o_proj"]
CUTS = [
    pytest.param({}, [], id="nothing"),
    pytest.param({3: {"mlp": [0]}}, ["3 down_proj"], id="the last sublayer"),
    pytest.param({3: {"attention": [0]}}, BEHIND_3, id="the last attention"),
    pytest.param(
        {1: {"mlp": [0]}}, ["1 down_proj", "2 down_proj", "2 o_proj", *BEHIND_3], id="mlp of 1"
    ),
    pytest.param({2: {"mlp": ALL_CHANNELS}}, BEHIND_3, id="an emptied sublayer"),
    pytest.param(
        {1: {"attention": range(4), "mlp": ALL_CHANNELS}, 2: {"mlp": ALL_CHANNELS}},
        ["2 o_proj", *BEHIND_3],
        id="a dropped layer",
    ),
    pytest.param(
        {2: {"attention": range(4), "mlp": [1]}}, ["2 down_proj", *BEHIND_3], id="attention goes"
    ),
]


@pytest.mark.parametrize(("gone", "expected"), CUTS)
def test_compensation_begins_with_the_first_cut(
    tiny: Tiny, tmp_path: Path, gone: Removals, expected: list[str]
) -> None:
    """Before it the stream is the old one; what is emptied or dropped has nothing to compensate."""
    assert sorted(compensated(tiny("llama"), tmp_path, gone)) == sorted(expected)


def test_nothing_is_compensated_where_nothing_is_cut(tiny: Tiny, tmp_path: Path) -> None:
    """An empty plan has the steps of a copy."""
    steps = steps_of(tiny("llama"), tmp_path, {}, OUTPUTS)
    assert steps == steps_of(tiny("llama"), tmp_path, {}, None)


@pytest.mark.parametrize("request_", [OUTPUTS, GATES], ids=["outputs", "gates"])
@pytest.mark.parametrize("family", FAMILIES)
def test_compensation_changes_no_shape_and_no_name(
    tiny: Tiny, tmp_path: Path, family: str, request_: CompensationRequest
) -> None:
    """Every other step is the same, in the same order, and so is all that is promised."""
    everything = range(groups_of(family, "attention"))
    gone = cuttable(family, {0: {"attention": everything, "mlp": ALL_CHANNELS}, 2: {"mlp": [3, 4]}})
    plain = steps_of(tiny(family), tmp_path, gone, None)
    steps = steps_of(tiny(family), tmp_path, gone, request_)
    assert list(promised_tensors(steps).items()) == list(promised_tensors(plain).items())
    norms = [step.name for step in steps if isinstance(step, CompensatedFinalNorm)]
    assert norms == ["model.norm.weight"]
    for step, before in zip(steps, plain, strict=True):
        if isinstance(step, CompensatedFinalNorm):
            assert before == KeepTensor(None, step.name, step.becomes, step.facts)
            continue
        if not isinstance(step, CompensatedTensor):
            assert step == before
            continue
        assert isinstance(before, KeepTensor | SliceTensor)
        assert (step.layer, step.name, step.becomes) == (before.layer, before.name, before.becomes)
        assert step.group_type == ("mlp" if "mlp" in step.name else "attention")
        assert step.facts == before.facts
        whole = before.facts if isinstance(before, KeepTensor) else before.before
        assert step.before == whole
        dim = 1 if step.part == "output" else 0
        assert step.before.shape[1 - dim] == step.facts.shape[1 - dim]
        assert (step.part == "output") == step.name.endswith(("o_proj.weight", "down_proj.weight"))
    assert any(
        isinstance(step, CompensatedTensor) and step.name != step.becomes for step in steps
    ) == (
        # biases, or an attention that can't be cut, keep the layer, so that no number changes
        family not in {"llama_tied_bias", *MLP_ONLY}
    )


def test_a_sublayer_that_was_empty_before_is_no_cut(tmp_path: Path) -> None:
    """Layer 0 of the model has no attention, layer 2 no mlp: what is cut is the mlp of 1."""
    save_uneven(tmp_path, tiny_model("llama"), uneven_cut("llama"))
    found = compensated(tmp_path, tmp_path, {1: {"mlp": [2]}})
    assert sorted(found) == ["1 down_proj", "2 o_proj", *BEHIND_3]


def test_only_weights_are_compensated(tiny: Tiny, tmp_path: Path) -> None:
    """Biases, norms and what feeds a sublayer are cut or copied as ever."""
    gone: Removals = {0: {"attention": [0], "mlp": [0]}}
    steps = steps_of(tiny("llama_tied_bias"), tmp_path, gone, OUTPUTS)
    names = {step.name for step in steps if isinstance(step, CompensatedTensor)}
    assert len(names) == 8
    assert all(name.endswith(("o_proj.weight", "down_proj.weight")) for name in names)


def test_gates_of_compensated_mlps_are_compensated_too(tiny: Tiny, tmp_path: Path) -> None:
    """Of those alone: what sees the old stream, or is gone, has none."""
    gone: Removals = {1: {"mlp": [0]}, 2: {"mlp": ALL_CHANNELS}}
    steps = steps_of(tiny("llama"), tmp_path, gone, GATES)
    found = {
        (step.layer, step.part): step.name for step in steps if isinstance(step, CompensatedTensor)
    }
    assert found[1, "gate"] == "model.layers.1.mlp.gate_proj.weight"
    assert found[1, "up"] == "model.layers.1.mlp.up_proj.weight"
    assert [layer for layer, part in found if part == "gate"] == [1, 3]
