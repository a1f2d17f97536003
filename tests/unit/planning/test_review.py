"""What check and diff say of plans: figures, edits, and what is unknown."""

from pathlib import Path

import pandas as pd
import pytest
from analyses import saved_analysis, structure_of

from globalprune.artifacts.analyses.analysis import Analysis
from globalprune.artifacts.plans.plan_file import refresh_header
from globalprune.errors import PlanInvalid, PlanStale, UsageError
from globalprune.options import PlanOptions
from globalprune.planning.diff import compare_plans
from globalprune.planning.review import overview_of, review_plan
from globalprune.planning.summary import PlanFigures, header_lines
from globalprune.planning.write import write_plans


@pytest.fixture
def analysis(tmp_path: Path) -> Analysis:
    """An analysis of three layers on disk."""
    return saved_analysis(tmp_path / "analysis", structure_of(((2, 8), (2, 8), (2, 8))))


def reviewed(path: Path, folder: Path | None = None) -> PlanFigures:
    """The figures of a plan on disk."""
    figures = review_plan(path, folder).figures
    assert figures is not None
    return figures


def replaced(path: Path, layers: str, head: str = "") -> Path:
    """Write other decisions under the same head."""
    text = path.read_text("utf-8")
    path.write_text(text[: text.index("\nlayers:") + 1] + head + layers, "utf-8")
    return path


def test_figures_are_recounted_from_the_decisions(analysis: Analysis) -> None:
    """A comment that lies changes nothing: what is said is counted anew."""
    path = write_plans(analysis, PlanOptions((0.3,)))[0].path
    path.write_text(path.read_text("utf-8").replace("as generated: removes", "removes 1 of 2"))
    replaced(path, 'layers:\n  1: {attention: "0", mlp: "1-3"}\n')
    effect = reviewed(path).effect

    assert (effect.removed, effect.removed_groups) == (68, {"attention": 1, "mlp": 3})


def test_the_importance_that_goes_is_the_tables(analysis: Analysis) -> None:
    """The sum over the removed rows, of the column that the plan was made by."""
    (written,) = write_plans(analysis, PlanOptions((0.3,), importance="other"))
    path = replaced(written.path, 'layers:\n  2: {mlp: "5"}\n')
    figures = reviewed(path)
    table = analysis.table
    row = (table.layer_idx == 2) & (table.group_type == 1) & (table.group_idx == 5)

    assert figures.importance.scoring.importance == "other"
    assert figures.optimality is not None
    assert figures.optimality.lost == pytest.approx(table.importances["other"][row].item())


def test_the_layers_of_a_plan_are_those_of_its_own_importance_or_of_another(
    analysis: Analysis,
) -> None:
    """The kept importance of each layer is a sum of the column that is named."""
    (written,) = write_plans(analysis, PlanOptions((0.3,)))
    own, other = (overview_of(written.path, None, name) for name in (None, "other"))

    assert (own.scoring.importance, other.scoring.importance) == ("mine", "other")
    assert own.layers != other.layers
    assert own.effect == other.effect


def test_the_layers_of_a_plan_need_its_analysis(tmp_path: Path, analysis: Analysis) -> None:
    """The sizes of layers are in the analysis alone."""
    (written,) = write_plans(analysis, PlanOptions((0.3,)))
    alone = tmp_path / "elsewhere" / "plan.yaml"
    alone.parent.mkdir()
    alone.write_bytes(written.path.read_bytes())

    with pytest.raises(UsageError, match="its analysis is needed for the sizes of the layers"):
        overview_of(alone, None, None)


def test_an_untouched_plan_has_no_edits(analysis: Analysis) -> None:
    """What gp plan wrote is known as such."""
    assert review_plan(write_plans(analysis, PlanOptions((0.3,)))[0].path).edits == ()


def test_pins_added_by_hand_do_not_hide_the_edits(analysis: Analysis) -> None:
    """The original is made again without the new pins, so that the edit shows alone."""
    path = write_plans(analysis, PlanOptions((0.3,)))[0].path
    text = path.read_text("utf-8").replace("\nlayers:", '\npin: {0: {mlp: {keep: "0"}}}\nlayers:')
    path.write_text(text, "utf-8")

    assert review_plan(path).plan.edited
    assert review_plan(path).edits == ()


