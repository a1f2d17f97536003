"""Layer by layer: what an analysis finds there, and what a plan leaves of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from globalprune.artifacts.analyses.analysis_folder import Analysis, read_analysis
from globalprune.artifacts.groups import GROUP_TYPES, GroupType
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.plans.prune_plan import PrunePlan
from globalprune.errors import UsageError
from globalprune.planning.review import review_plan
from globalprune.planning.scoring import Scoring, scored_table, scoring_of


@dataclass(frozen=True)
class HalfPicture:
    """One half of a layer."""

    groups: int
    kept: int
    importance: float | None  # of all its groups, as a share of the model's; None: not measured
    lost: float | None  # the share that goes


@dataclass(frozen=True)
class LayerPicture:
    """One layer, its halves by kind."""

    layer_idx: int
    halves: dict[GroupType, HalfPicture]
    dropped: bool


@dataclass(frozen=True)
class Picture:
    """All layers; `plan` is None where only an analysis is shown."""

    layers: tuple[LayerPicture, ...]
    scoring: Scoring
    plan: PrunePlan | None
    effect: PlanEffect | None
    notes: tuple[str, ...]


def picture_of(path: Path, analysis_folder: Path | None, importance: str | None) -> Picture:
    """Look at an analysis folder, or at a plan through the analysis that it was made from.

    Raise `UsageError` for a plan whose analysis is not there.
    """
    if path.is_dir():
        analysis = read_analysis(path)
        scoring = scoring_of(analysis.record, importance)
        return Picture(_layers(analysis, scoring, None), scoring, None, None, ())
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
    layers = _layers(known.analysis, scoring, known.effect)
    return Picture(layers, scoring, review.plan, known.effect, review.notes)


def _layers(
    analysis: Analysis, scoring: Scoring, effect: PlanEffect | None
) -> tuple[LayerPicture, ...]:
    """A picture of every layer."""
    table = scored_table(analysis, scoring)
    total = float(table.importance.sum()) or 1.0
    found = []
    for at, layer in enumerate(analysis.record.structure.layers):
        cut = effect.layers[at] if effect else None
        halves: dict[GroupType, HalfPicture] = {}
        for kind in GROUP_TYPES:
            groups = layer.half(kind).groups
            kept = cut.of(kind) if cut else range(groups)
            rows = table.halves.get((at, kind))
            worth = lost = None
            if rows is not None:
                shares = table.importance[rows] / total
                worth = float(shares.sum())
                lost = worth - float(shares[np.asarray(kept, np.int64)].sum())
            halves[kind] = HalfPicture(groups, len(kept), worth, lost)
        found.append(LayerPicture(at, halves, dropped=cut.dropped if cut else False))
    return tuple(found)
