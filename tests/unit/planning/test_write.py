"""Plans on disk: where they go, whose pins they keep, and whose work they never lose."""

from pathlib import Path

import pytest
from analyses import saved_analysis, structure_of

from globalprune.artifacts.analyses.analysis import Analysis
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import Constraints, PrunePlan
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.errors import PlanInvalid, UsageError
from globalprune.options import PlanOptions
from globalprune.planning.options import format_ratio, plan_paths
from globalprune.planning.write import write_plans


@pytest.mark.parametrize(
    ("ratio", "spelled"),
    [(0.2, "0.20"), (0.125, "0.125"), (0.0, "0.00"), (1e-5, "0.00001")],
)
def test_ratios_are_spelled_without_loss(ratio: float, spelled: str) -> None:
    """Two decimals at least, and as many as tell two ratios apart."""
    assert format_ratio(ratio) == spelled


def test_plans_go_where_people_look_for_them(tmp_path: Path) -> None:
    """One goes to DIR/plan.yaml, several into DIR or the named folder, each ratio once."""
    here = tmp_path / "analysis"

    assert plan_paths(here, [0.2], None) == {0.2: here / "plan.yaml"}
    assert plan_paths(here, [0.1, 0.2, 0.1], None) == {
        0.1: here / "plan-0.10.yaml",
        0.2: here / "plan-0.20.yaml",
    }
    assert plan_paths(here, [0.2], tmp_path / "mine.yaml") == {0.2: tmp_path / "mine.yaml"}
    assert plan_paths(here, [0.2], tmp_path / "x") == {0.2: tmp_path / "x" / "plan-0.20.yaml"}


def test_one_file_cannot_hold_two_plans(tmp_path: Path) -> None:
    """Two ratios and a .yaml file is a slip, and nothing is written."""
    with pytest.raises(UsageError, match=r"mine.yaml: is one file for 2 plans; name a folder"):
        plan_paths(tmp_path, [0.1, 0.2], tmp_path / "mine.yaml")


def test_a_plan_names_its_analysis_from_where_it_lies(tmp_path: Path) -> None:
    """Folders can be moved together: the way to the analysis is relative to the plan."""
    analysis = saved_analysis(tmp_path / "deep" / "analysis")
    (written,) = write_plans(analysis, PlanOptions((0.2,)), tmp_path / "plans" / "mine.yaml")
    plan = read_plan(written.path)

    assert plan.analysis is not None
    assert plan.analysis.path == "../deep/analysis"
    assert not plan.edited
    assert (written.path.parent / "plan.v1.schema.json").is_file()


def test_a_generated_plan_is_replaced_and_an_edited_one_is_not(tmp_path: Path) -> None:
    """Only a person's work needs --overwrite, and refusing leaves every file alone."""
    analysis = saved_analysis(tmp_path)
    path = write_plans(analysis, PlanOptions((0.2,)))[0].path
    write_plans(analysis, PlanOptions((0.3,)))
    edited = path.read_text("utf-8").replace(
        "remove_empty_layers: true", "remove_empty_layers: false"
    )
    path.write_text(edited, "utf-8")

    with pytest.raises(UsageError, match=r"plan.yaml: was edited by hand.* --overwrite"):
        write_plans(analysis, PlanOptions((0.2,)))
    assert path.read_text("utf-8") == edited


@pytest.mark.parametrize("comment", ["# as edited: by me\n", "# why layer 0 stays\n"])
def test_a_comment_is_work_too(tmp_path: Path, comment: str) -> None:
    """A plan whose decisions are as generated, but that a person commented, is not replaced."""
    analysis = saved_analysis(tmp_path)
    path = write_plans(analysis, PlanOptions((0.2,)))[0].path
    path.write_text(path.read_text("utf-8") + comment, "utf-8")

    with pytest.raises(UsageError, match=r"its edits and comments are lost"):
        write_plans(analysis, PlanOptions((0.3,)))


def test_an_edited_plan_among_several_stops_all(tmp_path: Path) -> None:
    """Nothing is written where one of the plans can't be."""
    analysis = saved_analysis(tmp_path)
    (tmp_path / "plan-0.30.yaml").write_text("mine", "utf-8")

    with pytest.raises(UsageError, match=r"plan-0.30.yaml: is there and is no plan"):
        write_plans(analysis, PlanOptions((0.2, 0.3)))
    assert not (tmp_path / "plan-0.20.yaml").exists()


def pinned(path: Path, pins: str) -> None:
    """Add pins as a person would."""
    text = path.read_text("utf-8")
    path.write_text(text.replace("remove_empty_layers", f"pin: {pins}\nremove_empty_layers"))