def test_without_its_analysis_a_plan_is_still_checked(tmp_path: Path, analysis: Analysis) -> None:
    """Syntax and edits are judged, and the rest is said to be unknown, with the way out."""
    path = write_plans(analysis, PlanOptions((0.3,)), tmp_path / "mine.yaml")[0].path
    analysis.folder.rename(tmp_path / "moved")
    review = review_plan(path)

    assert review.figures is None
    assert "unknown; name its analysis with --analysis" in review.warnings[0]
    assert reviewed(path, tmp_path / "moved").effect.removed


def test_an_analysis_that_was_replaced_is_not_taken(tmp_path: Path, analysis: Analysis) -> None:
    """A path that leads to other numbers is worse than none; named by hand it is a note."""
    path = write_plans(analysis, PlanOptions((0.3,)), tmp_path / "mine.yaml")[0].path
    saved_analysis(analysis.folder, analysis.record.structure, seed=9)

    assert "holds another analysis by now" in review_plan(path).warnings[0]
    assert "made from another table" in review_plan(path, analysis.folder).warnings[0]


def test_all_problems_of_a_plan_are_told_at_once(analysis: Analysis) -> None:
    """What the plan's own rules say, and what the model lacks: its analysis is looked at first."""
    path = replaced(
        write_plans(analysis, PlanOptions((0.3,)))[0].path, "layers: {1: {mpl: 1, mlp: 8}, 3: {}}\n"
    )
    with pytest.raises(PlanInvalid) as caught:
        review_plan(path)

    assert [problem.split(": ")[1] for problem in caught.value.problems] == [
        "layers.1.mlp", "layers.1.mpl", "layers.3",
    ]  # fmt: skip


def test_an_analysis_of_another_structure_is_refused(tmp_path: Path, analysis: Analysis) -> None:
    """Indices of one model mean nothing in another."""
    path = write_plans(analysis, PlanOptions((0.3,)))[0].path
    saved_analysis(tmp_path / "other", structure_of(((4, 8),)))

    with pytest.raises(
        PlanStale, match=r"made for test/model, whose structure is sha256:.*; this one has sha256:"
    ):
        review_plan(path, tmp_path / "other")


@pytest.mark.parametrize(
    ("layers", "note"),
    [
        ('layers:\n  0: {mlp: "2"}\n', "pin.0.mlp.keep: 2 is pinned to stay, and goes"),
        ("layers: {}\n", "pin.1.mlp.remove: 4 is pinned to go, and stays"),
        ("layers: {}\n", "pin.2.attention.width: 1 are pinned to stay, 2 do"),
        ("layers: {}\n", "saves 0 parameters where target.ratio (0.3) asks for "),
    ],
    ids=["keep", "remove", "width", "ratio"],
)
def test_an_edit_that_breaks_a_wish_is_noted(analysis: Analysis, layers: str, note: str) -> None:
    """A hand edit is honoured, never refused; the person is told what it breaks."""
    path = write_plans(analysis, PlanOptions((0.3,)))[0].path
    pins = (
        'pin:\n  0: {mlp: {keep: "2"}}\n  1: {mlp: {remove: "4"}}\n  2: {attention: {width: 1}}\n'
    )
    replaced(path, layers, head=pins)

    assert any(note in found for found in review_plan(path).warnings)


def test_the_header_says_what_stands_there_now(analysis: Analysis) -> None:
    """After an edit the refreshed comment is that of the edited plan, and nothing else moves."""
    path = replaced(
        write_plans(analysis, PlanOptions((0.3,)))[0].path, "layers:\n  1: {mlp: all} # mine\n"
    )
    body = path.read_text("utf-8").split("format:")[1]
    refresh_header(path, header_lines(review_plan(path).plan, reviewed(path)))
    text = path.read_text("utf-8")

    assert "# as edited: removes 48 of " in text
    assert "8 mlp channels" in text
    assert "0.0 % attention and 100.0 % mlp" in text
    assert text.split("format:")[1] == body


def test_diff_counts_what_only_one_plan_removes(analysis: Analysis) -> None:
    """Groups, parameters and importance of each side."""
    folder = analysis.folder
    small, large = write_plans(analysis, PlanOptions((0.2, 0.5)))
    replaced(small.path, 'layers:\n  0: {mlp: "0-3"}\n')
    replaced(large.path, 'layers:\n  0: {mlp: "2-5"}\n  2: {attention: all, mlp: all}\n')
    found = compare_plans(small.path, large.path, None)

    assert folder == found.first.parent
    assert (found.only_first.groups, found.only_first.parameters) == (2, 12)
    assert (found.only_second.groups, found.only_second.parameters) == (12, 160)
    assert found.only_first.importance is not None
    assert found.others["layers that go whole"] == ("none", "2")
    assert [str(sublayer.only_second) for sublayer in found.sublayers] == ["4-5", "0-1", "0-7"]


