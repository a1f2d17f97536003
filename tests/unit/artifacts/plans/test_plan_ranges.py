"""Layers and indices that a model doesn't have."""

from pathlib import Path

import pytest
from artifact_values import layer_of, plan_at, structure_of

from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.artifacts.plans.plan_ranges import range_problems
from globalprune.artifacts.plans.plan_yaml import load_document
from globalprune.errors import PlanInvalid

MISFITS = {
    "layer": (
        "layers: {4: {mlp: 1}}",
        r"layers\.4: the model has 4 layers, 0 to 3; take it out\.",
    ),
    "pinned layer": ("pin: {9: {mlp: {width: 1}}}\nlayers: {}", r"pin\.9: the model has 4 layers"),
    "index": (
        "layers: {0: {attention: 4}}",
        r"layers\.0\.attention: 4 is out of range: there are 4 groups, 0 to 3; take it out\.",
    ),
    "indices": (
        'layers: {0: {mlp: "1, 22-30, 99"}}',
        r"layers\.0\.mlp: 24-30, 99 is out of range: there are 24 groups, 0 to 23; take it out\.",
    ),
    "quoted layer": ('layers: {"0": {mlp: 24}}', r"layers\.0\.mlp: 24 is out of range"),
    "no groups": (
        "layers: {3: {attention: 0}}",
        r"layers\.3\.attention: 0 is out of range: there are no groups; take it out\.",
    ),
    "huge range": ('layers: {0: {mlp: "0-99999999999"}}', r"layers\.0\.mlp: 24-99999999999 is out"),
    "pin keeps": ('pin: {0: {mlp: {keep: "24"}}}\nlayers: {}', r"pin\.0\.mlp\.keep: 24 is out of"),
    "pin removes": ("pin: {0: {mlp: {remove: 24}}}\nlayers: {}", r"pin\.0\.mlp\.remove: 24 is out"),
    "pin's width": (
        "pin: {0: {mlp: {width: 25}}}\nlayers: {}",
        r"pin\.0\.mlp\.width: 25 is more than the 24 there are; write less\.",
    ),
}
STRUCTURE = structure_of(*(layer_of(),) * 3, layer_of(attention=0))


@pytest.mark.parametrize(("content", "message"), MISFITS.values(), ids=MISFITS)
def test_what_the_model_lacks_is_refused(tmp_path: Path, content: str, message: str) -> None:
    """One problem with its line; only the indices that are outside are named."""
    path = plan_at(tmp_path / "plan.yaml", content)
    with pytest.raises(PlanInvalid, match=rf"plan\.yaml: 1 problem\n  line 2: {message}"):
        read_plan(path, STRUCTURE)


@pytest.mark.parametrize(("content", "message"), MISFITS.values(), ids=MISFITS)
def test_without_a_model_nothing_is_out_of_range(
    tmp_path: Path, content: str, message: str
) -> None:
    """Syntax is checked, figures are unknown, and the same file is judged later."""
    del message
    assert read_plan(plan_at(tmp_path / "plan.yaml", content))


def test_misfits_and_mistakes_are_told_together(tmp_path: Path) -> None:
    """A person mends one file once."""
    path = plan_at(
        tmp_path / "plan.yaml",
        "pin: {0: {mlp: {width: 99}}}",
        "layers:",
        "  1: {mlp: 99}",
        "  2: {mpl: 1, attention: 7}",
        "  8: {mlp: 1}",
    )
    with pytest.raises(PlanInvalid, match=r"5 problems") as caught:
        read_plan(path, STRUCTURE)
    lines = [problem.split(":")[0] for problem in caught.value.problems]
    assert lines == ["line 2", "line 4", "line 5", "line 5", "line 6"]


def test_that_nothing_is_left_is_told_with_the_rest(tmp_path: Path) -> None:
    """Whatever else is wrong, even in the sets that name every group."""
    lines = [f"  {layer}: {{attention: all, mlp: 0-99}}" for layer in range(4)]
    path = plan_at(tmp_path / "plan.yaml", "target: {ratio: 2}", "layers:", *lines)
    with pytest.raises(PlanInvalid, match=r"6 problems") as caught:
        read_plan(path, STRUCTURE)
    assert "line 3: layers: the plan leaves no layer" in caught.value.problems[1]


@pytest.mark.parametrize("spared", ["1-23", "0-22", "0-10, 12-23", "", "x"])
def test_one_group_is_enough(tmp_path: Path, spared: str) -> None:
    """A set that can't be read spares all of its half."""
    lines = [f'  {layer}: {{attention: all, mlp: "0-23"}}' for layer in range(3)]
    path = plan_at(tmp_path / "plan.yaml", "layers:", *lines, f'  3: {{mlp: "{spared}"}}')
    document, _ = load_document(path)
    assert range_problems(document, STRUCTURE) == []


def test_the_last_layer_and_the_last_index_exist(tmp_path: Path) -> None:
    """Bounds are inclusive where a person would think so; all of no groups is nothing."""
    content = 'layers: {0: {mlp: "23", attention: 3}, 3: {attention: all, mlp: 0}}'
    pins = "pin: {2: {mlp: {width: 24, keep: 23}}}"
    plan = read_plan(plan_at(tmp_path / "plan.yaml", pins, content), STRUCTURE)
    assert list(plan.layers) == [0, 3]
