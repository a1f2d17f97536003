"""Plans that are YAML and no plan: each problem with its line, its place and what to do."""

from pathlib import Path

import pytest
from artifact_values import FORMAT, layer_of, plan_at, structure_of

from globalprune.artifacts.plans.plan_file import open_plan, read_plan
from globalprune.artifacts.plans.plan_validation import range_problems
from globalprune.artifacts.structure import ModelStructure
from globalprune.errors import PlanInvalid, PlanVersion

MALFORMED = {
    "unquoted ranges": (
        "layers: {0: {mlp: 4, 17-31}}",
        (
            r"layers\.0\.17-31: is no key that a plan knows; if it is an index, put all of them in "
            r'quotes: "4, 17-31"\.'
        ),
    ),
    "unquoted numbers": ("layers: {0: {mlp: 4, 17}}", r"layers\.0\.17: is no key .*in quotes"),
    "mistyped sublayer": (
        "layers: {0: {mpl: 1}}",
        r"layers\.0\.mpl: is no key that a plan knows; did you mean mlp\?",
    ),
    "experts": (
        "layers: {0: {experts: 1}}",
        r"layers\.0\.experts: is no key that a plan knows; known here: attention, mlp\.",
    ),
    "null layer": (
        "layers: {0: }",
        r"layers\.0: null is not a mapping with attention and/or mlp; write {} for nothing\.",
    ),
    "null sublayer": ("layers: {0: {mlp: null}}", r"layers\.0\.mlp: None is not a set of indices"),
    "null layers": (
        "layers:",
        r"layers: null is not a mapping of layers; write {} for nothing\.",
    ),
    "list of layers": ("layers: [0, 1]", r"layers: \[0, 1\] is not a mapping of layers; write"),
    "layer as number": ("layers: {0: 3}", r"layers\.0: 3 is not a mapping with attention and/or"),
    "list of indices": ("layers: {0: {mlp: [1]}}", r"layers\.0\.mlp: \[1\] is not a set of"),
    "fraction": ("layers: {0: {mlp: 1.5}}", r"layers\.0\.mlp: 1\.5 is not a set of indices"),
    "date": ("layers: {0: {mlp: 2001-01-02}}", r"layers\.0\.mlp: '2001-01-02' is no index or ra"),
    "tag": ("layers: {0: {mlp: !group 3}}", r"layers\.0\.mlp: !group 3 is not a set of indices"),
    "repeated index": ('layers: {0: {mlp: "1, 0-3"}}', r"layers\.0\.mlp: index 1 is named twice"),
    "named layer": ("layers: {first: {mlp: 1}}", r"layers\.first: 'first' is no layer; write its"),
    "negative layer": ("layers: {-1: {mlp: 1}}", r"layers\.-1: -1 is no layer; write its number"),
    "null key": ("layers: {~: {mlp: 1}}", r"layers\.None: None is no layer; write its number"),
    "layer twice": (
        'layers: {"0": {mlp: 1}, 0: {mlp: 2}}',
        r"layers\.0: stands here again \(first in line 2\); keep one of the two\.",
    ),
    "anchor elsewhere": ("a: &a {mlp: 1}\nlayers: {0: *a}", r"a: is no key .*known here: format, "),
    "ratio of 1": ("target: {ratio: 1.0}\nlayers: {}", r"target\.ratio: 1\.0 should be less than"),
    "ratio of nan": ("target: {ratio: .nan}\nlayers: {}", r"target\.ratio: nan should be less th"),
    "ratio as text": (
        'target: {ratio: "0.2"}\nlayers: {}',
        r"target\.ratio: '0\.2' should be a valid number; write such a value\.",
    ),
    "target as number": ("target: 0.2\nlayers: {}", r"target: 0\.2 should be a valid dictionary"),
    "constraint": (
        "target: {ratio: 0.2, constraints: {max_layers: 1}}\nlayers: {}",
        r"target\.constraints\.max_layers: is no key that a plan knows; did you mean max_layer_",
    ),
    "clashing constraints": (
        "target: {ratio: 0.2, constraints: {only: mlp, attention_share: 0.1}}\nlayers: {}",
        r"target\.constraints: only and attention_share can't be kept together; leave one out",
    ),
    "sublayer by another name": (
        "target: {ratio: 0.2, constraints: {only: heads}}\nlayers: {}",
        r"target\.constraints\.only: 'heads' should be 'attention' or 'mlp'; write such a value\.",
    ),
    "no budget": (
        "target: {dtype: int8}\nlayers: {}",
        r"target: names no budget; write one, such as `ratio",
    ),
    "model without structure": (
        "model: {source: x}\nlayers: {}",
        r"model\.structure: is missing; add it\.",
    ),
    "switch": (
        "remove_empty_layers: yes\nlayers: {}",
        r"remove_empty_layers: 'yes' should be true or false; write such a value\.",
    ),
    "digest": ("generated: 5\nlayers: {}", r"generated: 5 should be a valid string; write such"),
    "pin as number": (
        "pin: {0: {mlp: 5}}\nlayers: {}",
        r"pin\.0\.mlp: 5 is not a mapping with keep, remove and/or width; write {} for nothing\.",
    ),
    "pin's wish": (
        "pin: {0: {mlp: {widht: 5}}}\nlayers: {}",
        r"pin\.0\.mlp\.widht: .*mean width\?",
    ),
    "pin's width": (
        "pin: {0: {mlp: {width: -1}}}\nlayers: {}",
        r"pin\.0\.mlp\.width: -1 should be greater than or equal to 0; write such a value\.",
    ),
    "pin's layer twice": (
        'pin: {3: {mlp: {width: 1}}, "3": {mlp: {width: 2}}}\nlayers: {}',
        r"pin\.3: stands here again \(first in line 2\)",
    ),
}