def test_diff_without_an_analysis_says_what_is_unknown(tmp_path: Path) -> None:
    """Two plans written by hand compare by their words."""
    one, other = tmp_path / "a.yaml", tmp_path / "b.yaml"
    one.write_text('format: globalprune.plan/1\nlayers: {1: {mlp: "0-3"}}\n')
    other.write_text("format: globalprune.plan/1\nlayers: {1: {mlp: all}}\n")
    found = compare_plans(one, other, None)

    assert (str(found.sublayers[0].only_first), str(found.sublayers[0].only_second)) == (
        "0-3",
        "all",
    )
    assert found.only_second.groups is None
    assert found.only_first.parameters is None


def test_diff_of_other_structures_is_refused(tmp_path: Path, analysis: Analysis) -> None:
    """Equal indices of different models are different groups."""
    one = write_plans(analysis, PlanOptions((0.2,)))[0].path
    two = write_plans(saved_analysis(tmp_path / "b", structure_of(((4, 8),))), PlanOptions((0.2,)))[
        0
    ].path

    with pytest.raises(PlanStale, match=r"made for different structures .* compare plans of one"):
        compare_plans(one, two, None)


def test_diff_does_not_care_by_which_way_the_analysis_is_reached(analysis: Analysis) -> None:
    """The same plan in two folders names two paths and makes the same decisions."""
    folder = analysis.folder
    one = write_plans(analysis, PlanOptions((0.2,)), folder / "a.yaml")[0].path
    two = write_plans(analysis, PlanOptions((0.2,)), folder / "deep" / "b.yaml")[0].path
    found = compare_plans(one, two, None)

    assert not found.sublayers
    assert not found.others


def test_diff_tells_wishes_apart(analysis: Analysis) -> None:
    """Pins that differ are shown, not only their layers."""
    one, two = write_plans(analysis, PlanOptions((0.2, 0.3)))
    for path, width in ((one.path, 3), (two.path, 4)):
        replaced(path, "layers: {}\n", head=f"pin: {{0: {{mlp: {{width: {width}}}}}}}\n")
    others = compare_plans(one.path, two.path, None).others

    assert others["pin.0"] == ("mlp width 3", "mlp width 4")
    assert others["target.ratio"] == ("0.2", "0.3")


def test_diff_says_whose_table_counts(tmp_path: Path, analysis: Analysis) -> None:
    """A plan that was made from another table than the one it is counted by is a note."""
    other = saved_analysis(tmp_path / "other", analysis.record.structure, seed=5)
    one, two = (
        write_plans(analysis, PlanOptions((0.2,)))[0].path,
        write_plans(other, PlanOptions((0.2,)))[0].path,
    )

    assert f"{two}: was made from another table" in compare_plans(one, two, None).warnings[0]


def test_a_column_that_is_gone_is_said(analysis: Analysis) -> None:
    """The figures are then those of the table's own importance, and a note says so."""
    (written,) = write_plans(analysis, PlanOptions((0.3,), importance="other"))
    table = analysis.folder / "groups.parquet"
    pd.read_parquet(table).drop(columns="importance_other").to_parquet(table)

    assert (
        "has no importance_other any more; counted by mine" in review_plan(written.path).warnings[0]
    )
    assert reviewed(written.path).importance.scoring.importance == "mine"


def test_a_link_to_a_plan_is_the_plan(tmp_path: Path, analysis: Analysis) -> None:
    """The analysis is found from where the plan lies, and a refresh leaves the link a link."""
    path = write_plans(analysis, PlanOptions((0.3,)))[0].path
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    refresh_header(link, ["as edited: by a link"])

    assert review_plan(link).edits == ()
    assert link.is_symlink()
    assert "# as edited: by a link" in path.read_text("utf-8")


def test_diff_of_endless_ranges_is_instant(tmp_path: Path) -> None:
    """Ranges are compared as ranges, whatever their length."""
    for name, mlp in (("a.yaml", "0-999999999999"), ("b.yaml", "7, 100-999999999999")):
        (tmp_path / name).write_text(
            f'format: globalprune.plan/1\nlayers: {{1: {{mlp: "{mlp}"}}}}\n'
        )
    found = compare_plans(tmp_path / "a.yaml", tmp_path / "b.yaml", None)

    assert str(found.sublayers[0].only_first) == "0-6, 8-99"
    assert found.only_second.groups == 0
