"""A plan that is there already: what is known of it, and what the next plan takes over from it.

gp check and gp show print its figures, hand edits and violations. gp plan takes over its pins, and
with `--from` its target and its edits as pins.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from globalprune.artifacts.analyses.analysis import (
    Analysis,
    Scoring,
    doubt_of,
    read_analysis,
    scored_table,
    scoring_of,
)
from globalprune.artifacts.evaluations.latency_table import Latencies
from globalprune.artifacts.plans.plan import LayerPins, PrunePlan, SublayerPins
from globalprune.artifacts.plans.plan_compliance import violations
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.plans.plan_file import (
    PLAN_FILE,
    ExistingPlan,
    PlanDocument,
    open_plan,
    read_plan,
)
from globalprune.artifacts.plans.plan_summary import LayerSummary, find_analysis, layer_summaries
from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.errors import ArtifactError, UsageError
from globalprune.options import PlanOptions
from globalprune.planning.diff import SublayerDifference, differences
from globalprune.planning.eligibility import Pins
from globalprune.planning.latency_budget import (
    cited_machine,
    latency_of,
    latency_violations,
    machine_path,
)
from globalprune.planning.options import merge_constraints
from globalprune.planning.planner import make_plan
from globalprune.planning.summary import PlanFigures, figures_of, importance_of

ExistingPlans = Mapping[Path, ExistingPlan | None]  # by their files


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
        """Return the file of the plan."""
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


def inherited_pins(analysis: Analysis, path: Path, existing: ExistingPlans) -> Pins:
    """Return the pins that bind a plan at `path`: its own, else those of the analysis's plan.yaml.

    Pins of another structure bind nothing here. Raise `PlanInvalid` where they name what the
    structure lacks.
    """
    notes: list[str] = []
    replaced = existing.get(path)
    if replaced is not None and replaced.edited:
        notes.append(f"{path}: was edited by hand; its edits and comments were replaced.")
    structure = analysis.record.structure
    for source in dict.fromkeys((path, analysis.folder / PLAN_FILE)):
        found = existing.get(source)
        if found is None or not found.plan.pin:
            continue
        model = found.plan.model
        if model is not None and model.structure != structure.fingerprint:
            notes.append(f"the pins of {source} are for another structure ({model.source}).")
            continue
        pins = read_plan(source, structure).pin
        notes.append(f"honours the pins of {source} (layers {', '.join(map(str, pins))}).")
        return Pins(pins, str(source), tuple(notes))
    return Pins({}, str(path), tuple(notes))


def replan(options: PlanOptions, analysis: Analysis, path: Path) -> tuple[PlanOptions, Pins]:
    """Return the options with what the plan at `path` says where they don't, and its pins.

    Raise `UsageError` where the edits of the plan can't be found.
    """
    plan, pins = _edits_as_pins(analysis, path)
    if plan.analysis is not None and options.importance is None:
        options = replace(
            options,
            importance=plan.analysis.importance,
            normaliser=options.normaliser or plan.analysis.normalised_by,
        )
    if plan.target is None:
        return options, pins
    options = replace(
        options,
        constraints=merge_constraints(plan.target.constraints, options.constraints),
        strategy=options.strategy or plan.target.strategy,
    )
    if not options.ratios and not options.budgets.amounts():
        options = replace(
            options,
            ratios=() if plan.target.ratio is None else (plan.target.ratio,),
            budgets=plan.target.without_ratio(),
            machine=options.machine or machine_path(plan, path),
        )
    return options, pins


def _edits(
    plan: PrunePlan, analysis: Analysis, latencies: Latencies | None
) -> tuple[SublayerDifference, ...] | None:
    """Return what a person changed since gp plan wrote the plan."""
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


def _edits_as_pins(analysis: Analysis, path: Path) -> tuple[PrunePlan, Pins]:
    """Return the plan at `path`, and its pins together with what a person changed in it, as pins.

    A group that was taken out of the plan is one to keep, one that was added is one to remove. All
    that a plan removes which gp didn't write is an edit.
    """
    review = review_plan(path, analysis.folder)
    plan, edits = review.plan, review.edits
    if plan.generated is None:
        nothing = PrunePlan(layers={})
        edits = differences(nothing, plan, analysis.record.structure)
    if edits is None:
        raise UsageError(
            f"{path}: was edited, and what gp plan wrote can't be made again from "
            f"its target and {analysis.folder}, so that its edits can't be told from the rest; "
            "put the target back if you changed it, name the analysis that it was made from, or "
            "write the edits as pins."
        )
    layers = dict(plan.pin)
    for edit in edits:
        groups = analysis.record.structure.layers[edit.layer_idx].sublayer(edit.group_type).groups
        layers[edit.layer_idx] = _with_edit(layers.get(edit.layer_idx, LayerPins()), edit, groups)
    notes = (f"keeps the pins and edits of {path}.",)
    return plan, Pins(dict(sorted(layers.items())), str(path), notes)


def _with_edit(pins: LayerPins, edit: SublayerDifference, groups: int) -> LayerPins:
    """Return the pins of a layer with an edit of one sublayer, which overrules them."""
    old = pins.of(edit.group_type)
    stays, goes, keep, remove = (
        indices.resolved(groups)
        for indices in (edit.only_first, edit.only_second, old.keep, old.remove)
    )
    sublayer = SublayerPins(
        keep=(keep - goes) | stays, remove=(remove - stays) | goes, width=old.width
    )
    sublayers = {kind: pins.of(kind) for kind in GROUP_TYPES} | {edit.group_type: sublayer}
    return LayerPins(**sublayers)
