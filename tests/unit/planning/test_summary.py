"""What a plan does, in a line or two."""

import re
from pathlib import Path
from typing import Literal

import pytest
from analyses import analysis_of, structure_of
from trials import trial_with

from globalprune.artifacts.analyses.analysis import Scoring
from globalprune.artifacts.analyses.trial import doubt_text
from globalprune.artifacts.plans.plan import AnalysisReference, LayerCuts, PrunePlan
from globalprune.artifacts.plans.plan_effect import effect_of
from globalprune.artifacts.plans.plan_file import has_comments, refresh_header, write_plan
from globalprune.planning.summary import (
    ImportanceByGroup,
    header_lines,
    importance_lines,
    optimality_of,
    removal_text,
    shares_of,
)

STRUCTURE = structure_of()  # three layers of 2 attention groups (50) and 4 channels (6)
MINE = Scoring("mine", "none")
WORTH = ImportanceByGroup.of(analysis_of(STRUCTURE).table, MINE)


def plan_of(**layers: dict[str, str]) -> PrunePlan:
    """A plan by hand: `plan_of(_1={"mlp": "0"})`."""
    cuts = {int(key[1:]): LayerCuts.model_validate(sublayers) for key, sublayers in layers.items()}
    return PrunePlan(layers=cuts)


def lines_of(plan: PrunePlan, worth: ImportanceByGroup) -> tuple[str, ...]:
    """What is said of the importance."""
    effect = effect_of(plan, STRUCTURE)
    found = optimality_of(plan, STRUCTURE, effect, worth)
    return importance_lines(plan, worth.scoring, found)


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
    part = ImportanceByGroup.of(analysis_of(STRUCTURE, layers=range(1, 3)).table, MINE)

    (unknown,) = lines_of(plan_of(_0={"mlp": "0"}), part)
    assert "unknown, since layers go that were not measured" in unknown
    lost, bound = lines_of(plan_of(_1={"mlp": "0"}), part)
    assert lost.endswith("of all)")
    assert "sums of importance are no perplexity" in bound


def test_what_is_lost_along_an_order_has_a_unit_and_no_share() -> None:
    """The last groups of an order are worth what all before them hid, so a whole means nothing."""
    plan = plan_of(_1={"mlp": "0"})
    reference = AnalysisReference(
        path=".", table="sha256:0", importance="mine", assumes="compensation"
    )
    plan = plan.model_copy(update={"analysis": reference})
    worth = ImportanceByGroup.of(analysis_of(STRUCTURE).table, MINE)
    lost, bound = lines_of(plan, worth)
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
    first, *_ = header_lines(plan, STRUCTURE, effect_of(plan, STRUCTURE), WORTH.scoring, None, None)

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
    worth = ImportanceByGroup.of(analysis_of(STRUCTURE, layers=measured).table, MINE)
    effect = effect_of(plan, STRUCTURE)
    found = optimality_of(plan, STRUCTURE, effect, worth)
    path = tmp_path / "plan.yaml"
    header = header_lines(
        plan, STRUCTURE, effect, worth.scoring, found, doubt_text(trial_with(mlp=0.1))
    )
    write_plan(path, plan, header=header, overwrite=False)
    written = path.read_bytes()
    refresh_header(path, header)

    assert path.read_bytes() == written
    assert not has_comments(path)