def test_pins_survive_replanning(tmp_path: Path) -> None:
    """--overwrite gives up edits and keeps wishes; other ratios keep those of plan.yaml."""
    analysis = saved_analysis(tmp_path)
    path = write_plans(analysis, PlanOptions((0.2,)))[0].path
    pinned(path, '{1: {attention: {keep: "0-1"}}}')
    (again,) = write_plans(analysis, PlanOptions((0.4,), overwrite=True))
    write_plans(
        analysis, PlanOptions((0.3,)), tmp_path / "plan-0.30.yaml"
    )  # an old one without pins
    several = write_plans(analysis, PlanOptions((0.3, 0.5)))

    assert again.effect.layers[1].attention == IndexSet.below(2)
    assert "its edits and comments were replaced" in again.warnings[0]
    assert "honours the pins of" in again.warnings[1]
    for written in several:
        assert read_plan(written.path).pin == read_plan(path).pin
        assert written.effect.layers[1].attention == IndexSet.below(2)


def test_pins_that_contradict_are_named_with_their_file(tmp_path: Path) -> None:
    """The message leads to the file in which the wishes stand."""
    analysis = saved_analysis(tmp_path)
    path = write_plans(analysis, PlanOptions((0.2,)))[0].path
    pinned(path, '{1: {mlp: {keep: "0", remove: "0"}}}')

    with pytest.raises(
        PlanInvalid, match=r"plan.yaml: 1 problem\n  line \d+: pin.1.mlp.remove: 0 is"
    ):
        write_plans(analysis, PlanOptions((0.4,)), tmp_path / "other.yaml")


def test_a_broken_plan_is_never_replaced(tmp_path: Path) -> None:
    """It may hold wishes; the message says what is wrong, and that removing it is enough."""
    analysis = saved_analysis(tmp_path)
    (tmp_path / "plan.yaml").write_text("pin: [", "utf-8")
    with pytest.raises(
        UsageError, match=r"so it isn't replaced; mend it, remove it.*\n.*\n.*line 1"
    ):
        write_plans(analysis, PlanOptions((0.2,), overwrite=True))
    with pytest.raises(PlanInvalid, match=r"plan.yaml: 1 problem"):
        write_plans(analysis, PlanOptions((0.2,)), tmp_path / "other.yaml")
    (tmp_path / "plan.yaml").unlink()

    assert write_plans(analysis, PlanOptions((0.2,)))


def test_pins_of_another_model_bind_nothing(tmp_path: Path) -> None:
    """A folder that is used again for a model of another structure is no dead end."""
    path = write_plans(saved_analysis(tmp_path), PlanOptions((0.2,)))[0].path
    pinned(path, '{1: {attention: {keep: "0-1"}}}')
    other = saved_analysis(tmp_path, structure_of(((4, 8),)))
    (written,) = write_plans(other, PlanOptions((0.2,), overwrite=True))

    assert "are for another structure (test/model)" in written.warnings[1]
    assert not written.plan.pin


def test_a_comment_below_the_generated_one_is_work_too(tmp_path: Path) -> None:
    """Even if it is indented like the generated lines."""
    analysis = saved_analysis(tmp_path)
    path = write_plans(analysis, PlanOptions((0.2,)))[0].path
    head, body = path.read_text("utf-8").split("format:")
    path.write_text(f"{head}#   keep layer 0\nformat:{body}", "utf-8")

    with pytest.raises(UsageError, match=r"its edits and comments are lost"):
        write_plans(analysis, PlanOptions((0.3,)))


def test_a_hash_in_a_path_is_no_comment(tmp_path: Path) -> None:
    """A generated plan stays one whatever its analysis is called."""
    analysis = saved_analysis(tmp_path / "c #1")
    write_plans(analysis, PlanOptions((0.2,)), tmp_path / "p.yaml")

    assert write_plans(analysis, PlanOptions((0.3,)), tmp_path / "p.yaml")


def test_places_that_cannot_be_written_are_refused_first(tmp_path: Path) -> None:
    """A folder or a file in the way is a message, and no plan of several is written."""
    analysis = saved_analysis(tmp_path / "a")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "a" / "plan-0.30.yaml").mkdir()

    with pytest.raises(UsageError, match=r"plan-0.30.yaml: is a folder, where a file should be"):
        write_plans(analysis, PlanOptions((0.2, 0.3)))
    assert not (tmp_path / "a" / "plan-0.20.yaml").exists()
    with pytest.raises(UsageError, match=r"p.yaml: can't be made, since .*file is a file; choose"):
        write_plans(analysis, PlanOptions((0.2,)), tmp_path / "file" / "p.yaml")


@pytest.fixture
def analysis(tmp_path: Path) -> Analysis:
    """Three layers on disk."""
    return saved_analysis(tmp_path / "analysis", structure_of(((2, 8), (2, 8), (2, 8))))


def edited(path: Path, layers: str) -> Path:
    """The plan with other decisions."""
    text = path.read_text("utf-8")
    path.write_text(text[: text.index("\nlayers:") + 1] + layers, "utf-8")
    return path


def again(analysis: Analysis, path: Path, ratio: float = 0.4) -> PrunePlan:
    """What is planned from it."""
    out = path.with_name("again.yaml")
    return write_plans(analysis, PlanOptions((ratio,), replanned=path), out)[0].plan


