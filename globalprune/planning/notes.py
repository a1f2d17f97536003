"""What a person should know of a plan beyond its figures: how sure its scores are, what stays."""

from collections.abc import Iterator

from globalprune.artifacts.analyses.analysis import AnalysisRecord, Scoring
from globalprune.artifacts.plans.plan import Budgets
from globalprune.artifacts.structure import why_fixed


def plan_notes(
    record: AnalysisRecord, scoring: Scoring, target: Budgets, ratio: float
) -> Iterator[str]:
    """Yield a sentence for each; the plan for `target` removes `ratio` of all parameters."""
    incomparable = scoring.importance in record.incomparable and scoring.normaliser == "none"
    if incomparable and len(record.measured) > 1:
        yield (
            f"{scoring.importance} is not comparable between layers: one ranking over all of them "
            "destroys a model; plan with a normaliser (--normaliser mean) or another importance, "
            "or measure few layers (gp analyze --layers)."
        )
    for kind in record.structure.fixed:
        yield f"{why_fixed(kind)}; only other groups go."
    if _counts_windows_as_all(record) and {"kv_cache", "flops"} & target.counted().keys():
        yield (
            "this analysis is older than the counting of sliding windows, so every layer counts as "
            "one that sees the whole context; measure again for figures of its windows."
        )
    if ratio:
        yield from _unsure(record, scoring, ratio)


def _counts_windows_as_all(record: AnalysisRecord) -> bool:
    """Whether the model has layers with a window, which the analysis doesn't say of any."""
    traits = record.model.traits
    said = any(layer.window for layer in record.structure.layers)
    return traits is not None and traits.sliding_window and not said


def _unsure(record: AnalysisRecord, scoring: Scoring, ratio: float) -> Iterator[str]:
    """Yield a doubt where the halves of the windows disagree about what the plan ranks by."""
    found = record.reliability.get(scoring.importance)
    if found is None or scoring.normaliser != record.normaliser_of(scoring.importance):
        return  # nothing is known of other scores
    doubts = " and ".join(found.doubts(ratio))
    if doubts:
        yield (
            f"{scoring} is unsure: each half of the {record.calibration.samples} windows ranks the "
            f"groups for itself, and {doubts}; measure with more --samples."
        )
