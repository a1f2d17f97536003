"""What is known of a plan: its analysis, hand edits, broken pins; for gp check and gp show."""

from dataclasses import dataclass
from pathlib import Path

from globalprune.artifacts.analyses.analysis import (
    Analysis,
    Scoring,
    doubt_of,
    read_analysis,
    scored_table,
    scoring_of,
)
from globalprune.artifacts.evaluations.latency import Latencies
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_compliance import violations
from globalprune.artifacts.plans.plan_effect import PlanEffect, effect_of
from globalprune.artifacts.plans.plan_file import open_plan
from globalprune.artifacts.plans.plan_summary import LayerSummary, find_analysis, layer_summaries
from globalprune.artifacts.structure import ModelStructure
from globalprune.errors import ArtifactError, UsageError
from globalprune.planning.diff import SublayerDifference, differences
from globalprune.planning.latency import cited_machine, latency_of, latency_violations
from globalprune.planning.planner import make_plan
from globalprune.planning.summary import (
    ImportanceByGroup,
    Optimality,
    Resources,
    importance_of,
    optimality_of,
    resources_of,
)


@dataclass(frozen=True)
class Known:
    """What only the analysis can tell of a plan."""

    analysis: Analysis
    effect: PlanEffect
    worth: ImportanceByGroup
    optimality: Optimality | None  # None: layers go that were not measured
    resources: Resources
    latency: float | None  # milliseconds a token, by the machine that the plan names
    edits: tuple[SublayerDifference, ...] | None  # None: what gp plan wrote can't be made again

    @property
    def doubt(self) -> str | None:
        """Why the analysis is doubted, if it is for the scores that the plan was made by."""
        return doubt_of(self.analysis.record, self.worth.scoring)

    @property
    def structure(self) -> ModelStructure:
        """The groups of the model that was measured."""
        return self.analysis.record.structure


@dataclass(frozen=True)
class Review:
    """A plan that was read and found valid; `known` is None without its analysis."""

    path: Path
    plan: PrunePlan
    known: Known | None
    notes: tuple[str, ...]


def review_plan(path: Path, analysis_folder: Path | None = None) -> Review:
    """Read a plan, and all that its analysis tells of it; raise with all that is wrong with it.

    The analysis is `analysis_folder`, else the one that the plan names, if it is still that one.
    """
    document = open_plan(path)
    analysis, note = find_analysis(document.analysis, path, analysis_folder)
    plan = document.plan(analysis.record.structure if analysis else None)
    if analysis is None:
        return Review(path, plan, None, (note,))
    effect = effect_of(plan, analysis.record.structure)
    worth, doubt = importance_of(plan, analysis)
    optimality = optimality_of(plan, analysis.record.structure, effect, worth)
    machine, unknown = cited_machine(plan, path, analysis.record.structure)
    latencies = machine.latencies if machine else None
    edits = _edits(plan, analysis, latencies)
    latency = latency_of(effect, latencies) if latencies else None
    model = analysis.record.model
    resources = resources_of(plan, effect, analysis.record.structure, model.storage)
    known = Known(analysis, effect, worth, optimality, resources, latency, edits)
    wishes = list(violations(plan, effect, known.structure, model.traits, model.storage))
    if machine is not None:
        wishes += latency_violations(plan, effect, machine.latencies)
    notes = (
        *filter(None, (note, doubt, unknown)),
        *resources.notes,
        *(f"{path}: {wish}" for wish in wishes),
    )
    return Review(path, plan, known, notes)


def _edits(
    plan: PrunePlan, analysis: Analysis, latencies: Latencies | None
) -> tuple[SublayerDifference, ...] | None:
    """What a person changed, from what gp plan wrote to what stands there now."""
    if not plan.edited:
        return ()
    if plan.target is None or plan.analysis is None:
        return None
    for pins in (plan.pin, {}):  # the pins may be the edit
        try:
            again = make_plan(
                analysis,
                plan.target,
                importance=plan.analysis.importance,
                normaliser=plan.analysis.normalised_by,
                pins=pins,
                latencies=latencies,
            ).plan
        except (ArtifactError, UsageError):
            continue
        if again.decisions_digest() == plan.generated:
            return differences(again, plan, analysis.record.structure)
    return None


@dataclass(frozen=True)
class Picture:
    """All layers; `plan` is None where only an analysis is shown."""

    layers: tuple[LayerSummary, ...]
    scoring: Scoring
    plan: PrunePlan | None
    effect: PlanEffect | None
    notes: tuple[str, ...]
    doubt: str | None  # about the analysis, if it is of these scores


def overview_of(path: Path, analysis_folder: Path | None, importance: str | None) -> Picture:
    """Look at an analysis folder, or at a plan through the analysis that it was made from.

    Raise `UsageError` for a plan whose analysis is not there.
    """
    if path.is_dir():
        analysis = read_analysis(path)
        scoring = scoring_of(analysis.record, importance)
        layers = layer_summaries(analysis.record.structure, scored_table(analysis, scoring), None)
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
    layers = layer_summaries(known.structure, table, known.effect)
    doubt = doubt_of(known.analysis.record, scoring)
    return Picture(layers, scoring, review.plan, known.effect, review.notes, doubt)