@pytest.mark.parametrize(("content", "message"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_plan_is_refused(tmp_path: Path, content: str, message: str) -> None:
    """One problem, in line 2, that says where, what was found and what to do."""
    path = plan_at(tmp_path / "plan.yaml", content)
    with pytest.raises(PlanInvalid, match=rf"plan\.yaml: 1 problem\n  line 2: {message}") as caught:
        read_plan(path)
    assert len(caught.value.problems) == 1


def test_a_plan_says_its_layers(tmp_path: Path) -> None:
    """They are required, so that a truncated file is no plan that removes nothing."""
    path = plan_at(tmp_path / "plan.yaml")
    with pytest.raises(PlanInvalid, match=r"line 1: layers: is missing; add it \(`layers: {}` rem"):
        read_plan(path)


def test_layers_is_the_last_key(tmp_path: Path) -> None:
    """Each key below it is told; one that no plan knows is told as that alone."""
    path = tmp_path / "plan.yaml"
    path.write_text(f"pin: {{}}\nlayers: {{}}\nremove_empty_layers: true\n1: {{}}\n{FORMAT}\n")
    with pytest.raises(PlanInvalid, match=r"3 problems") as caught:
        read_plan(path)
    below = "stands below layers, which is the last key; move it above."
    assert [caught.value.problems[at] for at in (0, 2)] == [
        f"line 3: remove_empty_layers: {below}",
        f"line 5: format: {below}",
    ]


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    """In the order of their lines, repeated keys included; one edit mends them all."""
    path = plan_at(
        tmp_path / "plan.yaml",
        "modle: {}",
        "target: {ratio: 2}",
        "layers:",
        '  0: {mlp: "5-3"}',
        "  1: {mlp: 1, mlp: 2}",
        "  x: {attention: 0}",
    )
    with pytest.raises(PlanInvalid, match=r"plan\.yaml: 5 problems\n") as caught:
        read_plan(path)
    assert caught.value.problems == (
        "line 2: modle: is no key that a plan knows; did you mean model?",
        "line 3: target.ratio: 2 should be less than 1; write such a value.",
        "line 5: layers.0.mlp: '5-3' runs backwards; write '3-5'.",
        "line 6: layers.1.mlp: stands here again (first in line 6); keep one of the two.",
        "line 7: layers.x: 'x' is no layer; write its number, 0 or more.",
    )


READS = r"this globalprune reads globalprune\.plan/1; install the globalprune that wrote it, or"
NOT_OURS = r"which is not globalprune\.plan/1; name another file, or"
FORMATS = {
    "newer": ("format: globalprune.plan/2", rf"is of format globalprune\.plan/2, {READS}"),
    "much newer": ("format: globalprune.plan/17", rf"is of format globalprune\.plan/17, {READS}"),
    "older": ("format: globalprune.plan/0", rf"is of format globalprune\.plan/0, {READS}"),
    "another program's": ("format: terraform/1", rf"is of format terraform/1, {NOT_OURS}"),
    "another file of ours": (
        "format: globalprune.analysis/1",
        rf"is of format globalprune\.analysis/1, {NOT_OURS}",
    ),
    "a word": ("format: plan", rf"is of format plan, {NOT_OURS}"),
    "a number": ("format: 1", rf"is of format 1, {NOT_OURS}"),
    "missing": ("", r"names no format; add `format: globalprune\.plan/1` if it is of that one, or"),
    "null": ("format:", r"names no format; add `format: globalprune\.plan/1` if it is of that one"),
}


@pytest.mark.parametrize(("said", "message"), FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("structure", [structure_of(), None], ids=["model", "no model"])
def test_a_plan_of_another_format_is_not_judged(
    tmp_path: Path, said: str, message: str, structure: ModelStructure | None
) -> None:
    """Its unknown keys and layers are no mistakes; the message names the format and the way out."""
    path = tmp_path / "plan.yaml"
    path.write_text(f"experts: {{}}\n{said}\nlayers: {{99: {{mlp: x}}}}\n")
    with pytest.raises(PlanVersion, match=rf"plan\.yaml: {message}") as caught:
        read_plan(path, structure)
    assert str(caught.value).endswith("make the plan again with gp plan.")
    assert "\n" not in str(caught.value)


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
    """A set that can't be read spares all of its sublayer."""
    lines = [f'  {layer}: {{attention: all, mlp: "0-23"}}' for layer in range(3)]
    path = plan_at(tmp_path / "plan.yaml", "layers:", *lines, f'  3: {{mlp: "{spared}"}}')
    assert range_problems(open_plan(path).document, STRUCTURE) == []


def test_the_last_layer_and_the_last_index_exist(tmp_path: Path) -> None:
    """Bounds are inclusive where a person would think so; all of no groups is nothing."""
    content = 'layers: {0: {mlp: "23", attention: 3}, 3: {attention: all, mlp: 0}}'
    pins = "pin: {2: {mlp: {width: 24, keep: 23}}}"
    plan = read_plan(plan_at(tmp_path / "plan.yaml", pins, content), STRUCTURE)
    assert list(plan.layers) == [0, 3]
