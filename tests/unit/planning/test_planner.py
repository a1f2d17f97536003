"""From a table to a plan: the lowest scores first, over layers and kinds."""

from dataclasses import replace
from typing import Any

import pytest
from analyses import analysis_of, structure_of

from globalprune.artifacts.analyses.analysis import Scoring
from globalprune.artifacts.analyses.reliability import Reliability, SharedCut
from globalprune.artifacts.plans.budgets import parameters_to_remove
from globalprune.artifacts.plans.plan import Budgets, Target
from globalprune.artifacts.structure import ModelTraits
from globalprune.errors import TableInvalid, UsageError
from globalprune.options import PlanOptions
from globalprune.planning.planner import analysis_warnings, make_plan
from globalprune.planning.write import write_plans

SHAPE = ((3, 40), (3, 40), (3, 40))


def test_another_column_gives_another_plan() -> None:
    """`--importance other` scores anew, and the plan names what it was made by."""
    analysis = analysis_of(structure_of(SHAPE))
    mine, other = (
        make_plan(analysis, Target(ratio=0.3)),
        make_plan(analysis, Target(ratio=0.3), importance="other"),
    )

    assert mine.plan.layers != other.plan.layers
    assert other.plan.analysis is not None
    assert other.plan.analysis.importance == "other"


def test_a_missing_column_is_named_with_those_there_are() -> None:
    """An importance that was not measured is an error that lists the measured ones."""
    with pytest.raises(
        TableInvalid, match=r"no column importance_fisher of numbers; it has mine, other"
    ):
        make_plan(analysis_of(structure_of()), Target(ratio=0.3), importance="fisher")


def test_a_whole_sublayer_is_written_as_all() -> None:
    """A sublayer that loses everything is spelled as a person would."""
    plan = make_plan(analysis_of(structure_of(SHAPE)), Target(ratio=0.99)).plan

    assert sum(str(layer.attention) == "all" for layer in plan.layers.values()) == 3


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 20.0, float("nan")])
def test_a_ratio_is_a_fraction(ratio: float) -> None:
    """Twenty means 0.2, and is answered so."""
    with pytest.raises(UsageError, match=r"must be at least 0 and below 1, such as 0\.2"):
        write_plans(analysis_of(structure_of()), PlanOptions((ratio,)))


@pytest.mark.parametrize(
    ("ratio", "parameters", "asked"),
    [(0.1, 30, 3), (0.2, 134_515_008, 26_903_002), (1e-9, 10, 1), (0, 10, 0), (0.3, 10, 3)],
)
def test_ratios_are_read_as_they_are_written(ratio: float, parameters: int, asked: int) -> None:
    """A tenth of thirty is three, not four, although no binary number is a tenth."""
    assert parameters_to_remove(ratio, parameters) == asked


def test_a_method_without_a_unit_of_loss_is_doubted() -> None:
    """A ranking over all layers by raw wanda destroys a model; the plan's note says so."""
    analysis = analysis_of(structure_of(SHAPE))
    record = analysis.record.model_copy(update={"incomparable": ("other",)})
    doubted = replace(analysis, record=record)

    assert not make_plan(doubted, Target(ratio=0.2)).warnings
    assert (
        "other is not comparable between layers"
        in make_plan(doubted, Target(ratio=0.2), importance="other").warnings[0]
    )


SURE = Reliability(rank_correlation=0.95, cuts=(SharedCut(ratio=0.2, shared=0.93),))
UNSURE = Reliability(rank_correlation=0.85, cuts=(SharedCut(ratio=0.2, shared=0.8),))
NOTE = (
    "mine is unsure: each half of the 128 windows ranks the groups for itself, and their ranks "
    "correlate by 0.85 and their cuts of 20 % share 80 % of what each removes; measure with more "
    "--samples."
)


def notes(found: Any, scoring: Scoring, ratio: float = 0.25) -> list[str]:
    """The notes of a plan by an analysis with these figures of `mine`."""
    record = analysis_of(structure_of()).record
    text = record.calibration.model_copy(update={"samples": 128})
    record = record.model_copy(update={"reliability": found, "calibration": text})
    return list(analysis_warnings(record, scoring, Budgets(ratio=ratio), ratio))


@pytest.mark.parametrize(
    ("found", "scoring", "said"),
    [
        ({"mine": UNSURE, "other": SURE}, Scoring("mine", "none"), [NOTE]),
        ({"mine": UNSURE, "other": SURE}, Scoring("other", "none"), []),
        ({"mine": SURE}, Scoring("mine", "none"), []),
        ({"mine": UNSURE}, Scoring("mine", "rank"), []),
        ({}, Scoring("mine", "none"), []),
    ],
    ids=["unsure", "another importance", "sure", "another normaliser", "unknown"],
)
def test_scores_on_which_the_halves_disagree_are_doubted(
    found: Any, scoring: Scoring, said: list[str]
) -> None:
    """Of the importance that the plan ranks by, normalised as it was compared."""
    assert notes(found, scoring) == said


def test_a_plan_that_removes_nothing_needs_no_scores() -> None:
    """The empty plan is sure."""
    assert notes({"mine": UNSURE}, Scoring("mine", "none"), 0) == []


@pytest.mark.parametrize("budget", ["kv_cache", "flops", "parameters"])
@pytest.mark.parametrize("sliding", [True, False])
def test_an_analysis_that_says_no_windows_counts_all_layers_alike(
    budget: str, sliding: bool
) -> None:
    """Only where the model has some, and a budget counts them."""
    record = analysis_of(structure_of()).record
    traits = ModelTraits(
        model_type="gemma2",
        hidden_size=8,
        tied_embeddings=True,
        sliding_window=sliding,
        rope_type="default",
        activation="gelu",
    )
    record = record.model_copy(
        update={"model": record.model.model_copy(update={"traits": traits}), "reliability": {}}
    )
    said = list(analysis_warnings(record, Scoring("mine", "none"), Budgets(**{budget: 1}), 0.2))
    told = [note for note in said if "older than the counting of sliding windows" in note]
    assert bool(told) == (sliding and budget != "parameters")
