"""Layer by layer: what an analysis finds there, and what a plan leaves of it."""

from dataclasses import dataclass
from pathlib import Path

from globalprune.artifacts.analyses.analysis import (
    Scoring,
    doubt_of,
    read_analysis,
    scored_table,
    scoring_of,
)
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.plans.plan_summary import LayerPicture, layer_pictures
from globalprune.errors import UsageError
from globalprune.planning.review import review_plan


@dataclass(frozen=True)
class Picture:
    """All layers; `plan` is None where only an analysis is shown."""

    layers: tuple[LayerPicture, ...]
    scoring: Scoring
    plan: PrunePlan | None
    effect: PlanEffect | None
    notes: tuple[str, ...]
    doubt: str | None  # about the analysis, if it is of these scores


def picture_of(path: Path, analysis_folder: Path | None, importance: str | None) -> Picture:
    """Look at an analysis folder, or at a plan through the analysis that it was made from.

    Raise `UsageError` for a plan whose analysis is not there.
    """
    if path.is_dir():
        analysis = read_analysis(path)
        scoring = scoring_of(analysis.record, importance)
        layers = layer_pictures(analysis.record.structure, scored_table(analysis, scoring), None)
        return Picture(layers, scoring, None, None, (), doubt_of(analysis.record, scoring))
    review = review_plan(path, analysis_folder)
    if review.known is None:
        raise UsageError(
            f"{path}: its analysis is needed for the sizes of the layers; name it with --analysis."
            f"\n{' '.join(review.notes)}"
        )
    known = review.known
    scoring = known.worth.scoring
    if importance is not None:
        scoring = scoring_of(known.analysis.record, importance)
    table = scored_table(known.analysis, scoring)
    layers = layer_pictures(known.structure, table, known.effect)
    doubt = doubt_of(known.analysis.record, scoring)
    return Picture(layers, scoring, review.plan, known.effect, review.notes, doubt)
