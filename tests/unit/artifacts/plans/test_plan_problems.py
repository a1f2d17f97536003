"""Plans that are YAML and no plan: each problem with its line, its place and what to do."""

from pathlib import Path

import pytest
from artifact_values import FORMAT, plan_at, structure_of

from globalprune.artifacts.groups import ModelStructure
from globalprune.artifacts.plans.plan_file import read_plan
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
    "mistyped half": (
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
    "null half": ("layers: {0: {mlp: null}}", r"layers\.0\.mlp: None is not a set of indices"),
    "null layers": (
        "layers:",
        r"layers: null is not a mapping of layers; write {} for nothing\.",
    ),
    "list of layers": ("layers: [0, 1]", r"layers: \[0, 1\] is not a mapping of layers; write"),
    "layer as number": ("layers: {0: 3}", r"layers\.0: 3 is not a mapping with attention and/or"),
    "list of indices": ("layers: {0: {mlp: [1]}}", r"layers\.0\.mlp: \[1\] is not a set of"),
    "fraction": ("layers: {0: {mlp: 1.5}}", r"layers\.0\.mlp: 1\.5 is not a set of indices"),
    "date": ("layers: {0: {mlp: 2001-01-02}}", r"layers\.0\.mlp: datetime.* is not a set of ind"),
    "tag": ("layers: {0: {mlp: !group 3}}", r"layers\.0\.mlp: .*!group.* is not a set of indices"),
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
    "half by another name": (
        "target: {ratio: 0.2, constraints: {only: heads}}\nlayers: {}",
        r"target\.constraints\.only: 'heads' should be 'attention' or 'mlp'; write such a value\.",
    ),
    "no budget": ("target: {dtype: int8}\nlayers: {}", r"target: says no budget; write `ratio"),
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
