"""What is told of a plan: figures by its analysis, whose hand it shows, what is not known."""

from pathlib import Path

import pytest
from analyses import saved_analysis, structure_of

from globalprune.artifacts.analyses.analysis import Analysis
from globalprune.options import PlanOptions
from globalprune.planning.review import review_plan
from globalprune.planning.write import write_plans
from globalprune.report.blocks import Facts, Lines, OverviewRow, Plot, Subsection, Table
from globalprune.report.inputs import read_plan_input
from globalprune.report.plan import plan_subsection


@pytest.fixture
def analysis(tmp_path: Path) -> Analysis:
    """An analysis of three layers on disk."""
    return saved_analysis(tmp_path / "analysis", structure_of(((2, 8), (2, 8), (2, 8))))


def told(path: Path) -> tuple[Subsection, tuple[OverviewRow, ...]]:
    """What is told of the plan there."""
    return plan_subsection(read_plan_input(path)[0])


def facts_of(part: Subsection) -> dict[str, str]:
    """The facts by their names."""
    return {
        name: value
        for block in part.blocks
        if isinstance(block, Facts)
        for name, value in block.rows
    }


def doubts_of(part: Subsection) -> tuple[str, ...]:
    """What is said to be doubtful."""
    return sum((block.lines for block in part.blocks if isinstance(block, Lines)), ())


def table_of(part: Subsection) -> Table:
    """The only table."""
    (table,) = (block for block in part.blocks if isinstance(block, Table))
    return table


def test_figures_are_those_of_gp_check(analysis: Analysis) -> None:
    """Parameters, groups, and the part of the importance that goes."""
    path = write_plans(analysis, PlanOptions((0.3,)))[0].path
    part, (glance,) = told(path)
    figures = review_plan(path).figures
    assert figures is not None
    assert figures.optimality is not None
    effect, found = figures.effect, figures.optimality
    facts = facts_of(part)

    assert facts["parameters that stay"] == f"{effect.parameters_after:,}"
    assert facts["parameters that go"].startswith(f"{effect.removed} of {effect.parameters_before}")
    assert facts["mlp channels that go"].startswith(f"{effect.removed_groups['mlp']} of 24")
    assert (
        facts["importance that goes"] == f"{100 * found.lost / found.total:.2f} % of all, by mine"
    )
    assert facts["target"] == "ratio 0.3"
    assert facts["written"] == "by gp plan, not edited since"
    assert (glance.removed, glance.parameters) == (
        f"{100 * effect.ratio:.2f} %",
        f"{effect.parameters_after:,}",
    )
    assert doubts_of(part) == ()


def test_every_layer_has_a_row_and_a_place_in_the_picture(analysis: Analysis) -> None:
    """A layer that goes whole says so; its row has what goes with it."""
    path = write_plans(analysis, PlanOptions((0.3,)))[0].path
    text = path.read_text("utf-8")
    decisions = 'layers:\n  0: {mlp: "0, 3-5"}\n  2: {attention: all, mlp: all}\n'
    path.write_text(text[: text.index("\nlayers:") + 1] + decisions, "utf-8")
    part, _ = told(path)
    rows = table_of(part).rows

    assert [row[:3] for row in rows] == [
        ("0", "2 of 2", "4 of 8"),
        ("1", "2 of 2", "8 of 8"),
        ("2 (goes whole)", "0 of 2", "0 of 8"),
    ]
    shares = sum(float(cell.removesuffix(" %")) for row in rows for cell in row[3:])
    assert facts_of(part)["importance that goes"] == f"{shares:.2f} % of all, by mine"
    assert facts_of(part)["layers that go whole"] == "2"
    assert facts_of(part)["written"] == "by gp plan, and edited by hand since"
    assert [block.caption for block in part.blocks if isinstance(block, Plot)] == [
        "What stays of every layer, in groups; × is a layer that goes whole."
    ]


def test_wishes_are_told_and_broken_ones_are_doubtful(analysis: Analysis) -> None:
    """Constraints and pins as a plan spells them."""
    path = analysis.folder / "mine.yaml"
    path.write_text(
        "format: globalprune.plan/1\n"
        f"analysis: {{path: ., table: '{analysis.record.table}', importance: mine}}\n"
        "target: {parameters: 400, constraints: {min_mlp: 3, protect_layers: '0'}}\n"
        "pin: {1: {attention: {keep: 0}, mlp: {width: 5}}}\n"
        "remove_empty_layers: false\n"
        "layers: {1: {mlp: '0-1'}}\n",
        "utf-8",
    )
    part, _ = told(path)
    facts = facts_of(part)

    assert facts["written"] == "by hand"
    assert facts["target"] == "parameters 400"
    assert facts["constraints"] == "protect_layers 0, min_mlp 3"
    assert facts["pins"] == "layer 1 attention: keep 0\nlayer 1 MLP: width 5"
    assert facts["layers that lose everything"] == "stay as they are passed through"
    assert any("pin.1.mlp.width: 5 are pinned to stay, 6 do" in doubt for doubt in doubts_of(part))


def test_behind_compensation_a_loss_is_in_nats(analysis: Analysis) -> None:
    """There a part of the sum says nothing."""
    path = write_plans(analysis, PlanOptions((0.3,)))[0].path
    text = path.read_text("utf-8")
    path.write_text(text.replace("importance: mine", "importance: mine\n  assumes: compensation"))
    figures = review_plan(path).figures
    assert figures is not None
    assert figures.optimality is not None

    assert facts_of(told(path)[0])["importance that goes"] == (
        f"{figures.optimality.lost:.4g} nats a token by mine, behind compensation"
    )


def test_layers_that_were_not_measured_leave_it_open(tmp_path: Path) -> None:
    """What goes there is counted, and not what it is worth."""
    analysis = saved_analysis(tmp_path / "analysis", layers=range(1, 3))
    path = write_plans(analysis, PlanOptions((0.1,)))[0].path
    text = path.read_text("utf-8")
    path.write_text(text[: text.index("\nlayers:") + 1] + "layers: {0: {mlp: 1}}\n", "utf-8")

    assert facts_of(told(path)[0])["importance that goes"] == (
        "not known, since layers go that were not measured (mine)"
    )


def test_without_its_analysis_the_decisions_are_told(analysis: Analysis, tmp_path: Path) -> None:
    """And on the terminal, where the analysis was looked for; that place is not for the page."""
    path = write_plans(analysis, PlanOptions((0.3,)))[0].path
    alone = tmp_path / "elsewhere" / "plan.yaml"
    alone.parent.mkdir()
    alone.write_bytes(path.read_bytes())
    known, missing = read_plan_input(alone)
    part, glances = plan_subsection(known)

    assert "its analysis was looked for in" in missing
    assert glances == ()
    assert doubts_of(part)[0].startswith("Its analysis is not at hand")
    assert str(tmp_path) not in str(part)
    assert table_of(part).rows == tuple(
        (str(layer), str(cuts.attention), str(cuts.mlp))
        for layer, cuts in known.plan.layers.items()
    )
