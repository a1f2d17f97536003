"""Law 7: a hand edit is honoured exactly, or refused with the place of each mistake in it."""

import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from analyses import saved_analysis, structure_of
from bad_edits import spoil
from command_line import gp
from hand_edits import Sheet, edited, pins_of, removed, sheet_of
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_typing import File, file_of, keys_of

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.options import PlanOptions
from globalprune.planning.write import write_plans

STRUCTURE = structure_of(((2, 7), (1, 5), (3, 7), (2, 1), (2, 120)))
COSTS, NORMS = {"attention": 50, "mlp": 6}, 4  # of structure_of
HANDS = st.randoms(use_true_random=True)


@dataclass(frozen=True)
class Draft:
    """A plan as gp wrote it, before a person comes."""

    path: Path
    sheet: Sheet
    head: tuple[str, ...]  # the lines of comment at its top


@pytest.fixture(scope="module")
def drafts(tmp_path_factory: pytest.TempPathFactory) -> list[Draft]:
    """A small plan, a large one, and one with pins, of the same analysis."""
    analysis = saved_analysis(tmp_path_factory.mktemp("analysis"), STRUCTURE)
    small, large = (written.path for written in write_plans(analysis, PlanOptions((0.1, 0.5))))
    pinned = analysis.folder / "plan.yaml"
    wishes = '\npin: {0: {mlp: {keep: "0-2", width: 4}}, 2: {attention: {remove: 1}}}\nlayers:'
    pinned.write_text(small.read_text("utf-8").replace("\nlayers:", wishes), "utf-8")
    write_plans(analysis, PlanOptions((0.3,), overwrite=True))
    drafts = []
    for path in (small, large, pinned):
        lines = path.read_text("utf-8").splitlines()
        head = tuple(line for line in lines if line.startswith("#"))
        drafts.append(Draft(path, sheet_of(path, STRUCTURE), head))
    return drafts


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(hand=HANDS)
def test_an_edit_is_honoured_exactly(drafts: list[Draft], hand: random.Random) -> None:
    """What is removed and wished is what the file spells, and what a person typed stays."""
    draft = hand.choice(drafts)
    wanted = edited(hand, draft.sheet)
    file = file_of(hand, draft.head, keys_of(hand, wanted))
    path = draft.path.with_name("edited.yaml")
    path.write_bytes(file.text.encode())
    done = gp("check", path, "--write", "--json")

    assert done.code == 0, done.err
    plan = read_plan(path, STRUCTURE)
    assert removed(plan, STRUCTURE) == wanted.gone
    assert pins_of(plan, STRUCTURE) == wanted.pins
    others = PrunePlan.model_validate({**wanted.others, "layers": {}})
    assert plan.model_copy(update={"layers": {}, "pin": {}}) == others
    assert_only_figures_changed(path, file, wanted)
    assert_edits_are_listed(done.json["edits"], draft.sheet, wanted)


def assert_only_figures_changed(path: Path, file: File, wanted: Sheet) -> None:
    """Every byte but those of the generated comment is a person's, and the comment is right."""
    text = path.read_bytes().decode()
    assert text.startswith(file.above)
    assert text.endswith(file.below)
    comment = text[len(file.above) : len(text) - len(file.below)]
    gone = sum(COSTS[kind] for _, kind, _ in wanted.gone)
    first, second, *_, last = comment.splitlines()
    assert re.match(
        rf"# as (edited|generated): removes {gone:,} of {STRUCTURE.parameters:,} ", first
    )
    assert second.startswith(f"#   leaves {left_by(wanted):,} parameters")
    assert last == "#   `gp check --write` refreshes these lines after an edit"
    assert [comment.count(word) for word in ("removes ", "leaves ", "gp check")] == [1, 3, 1]


def left_by(wanted: Sheet) -> int:
    """The parameters of the model without the groups that go and the norms of layers that go."""
    standing = {layer for layer, _, _ in wanted.everything - wanted.gone}
    dropped = len(STRUCTURE.layers) - len(standing) if wanted.others["remove_empty_layers"] else 0
    return STRUCTURE.parameters - sum(COSTS[kind] for _, kind, _ in wanted.gone) - NORMS * dropped


def assert_edits_are_listed(listed: Any, before: Sheet, wanted: Sheet) -> None:
    """What goes or stays since gp wrote the plan, where gp can still tell what it wrote."""
    if wanted.others["target"] != before.others["target"]:
        return
    if before.pins and wanted.pins != before.pins:
        return
    found = {
        name: {
            (sublayer["layer_idx"], sublayer["group_type"], index)
            for sublayer in listed
            for index in IndexSet.parse(sublayer[name])
        }
        for name in ("now_stays", "now_goes")
    }
    assert found["now_stays"] == before.gone - wanted.gone
    assert found["now_goes"] == wanted.gone - before.gone


@settings(deadline=None, max_examples=200)
@given(hand=HANDS)
def test_a_mistake_is_refused_with_its_place(drafts: list[Draft], hand: random.Random) -> None:
    """All mistakes of a file at once, each with its line and the way to it; the file stays."""
    draft = hand.choice(drafts)
    keys = keys_of(hand, edited(hand, draft.sheet))
    expected = spoil(hand, keys)
    text = file_of(hand, draft.head, keys).text
    path = draft.path.with_name("spoiled.yaml")
    path.write_bytes(text.encode())
    done = gp("check", path, "--write", "--json")

    assert done.code == 2
    assert path.read_bytes() == text.encode()
    lines, told = text.splitlines(), []
    for problem in done.json["problems"]:
        line, said = problem.removeprefix("line ").split(": ", 1)
        told.append(said)
        way = said.split(": ")[0].split(".")
        assert any(key in lines[int(line) - 1] for key in way[-2:]), problem
    assert len(told) == len(expected), (told, expected)
    for beginning in expected:
        assert any(said.startswith(beginning) for said in told), (beginning, told)


@settings(deadline=None, max_examples=60)
@given(indices=st.sets(st.integers(0, 200)))
def test_ranges_name_exactly_their_indices(indices: set[int]) -> None:
    """Whatever set of numbers is written, the same set is read."""
    assert set(IndexSet.parse(str(IndexSet.of(indices)))) == indices
