"""What a plan does, in a line or two."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from analyses import analysis_of, structure_of
from trials import trial_with

from globalprune.artifacts.analyses.analysis import Scoring
from globalprune.artifacts.analyses.reliability import doubt_text
from globalprune.artifacts.plans.plan import AnalysisReference, LayerCuts, PrunePlan
from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.plans.plan_file import has_comments, refresh_header, write_plan
from globalprune.planning.summary import (
    ImportanceByGroup,
    Optimality,
    PlanFigures,
    figures_of,
    header_lines,
    importance_lines,
    removal_text,
    shares_of,
)

STRUCTURE = structure_of()  # three layers of 2 attention groups (50) and 4 channels (6)


def plan_of(**layers: dict[str, str]) -> PrunePlan:
    """A plan by hand: `plan_of(_1={"mlp": "0"})`."""
    cuts = {int(key[1:]): LayerCuts.model_validate(sublayers) for key, sublayers in layers.items()}
    return PrunePlan(layers=cuts)


def figures(plan: PrunePlan, measured: range = range(3)) -> PlanFigures:
    """What a plan does, by an analysis of some layers."""
    analysis = analysis_of(STRUCTURE, layers=measured)
    importance = ImportanceByGroup.of(analysis.table, Scoring("mine", "none"))
    return figures_of(plan, analysis, importance)


def lines_of(plan: PrunePlan, measured: range = range(3)) -> tuple[str, ...]:
    """What is said of the importance."""
    return importance_lines(plan, figures(plan, measured))


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (plan_of(), "removes 0 of 484 parameters (0.00 %): nothing"),
        (plan_of(_0={"attention": "1"}), "(10.33 %): 1 attention group"),
        (plan_of(_0={"mlp": "0-1"}), "removes 12 of 484 parameters (2.48 %): 2 mlp channels"),
        (
            plan_of(_1={"attention": "all", "mlp": "all"}),
            "2 attention groups, 4 mlp channels, 1 layer (1)",
        ),
        (
            plan_of(
                _0={"attention": "all", "mlp": "all"},
                _2={"attention": "all", "mlp": "all"},
            ),
            "2 layers (0, 2)",
        ),
    ],
    ids=["nothing", "one", "several", "a layer", "layers"],
)
def test_counts_are_in_words(plan: PrunePlan, said: str) -> None:
    """One is singular, what is not touched is not named."""
    assert removal_text(effect_of(plan, STRUCTURE)).endswith(said)


def test_shares_are_of_what_goes() -> None:
    """Parameters, not groups."""
    effect = effect_of(plan_of(_0={"attention": "0", "mlp": "0-3"}), STRUCTURE)

    assert shares_of(effect, STRUCTURE) == {"attention": 50 / 74, "mlp": 24 / 74}


def test_importance_of_what_was_not_measured_is_unknown() -> None:
    """A hand edit may cut where the table has no numbers; the sum is then not made up."""
    (unknown,) = lines_of(plan_of(_0={"mlp": "0"}), range(1, 3))
    assert "unknown, since layers go that were not measured" in unknown
    lost, bound = lines_of(plan_of(_1={"mlp": "0"}), range(1, 3))
    assert lost.endswith("of all)")
    assert "sums of importance are no perplexity" in bound


@pytest.mark.parametrize(
    ("least", "text"),
    [(1.0, "a gap of 0 % ("), (1.0 - 1e-5, "a gap below 0.01 % ("), (0.5, "a gap of 0.5 % (")],
    ids=["none", "tiny", "some"],
)
def test_a_gap_is_spelled_as_precisely_as_the_shares_beside_it(least: float, text: str) -> None:
    """A hundredth of a percent is the last place of the shares."""
    plan = plan_of(_1={"mlp": "0"})
    optimality = Optimality(total=100.0, lost=1.0, least=least)
    _, bound = importance_lines(plan, replace(figures(plan), optimality=optimality))
    assert text in bound


def test_what_is_lost_along_an_order_has_a_unit_and_no_share() -> None:
    """The last groups of an order are worth what all before them hid, so a whole means nothing."""
    plan = plan_of(_1={"mlp": "0"})
    reference = AnalysisReference(
        path=".", table="sha256:0", importance="mine", assumes="compensation"
    )
    plan = plan.model_copy(update={"analysis": reference})
    lost, bound = lines_of(plan)
    assert re.fullmatch(r"importance lost: 0\.\d+ nats a token by mine, behind compensation", lost)
    assert re.match(r"any cut as large loses at least 0\.\d+ ", bound)


@pytest.mark.parametrize(
    ("generated", "state"), [(None, "as written"), ("own", "as generated"), ("x", "as edited")]
)
def test_the_comment_says_who_decided(generated: str | None, state: str) -> None:
    """gp, a person after gp, or a person alone."""
    plan = plan_of(_0={"mlp": "0"})
    said = plan.decisions_digest() if generated == "own" else generated
    plan = plan.model_copy(update={"generated": said})
    first, *_ = header_lines(plan, figures(plan))

    assert first.startswith(f"{state}: removes 6 of ")


@pytest.mark.parametrize("assumes", [None, "compensation"])
@pytest.mark.parametrize("measured", [range(3), range(1, 3)], ids=["all", "not all"])
@pytest.mark.parametrize("gone", [{}, {"mlp": "0"}], ids=["nothing", "something"])
def test_every_line_is_known_again(
    tmp_path: Path, gone: dict[str, str], measured: range, assumes: Literal["compensation"] | None
) -> None:
    """No line of an old comment stays behind, or is taken for a person's."""
    reference = AnalysisReference(path=".", table="", importance="mine", assumes=assumes)
    plan = plan_of(_0=gone).model_copy(update={"analysis": reference})
    path = tmp_path / "plan.yaml"
    doubted = doubt_text(trial_with(mlp=0.1))
    first, *others = header_lines(plan, figures(plan, measured))
    header = [first, *filter(None, [doubted]), *others]
    write_plan(path, plan, header=header, overwrite=False)
    written = path.read_bytes()
    refresh_header(path, header)

    assert path.read_bytes() == written
    assert not has_comments(path)
