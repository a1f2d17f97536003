"""What is known of a plan: its figures, hand edits and violations; for gp check and gp show."""

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
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.plans.plan_file import PlanDocument, open_plan
from globalprune.artifacts.plans.plan_summary import LayerSummary, find_analysis, layer_summaries
from globalprune.errors import ArtifactError, UsageError
from globalprune.planning.diff import SublayerDifference, differences
from globalprune.planning.eligibility import Pins
from globalprune.planning.latency import cited_machine, latency_of, latency_violations
from globalprune.planning.planner import make_plan
from globalprune.planning.summary import PlanFigures, figures_of, importance_of


@dataclass(frozen=True)
class PlanReview:
    """A plan that was read and found valid; what its analysis alone can tell may be None."""

    document: PlanDocument
    plan: PrunePlan
    figures: PlanFigures | None  # None: there is no analysis
    latency: float | None  # milliseconds a token, by the machine that the plan names
    edits: tuple[SublayerDifference, ...] | None  # None: what gp plan wrote can't be made again
    warnings: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The file of the plan."""
        return self.document.path


@dataclass(frozen=True)
class Overview:
    """An analysis, or a plan with it, layer by layer."""

    layers: tuple[LayerSummary, ...]
    scoring: Scoring
    plan: PrunePlan | None  # None: an analysis alone
    effect: PlanEffect | None
    warnings: tuple[str, ...]
    trial_warning: str | None  # why the analysis is doubted, if that is about these scores


def review_plan(path: Path, analysis_folder: Path | None = None) -> PlanReview:
    """Read a plan, and count what it does; raise `PlanInvalid` with all that is wrong with it.

    The analysis is `analysis_folder`, else the one that the plan names, if it is still that one.
    """
    document = open_plan(path)
    analysis, warning = find_analysis(document.analysis, path, analysis_folder)
    plan = document.plan(analysis.record.structure if analysis else None)
    if analysis is None:
        return PlanReview(document, plan, None, None, None, (warning,))
    importance, scoring_warning = importance_of(plan, analysis)
    figures = figures_of(plan, analysis, importance)
    model, structure = analysis.record.model, analysis.record.structure
    machine, machine_warning = cited_machine(plan, path, structure)
    latencies = machine.latencies if machine else None
    broken = list(violations(plan, figures.effect, structure, model.traits, model.storage))
    if latencies is not None:
        broken += latency_violations(plan, figures.effect, latencies)
    warnings = (
        *filter(None, (warning, scoring_warning, machine_warning)),
        *figures.resources.warnings,
        *(f"{path}: {violation}" for violation in broken),
    )
    latency = latency_of(figures.effect, latencies) if latencies else None
    edits = _edits(plan, analysis, latencies)
    return PlanReview(document, plan, figures, latency, edits, warnings)


def overview_of(path: Path, analysis_folder: Path | None, importance: str | None) -> Overview:
    """Return the layers of an analysis folder, or of a plan with the analysis it was made from.

    Raise `UsageError` for a plan whose analysis is missing.
    """
    if path.is_dir():
        analysis = read_analysis(path)
        scoring = scoring_of(analysis.record, importance)
        layers = layer_summaries(analysis.record.structure, scored_table(analysis, scoring), None)
        return Overview(layers, scoring, None, None, (), doubt_of(analysis.record, scoring))
    review = review_plan(path, analysis_folder)
    if review.figures is None:
        raise UsageError(
            f"{path}: its analysis is needed for the sizes of the layers; name it with --analysis."
            f"\n{' '.join(review.warnings)}"
        )
    figures = review.figures
    analysis, scoring = figures.analysis, figures.importance.scoring
    if importance is not None:
        scoring = scoring_of(analysis.record, importance)
    table = scored_table(analysis, scoring)
    layers = layer_summaries(figures.structure, table, figures.effect)
    trial_warning = doubt_of(analysis.record, scoring)
    return Overview(layers, scoring, review.plan, figures.effect, review.warnings, trial_warning)


def _edits(
    plan: PrunePlan, analysis: Analysis, latencies: Latencies | None
) -> tuple[SublayerDifference, ...] | None:
    """What a person changed since gp plan wrote the plan."""
    if not plan.edited:
        return ()
    if plan.target is None or plan.analysis is None:
        return None
    for layers in (plan.pin, {}):  # the pins may be the edit
        try:
            again = make_plan(
                analysis,
                plan.target,
                importance=plan.analysis.importance,
                normaliser=plan.analysis.normalised_by,
                pins=Pins(layers),
                latencies=latencies,
            ).plan
        except (ArtifactError, UsageError):
            continue
        if again.decisions_digest() == plan.generated:
            return differences(again, plan, analysis.record.structure)
    return None