def test_edits_become_pins(analysis: Analysis, tmp_path: Path) -> None:
    """What was taken out stays at every ratio, what was added goes."""
    written = write_plans(analysis, PlanOptions((0.2,)), tmp_path / "plan.yaml")[0]
    before = written.plan.layers
    gone = {layer: set(cuts.mlp.resolved(8)) for layer, cuts in before.items()}
    layer = next(at for at, channels in gone.items() if channels)
    spared = min(gone[layer])
    added = min(set(range(8)) - gone.get(layer, set()))
    gone[layer] = (gone[layer] - {spared}) | {added}
    lines = [f'  {at}: {{mlp: "{IndexSet.of(found)}"}}\n' for at, found in gone.items() if found]
    plan = again(analysis, edited(written.path, "layers:\n" + "".join(lines)))

    assert spared in set(plan.pin[layer].mlp.keep)
    assert added in set(plan.pin[layer].mlp.remove)
    final = set(plan.layers[layer].mlp.resolved(8))
    assert spared not in final
    assert added in final


def test_a_plan_of_ones_own_is_all_meant(analysis: Analysis, tmp_path: Path) -> None:
    """Gp wrote nothing that it could be held against."""
    path = tmp_path / "mine.yaml"
    path.write_text('format: globalprune.plan/1\nlayers:\n  2: {mlp: "0, 7"}\n', "utf-8")
    plan = again(analysis, path)

    assert str(plan.pin[2].mlp.remove) == "0, 7"


def test_constraints_stay_unless_others_are_given(analysis: Analysis, tmp_path: Path) -> None:
    """They are a person's wishes as well."""
    constraints = Constraints(min_mlp=5, min_attention_groups=1)
    first = write_plans(
        analysis, PlanOptions((0.1,), constraints=constraints), tmp_path / "plan.yaml"
    )[0].path
    kept = again(analysis, first)
    other = Constraints(min_mlp=2)
    out = tmp_path / "other.yaml"
    changed = write_plans(analysis, PlanOptions((0.3,), replanned=first, constraints=other), out)[
        0
    ].plan

    assert kept.target is not None
    assert kept.target.constraints == constraints
    assert changed.target is not None
    assert changed.target.constraints == Constraints(min_mlp=2, min_attention_groups=1)
    whole = Constraints(whole_layers=True)
    first = write_plans(analysis, PlanOptions((0.1,), constraints=whole), tmp_path / "whole.yaml")[
        0
    ].path
    with pytest.raises(UsageError, match=r"--uniform and --whole-layers can't be kept together"):
        write_plans(
            analysis,
            PlanOptions((0.3,), replanned=first, constraints=Constraints(uniform=True)),
            out,
        )


def test_importance_and_strategy_stay_unless_others_are_given(
    analysis: Analysis, tmp_path: Path
) -> None:
    """A plan by another column doesn't come back ranked by the table's own."""
    options = PlanOptions((0.2,), importance="other", normaliser="mean", strategy="layerwise")
    first = write_plans(analysis, options, tmp_path / "plan.yaml")[0].path
    kept = again(analysis, first)
    out = tmp_path / "other.yaml"
    changed = write_plans(
        analysis, PlanOptions((0.2,), replanned=first, importance="mine", strategy="knapsack"), out
    )[0].plan

    assert kept.analysis is not None
    assert kept.target is not None
    assert (kept.analysis.importance, kept.analysis.normaliser) == ("other", "mean")
    assert kept.target.strategy == "layerwise"
    assert changed.analysis is not None
    assert changed.target is not None
    assert (changed.analysis.importance, changed.target.strategy) == ("mine", "knapsack")


def test_a_pin_of_all_outlives_an_edit(analysis: Analysis, tmp_path: Path) -> None:
    """Every other group is still pinned to stay."""
    path = tmp_path / "plan.yaml"
    path.write_text(
        'format: globalprune.plan/1\npin:\n  0: {mlp: {keep: all}}\nlayers:\n  0: {mlp: "3"}\n',
        "utf-8",
    )
    assert str(again(analysis, path).pin[0].mlp.keep) == "0-2, 4-7"


def test_edits_that_cannot_be_told_are_refused(analysis: Analysis, tmp_path: Path) -> None:
    """The plan that gp wrote was made from another analysis."""
    other = saved_analysis(tmp_path / "other", structure_of(((2, 8), (2, 8), (2, 8))), seed=5)
    path = write_plans(other, PlanOptions((0.3,)), tmp_path / "plan.yaml")[0].path
    edited(path, 'layers:\n  0: {mlp: "1"}\n')
    with pytest.raises(UsageError, match=r"was edited, and what gp plan wrote can't be made again"):
        again(analysis, path)


def test_edits_are_pinned_over_older_pins(analysis: Analysis, tmp_path: Path) -> None:
    """A group that was pinned to stay, and put into the plan by hand, goes."""
    path = tmp_path / "plan.yaml"
    path.write_text(
        'format: globalprune.plan/1\npin:\n  0: {mlp: {keep: "3, 4"}}\nlayers:\n  0: {mlp: "3"}\n',
        "utf-8",
    )
    plan = again(analysis, path)

    assert str(plan.pin[0].mlp.keep) == "4"
    assert str(plan.pin[0].mlp.remove) == "3"
    assert 3 in set(read_plan(path.with_name("again.yaml")).layers[0].mlp)
