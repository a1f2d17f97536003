"""What a plan says of how sure its scores are."""

from typing import Any

import pytest
from analyses import analysis_of, structure_of

from globalprune.artifacts.analyses.analysis import Scoring
from globalprune.artifacts.analyses.reliability import Reliability, SharedCut
from globalprune.artifacts.plans.plan import Budgets
from globalprune.artifacts.structure import ModelTraits
from globalprune.planning.notes import plan_notes

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
    return list(plan_notes(record, scoring, Budgets(ratio=ratio), ratio))


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
    said = list(plan_notes(record, Scoring("mine", "none"), Budgets(**{budget: 1}), 0.2))
    told = [note for note in said if "older than the counting of sliding windows" in note]
    assert bool(told) == (sliding and budget != "parameters")
