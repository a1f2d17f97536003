"""From a target and a table to a plan."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from globalprune.artifacts.analyses.analysis import (
    Analysis,
    AnalysisRecord,
    Scoring,
    scored_table,
    scoring_of,
)
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.disk import relative_path
from globalprune.artifacts.evaluations.latency_table import Latencies
from globalprune.artifacts.plans.budgets import BudgetStatus
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import (
    AnalysisReference,
    Budgets,
    LayerCuts,
    ModelReference,
    PrunePlan,
    Target,
)
from globalprune.artifacts.plans.plan_compliance import rule_violations
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.plans.plan_file import PLAN_FILE
from globalprune.artifacts.structure import unprunable_reason
from globalprune.planning.eligibility import Pins
from globalprune.planning.knapsack import Mask, Selection
from globalprune.planning.options import option_name
from globalprune.planning.problem import PlanningProblem
from globalprune.planning.summary import ImportanceByGroup, PlanFigures, figures_of


@dataclass(frozen=True)
class PlanResult:
    """A plan, and how far it does what its target demands."""

    plan: PrunePlan
    path: Path  # of its file, which need not be written
    figures: PlanFigures
    statuses: tuple[BudgetStatus, ...]  # of every budget of the target
    obstacles: tuple[str, ...]  # the options, or the pins, without which the budgets were met
    violations: tuple[str, ...]  # of constraints and pins, whether the budgets are met or not
    warnings: tuple[str, ...]
    written: bool = False

    @property
    def effect(self) -> PlanEffect:
        """Return what the plan does, layer by layer."""
        return self.figures.effect

    @property
    def is_met(self) -> bool:
        """Return whether every budget and every constraint is kept."""
        return all(status.is_met for status in self.statuses) and not self.violations

    @property
    def all_measured(self) -> bool:
        """Return whether the analysis measured every layer."""
        record = self.figures.analysis.record
        return record.layers == (0, len(record.structure.layers))

    @property
    def out_of_reach(self) -> int:
        """Return the parameters in no measured group, which no plan removes."""
        record = self.figures.analysis.record
        return record.structure.parameters - record.removable

    @property
    def limits_text(self) -> str:
        """Return the options, pins and groups that limit what goes."""
        constraints = self.plan.target.constraints.explicit() if self.plan.target else {}
        limits = [option_name(name) for name in constraints]
        pins = ["the pins"] if self.plan.pin else []
        return " and ".join([*limits, *pins, "the measured groups"])

    @property
    def reachable_text(self) -> str:
        """Return what the budgets that are not met could ask for; empty where all are met."""
        return " and ".join(
            status.requirement.reachable(status.saved)
            for status in self.statuses
            if not status.is_met
        )

    def budgets_text(self, status: BudgetStatus) -> str:
        """Spell the budgets that a status is of, as options with their values."""
        budgets = self.plan.target.explicit() if self.plan.target else {}
        names = status.requirement.budgets
        return " and ".join(f"{option_name(name)} {budgets[name]}" for name in names)


def make_plan(
    analysis: Analysis,
    target: Target,
    *,
    importance: str | None = None,
    normaliser: str | None = None,
    pins: Pins | None = None,
    latencies: Latencies | None = None,
    path: Path | None = None,
) -> PlanResult:
    """Return the plan that removes what is worth least, until every budget of the target is met.

    A budget that can't be met gives the largest plan. `path` is the file that the plan is for,
    plan.yaml in the analysis by default. Raise `PlanInvalid` where pins can't be honoured,
    `TableInvalid` where the importance is missing, and `UsageError` for an unknown normaliser and
    for a latency without `latencies`.
    """
    scoring = scoring_of(analysis.record, importance, normaliser)
    table = scored_table(analysis, scoring)
    pins = pins or Pins()
    problem = PlanningProblem(analysis, table, target, pins, latencies)
    solved, selection = problem.solve()
    folder = "." if path is None else relative_path(path.parent, analysis.folder)
    plan = PrunePlan(
        model=_model_reference(analysis),
        analysis=_analysis_reference(analysis, scoring, folder),
        target=target,
        pin=dict(pins.layers),
        layers=_cuts(table, selection.removed),
    )
    plan = plan.model_copy(update={"generated": plan.decisions_digest()})
    figures = figures_of(plan, analysis, ImportanceByGroup.of(table, scoring))
    statuses = problem.statuses(selection.removed)
    met = all(status.is_met for status in statuses)
    record = analysis.record
    violations = rule_violations(plan, figures.effect, record.structure, record.model.traits)
    return PlanResult(
        plan,
        path or analysis.folder / PLAN_FILE,
        figures,
        statuses,
        () if met else tuple(problem.obstacles()),
        tuple(violations),
        tuple(_warnings(solved, selection, figures)),
    )


def analysis_warnings(
    record: AnalysisRecord, scoring: Scoring, target: Budgets, ratio: float
) -> Iterator[str]:
    """Yield what a person should know of an analysis for a plan that removes `ratio` of all."""
    incomparable = scoring.importance in record.incomparable and scoring.normaliser == "none"
    if incomparable and len(record.measured) > 1:
        yield (
            f"{scoring.importance} is not comparable between layers: one ranking over all of them "
            "destroys a model; plan with a normaliser (--normaliser mean) or another importance, "
            "or measure few layers (gp analyze --layers)."
        )
    for kind, sublayer in record.structure.fixed.items():
        yield f"{unprunable_reason(kind, sublayer)}; only other groups go."
    if _lacks_windows(record) and {"kv_cache", "flops"} & target.amounts().keys():
        yield (
            "this analysis is older than the counting of sliding windows, so every layer counts as "
            "one that sees the whole context; measure again for figures of its windows."
        )
    if ratio:
        yield from _reliability_warnings(record, scoring, ratio)


def assumption_of(record: AnalysisRecord, importance: str) -> Literal["compensation"] | None:
    """Return what must happen at apply for the importance to be right."""
    return "compensation" if importance in record.compensated else None


def _warnings(
    problem: PlanningProblem, selection: Selection, figures: PlanFigures
) -> Iterator[str]:
    """Yield what a person should know of the plan, the resources and the analysis first."""
    effect, record = figures.effect, problem.analysis.record
    yield from figures.resources.warnings
    scoring = figures.importance.scoring
    yield from analysis_warnings(record, scoring, problem.target, effect.ratio)
    required = {"the pins": problem.pinned, "pins and bounds": problem.eligibility}
    for what, eligibility in required.items():
        statuses = problem.statuses(eligibility.required)
        over = [status for status in statuses if status.saved > status.requirement.to_save]
        for status in over:
            saved, to_save = status.saved, status.requirement.to_save
            more = f"more than the {status.requirement.describe(to_save)} required"
            yield f"{what} alone remove {status.requirement.describe(saved)}, {more}."
        if over:
            break
    for kind, groups in effect.removed_groups.items():
        if groups and not any(layer.of(kind) for layer in effect.layers):
            yield f"every layer loses all of its {kind}; ask for less if that isn't meant."
    if selection.gap:
        gap = f"{100 * selection.gap:.2g} %"
        yield f"another plan under the same constraints may lose less importance, by {gap} at most."


def _lacks_windows(record: AnalysisRecord) -> bool:
    """Whether the model has layers with a window, and the analysis is too old to say which."""
    traits = record.model.traits
    recorded = any(layer.window for layer in record.structure.layers)
    return traits is not None and traits.sliding_window and not recorded


def _reliability_warnings(record: AnalysisRecord, scoring: Scoring, ratio: float) -> Iterator[str]:
    """Yield a warning where the halves of the windows disagree about what the plan ranks by."""
    reliability = record.reliability.get(scoring.importance)
    if reliability is None or scoring.normaliser != record.normaliser_of(scoring.importance):
        return  # nothing is known of other scores
    doubts = " and ".join(reliability.doubts(ratio))
    if doubts:
        yield (
            f"{scoring} is unsure: each half of the {record.calibration.samples} windows ranks the "
            f"groups for itself, and {doubts}; measure with more --samples."
        )


def _cuts(table: GroupTable, removed: Mask) -> dict[int, LayerCuts]:
    """Return the rows that go, layer by layer, as sets of indices."""
    cuts: dict[int, dict[str, IndexSet]] = {}
    for (layer, kind), rows in table.sublayers.items():
        indices = np.flatnonzero(removed[rows])
        if len(indices):
            whole = len(indices) == len(rows)
            cut = IndexSet(everything=True) if whole else IndexSet.of(indices)
            cuts.setdefault(layer, {})[kind] = cut
    return {layer: LayerCuts.model_validate(sublayers) for layer, sublayers in cuts.items()}


def _model_reference(analysis: Analysis) -> ModelReference:
    """Return the measured model, as a plan names it."""
    model = analysis.record.model
    return ModelReference(
        source=model.source,
        structure=model.structure_fingerprint,
        weights=model.weights_fingerprint,
        revision=model.revision,
    )


def _analysis_reference(analysis: Analysis, scoring: Scoring, folder: str) -> AnalysisReference:
    """Return the analysis, as a plan names it that reaches it by that path."""
    return AnalysisReference(
        path=folder,
        table=analysis.record.table,
        importance=scoring.importance,
        normaliser=None if scoring.normaliser == "none" else scoring.normaliser,
        assumes=assumption_of(analysis.record, scoring.importance),
    )
