"""Plans on disk: what they name, whose pins they keep, and whose work they never lose."""

from pathlib import Path

import pytest
from analyses import saved_analysis, structure_of

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.errors import PlanInvalid, UsageError
from globalprune.options import PlanOptions
from globalprune.planning.write import write_plans


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
    older = tmp_path / "plan-0.30.yaml"  # without pins
    write_plans(analysis, PlanOptions((0.3,)), older)
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
