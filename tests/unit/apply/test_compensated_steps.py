"""Which tensors are solved anew: outputs from the first cut on, gates and ups if asked."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from applying import ALL_CHANNELS
from cutting import Removals, cuttable, groups_of, write_removals
from tiny_models import FAMILIES, MLP_ONLY, tiny_model
from uneven_models import save_uneven, uneven_cut

from globalprune.apply.preparation import prepare
from globalprune.apply.steps import (
    KeepTensor,
    RefitTensor,
    SliceTensor,
    SolveTensor,
    Step,
    promised,
)
from globalprune.artifacts.results.compensation import CompensationRequest

Tiny = Callable[[str], Path]


OUTPUTS = CompensationRequest(gate_steps=0)
GATES = CompensationRequest(gate_steps=1)


def steps_of(
    base: Path, folder: Path, gone: Removals, request: CompensationRequest | None
) -> Sequence[Step]:
    """What applying does."""
    plan = write_removals(folder / "plan.yaml", gone)
    return prepare(str(base), plan, request).steps


def solved(base: Path, folder: Path, gone: Removals) -> list[str]:
    """The tensors that are solved, by layer and projection, in order."""
    steps = steps_of(base, folder, gone, OUTPUTS)
    return [
        f"{step.layer} {step.name.split('.')[-2]}"
        for step in steps
        if isinstance(step, SolveTensor)
    ]


BEHIND_3 = ["3 down_proj", "3 o_proj"]
CUTS = [
    pytest.param({}, [], id="nothing"),
    pytest.param({3: {"mlp": [0]}}, ["3 down_proj"], id="the last half"),
    pytest.param({3: {"attention": [0]}}, BEHIND_3, id="the last attention"),
    pytest.param(
        {1: {"mlp": [0]}}, ["1 down_proj", "2 down_proj", "2 o_proj", *BEHIND_3], id="mlp of 1"
    ),
    pytest.param({2: {"mlp": ALL_CHANNELS}}, BEHIND_3, id="an emptied half"),
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
def test_solving_begins_with_the_first_cut(
    tiny: Tiny, tmp_path: Path, gone: Removals, expected: list[str]
) -> None:
    """Before it the stream is the old one; what is emptied or dropped has nothing to solve."""
    assert sorted(solved(tiny("llama"), tmp_path, gone)) == sorted(expected)


def test_nothing_is_refitted_where_nothing_is_cut(tiny: Tiny, tmp_path: Path) -> None:
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
    assert list(promised(steps).items()) == list(promised(plain).items())
    refitted = [step.name for step in steps if isinstance(step, RefitTensor)]
    assert refitted == ["model.norm.weight"]
    for step, before in zip(steps, plain, strict=True):
        if isinstance(step, RefitTensor):
            assert before == KeepTensor(None, step.name, step.becomes, step.facts)
            continue
        if not isinstance(step, SolveTensor):
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
    assert any(isinstance(step, SolveTensor) and step.name != step.becomes for step in steps) == (
        # biases, or an attention that can't be cut, keep the layer, so that no number changes
        family not in {"llama_tied_bias", *MLP_ONLY}
    )


def test_a_half_that_was_empty_before_is_no_cut(tmp_path: Path) -> None:
    """Layer 0 of the model has no attention, layer 2 no mlp: what is cut is the mlp of 1."""
    save_uneven(tmp_path, tiny_model("llama"), uneven_cut("llama"))
    found = solved(tmp_path, tmp_path, {1: {"mlp": [2]}})
    assert sorted(found) == ["1 down_proj", "2 o_proj", *BEHIND_3]


def test_only_weights_are_solved(tiny: Tiny, tmp_path: Path) -> None:
    """Biases, norms and what feeds a half are cut or copied as ever."""
    gone: Removals = {0: {"attention": [0], "mlp": [0]}}
    steps = steps_of(tiny("llama_tied_bias"), tmp_path, gone, OUTPUTS)
    names = {step.name for step in steps if isinstance(step, SolveTensor)}
    assert len(names) == 8
    assert all(name.endswith(("o_proj.weight", "down_proj.weight")) for name in names)


def test_gates_of_solved_mlps_are_solved_too(tiny: Tiny, tmp_path: Path) -> None:
    """Of those alone: what sees the old stream, or is gone, has none."""
    gone: Removals = {1: {"mlp": [0]}, 2: {"mlp": ALL_CHANNELS}}
    steps = steps_of(tiny("llama"), tmp_path, gone, GATES)
    found = {(step.layer, step.part): step.name for step in steps if isinstance(step, SolveTensor)}
    assert found[1, "gate"] == "model.layers.1.mlp.gate_proj.weight"
    assert found[1, "up"] == "model.layers.1.mlp.up_proj.weight"
    assert [layer for layer, part in found if part == "gate"] == [1, 3]
