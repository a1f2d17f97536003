"""Spoiled plans: a message, exit code 2, and not a file left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import files_below, gp, refused

HEAD = "format: globalprune.plan/1\n"
EVERYTHING = ", ".join(f"{layer}: {{attention: all, mlp: all}}" for layer in range(4))
PLANS = {
    "empty": ("", "the file is empty; a plan is a mapping"),
    "not yaml": ("layers: [1, 2", "line 1: is not YAML"),
    "a list": ("- 1\n", "holds a list at the top"),
    "no format": ("layers: {}\n", "names no format; add `format: globalprune.plan/1`"),
    "newer format": ("format: globalprune.plan/7\nlayers: {}\n", "is of format globalprune.plan/7"),
    "no layers": (HEAD, r"layers: is missing; add it \(`layers: {}` removes nothing\)"),
    "null layer": (HEAD + "layers: {1: null}\n", "layers.1: null is not a mapping"),
    "unknown key": (HEAD + "layer: {}\nlayers: {}\n", "layer: is no key.* did you mean layers?"),
    "unknown sublayer": (HEAD + "layers: {1: {mpl: all}}\n", "did you mean mlp?"),
    "key twice": (HEAD + "layers: {1: {mlp: 1}, 1: {mlp: 2}}\n", "stands here again"),
    "layer twice": (HEAD + 'layers: {1: {mlp: 1}, "1": {mlp: 2}}\n', "stands here again"),
    "index twice": (HEAD + 'layers: {1: {mlp: "3, 1-5"}}\n', "is named twice; name each once"),
    "backwards": (HEAD + 'layers: {1: {mlp: "5-1"}}\n', "'5-1' runs backwards; write '1-5'"),
    "no number": (HEAD + 'layers: {1: {mlp: "five"}}\n', "five. is no index or range"),
    "no such index": (HEAD + "layers: {1: {mlp: 24}}\n", "24 is out of range: there are 24 groups"),
    "no such layer": (HEAD + "layers: {4: {mlp: 1}}\n", "layers.4: the model has 4 layers, 0 to 3"),
    "nothing left": (HEAD + f"layers: {{{EVERYTHING}}}\n", "the plan leaves no layer"),
    "other structure": (
        HEAD + "model: {source: x, structure: 'sha256:0'}\nlayers: {}\n",
        "was made for x, whose structure is sha256:0; this one has sha256:",
    ),
    "wishes against each other": (
        HEAD + 'pin: {1: {mlp: {keep: "3-5", remove: "5-9"}}}\nlayers: {}\n',
        "line 2: pin.1.mlp.remove: 5 is both in keep and in remove; name it in one",
    ),
    "yes and no": (HEAD + "remove_empty_layers: yes\nlayers: {}\n", "true or false"),
    "ratio as text": (HEAD + "target: {ratio: twenty}\nlayers: {}\n", "target.ratio"),
}


@pytest.mark.parametrize("name", PLANS)
def test_spoiled_plans(tiny: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    """Apply says what is wrong with the plan, and where, before it writes."""
    content, message = PLANS[name]
    plan = tmp_path / "plan.yaml"
    plan.write_text(content, "utf-8")
    before = files_below(tmp_path)

    refused(gp("apply", tiny("llama"), "--plan", plan, "-o", tmp_path / "out"), message)
    assert files_below(tmp_path) == before


def test_all_problems_of_a_plan_come_at_once(tmp_path: Path) -> None:
    """Nobody mends a file three times."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        HEAD + 'layer: {}\nremove_empty_layers: 3\nlayers:\n  1: {mlp: "5-1"}\n  x: {}\n', "utf-8"
    )
    done = gp("check", plan)

    refused(done, "plan.yaml: 4 problems")
    assert gp("check", plan, "--json").json == {
        "plan": str(plan),
        "valid": False,
        "problems": [line.strip() for line in done.err.splitlines()[1:]],
    }
    assert [line.split(":")[0].strip() for line in done.err.splitlines()[1:]] == [
        "line 2", "line 3", "line 5", "line 6",
    ]  # fmt: skip


def test_a_plan_of_another_version_is_told_to_programs_too(tmp_path: Path) -> None:
    """--json gives a document for every plan that is not valid."""
    plan = tmp_path / "plan.yaml"
    plan.write_text("format: globalprune.plan/7\nlayers: {}\n", "utf-8")
    done = gp("check", plan, "--json")

    assert (done.code, done.json["valid"]) == (2, False)
    assert "is of format globalprune.plan/7" in done.json["problems"][0]
