"""Long sets of indices pass ruamel by, and nobody can tell."""

from pathlib import Path

import pytest
from artifact_values import FORMAT, plan_at

from globalprune.artifacts.plans.index_ranges import IndexRanges
from globalprune.artifacts.plans.plan_file import read_plan, write_plan
from globalprune.artifacts.plans.plan_long_text import ShortenedText
from globalprune.artifacts.plans.prune_plan import LayerCuts, PrunePlan
from globalprune.errors import PlanInvalid

EVENS = IndexRanges.of(range(0, 600, 2))


def folded(ranges: IndexRanges) -> str:
    """As a person's editor may wrap it: a break behind every tenth index."""
    words = str(ranges).split(", ")
    lines = [", ".join(words[at : at + 10]) for at in range(0, len(words), 10)]
    return ",\n      ".join(lines)


def test_long_sets_are_written_in_lines_and_read_back(tmp_path: Path) -> None:
    """Whatever their length."""
    layers = {layer: LayerCuts(mlp=IndexRanges.of(range(0, layer * 7, 2))) for layer in range(90)}
    plan = PrunePlan(layers=layers)
    path = tmp_path / "plan.yaml"
    write_plan(path, plan, header=["as generated: nothing"], overwrite=False)

    assert read_plan(path).layers == plan.layers
    assert max(map(len, path.read_text("utf-8").splitlines())) <= 104


def test_problems_behind_long_sets_keep_their_lines(tmp_path: Path) -> None:
    """In the same layer, in the next one, and in the set itself."""
    long = folded(EVENS)
    text = f'layers:\n  0: {{mlp: "{long}", atention: "1"}}\n  1: {{mlp: "{long}, 3-x"}}\n  2: 7\n'
    path = plan_at(tmp_path / "plan.yaml", text)
    lines = path.read_text("utf-8").splitlines()
    with pytest.raises(PlanInvalid) as caught:
        read_plan(path)

    said = [problem.split(": ", 1)[0] for problem in caught.value.problems]
    words = ("atention", "  1: ", "  2: ")
    places = [at for at, line in enumerate(lines, 1) if any(word in line for word in words)]
    assert said == [f"line {at}" for at in places]
    assert FORMAT in lines[0]


def test_a_text_with_marks_of_its_own_is_left_alone() -> None:
    """Private characters that a person wrote mean nothing."""
    text = f'a: "\ue0000\ue001"\nb: "{EVENS}"\n'
    assert ShortenedText(text).text == text


def test_a_repeated_key_behind_a_long_set_keeps_its_line(tmp_path: Path) -> None:
    """The mapping is parsed a second time for it."""
    text = f'layers:\n  0: {{mlp: "{folded(EVENS)}"}}\n  0: {{mlp: "1"}}\n'
    path = plan_at(tmp_path / "plan.yaml", text)
    last = path.read_text("utf-8").splitlines().index('  0: {mlp: "1"}') + 1
    with pytest.raises(PlanInvalid, match=rf"line {last}: layers\.0: stands here again"):
        read_plan(path)
