"""From a target and a table to a plan."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, partial
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
from globalprune.artifacts.evaluations.latency import Latencies
from globalprune.artifacts.plans.budgets import BudgetRequirement, BudgetStatus, requirements_of
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import (
    AnalysisReference,
    Budgets,
    Constraints,
    LayerCuts,
    ModelReference,
    PrunePlan,
    Target,
)
from globalprune.artifacts.plans.plan_compliance import rule_violations
from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.plans.plan_file import PLAN_FILE
from globalprune.artifacts.structure import unprunable_reason
from globalprune.errors import PlanInvalid, UsageError
from globalprune.planning.eligibility import (
    Eligibility,
    Pins,
    add_runtime_constraints,
    apply_constraints,
    apply_pins,
    fix_attention_groups,
    refuse_unsatisfiable,
    stock_widths,
)
from globalprune.planning.knapsack import Mask, Selection
from globalprune.planning.latency import LatencyBudget, select_within_latency
from globalprune.planning.layerwise import DEFAULT_SHARE, select_by_layer
from globalprune.planning.options import option_name
from globalprune.planning.selection import select
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
        """What the plan does, layer by layer."""
        return self.figures.effect

    @property
    def is_met(self) -> bool:
        """Whether every budget and every constraint is kept."""
        return all(status.is_met for status in self.statuses) and not self.violations

    @property
    def all_measured(self) -> bool:
        """Whether the analysis measured every layer."""
        record = self.figures.analysis.record
        return record.layers == (0, len(record.structure.layers))

    @property
    def out_of_reach(self) -> int:
        """The parameters in no measured group, which no plan removes."""
        record = self.figures.analysis.record
        return record.structure.parameters - record.removable

    @property
    def limits_text(self) -> str:
        """The options, pins and groups that limit what goes."""
        constraints = self.plan.target.constraints.explicit() if self.plan.target else {}
        limits = [option_name(name) for name in constraints]
        pins = ["the pins"] if self.plan.pin else []
        return " and ".join([*limits, *pins, "the measured groups"])

    @property
    def reachable_text(self) -> str:
        """What the budgets that are not met could ask for; empty where all are met."""
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


@dataclass(frozen=True, eq=False)
class PlanningProblem:
    """A target and a person's pins, for the groups of a table."""

    analysis: Analysis
    table: GroupTable  # scored as the plan is to be
    target: Target
    pins: Pins
    latencies: Latencies | None = None  # of the machine that the target names
    attention_groups: int | None = None  # that every layer keeps; None: any number
    nested_in: Mask | None = None  # the rows of the next smaller plan, where they are known

    def solve(self) -> "tuple[PlanningProblem, Selection]":
        """Return what goes; where the layers' widths are tried one by one, with the best width.

        Raise `PlanInvalid` where pins or constraints can't be kept, and `UsageError` where the
        options contradict the model.
        """
        record = self.analysis.record
        refuse_unsatisfiable(self.constraints, record.structure)
        if self.constraints.uniform and len(record.measured) < len(record.structure.layers):
            raise UsageError(
                "layers that are alike: only layers "
                f"{record.layers[0]}:{record.layers[1]} were measured, and the others stay as they "
                "are; analyze all of them, or plan without --uniform (and without --for)."
            )
        widths = stock_widths(record) if self.constraints.uniform else []
        return self._solve_widths(widths) if widths else (self, self.select())

    def select(self) -> Selection:
        """Return what goes, by the strategy of the target."""
        requirements, constraints = self._requirements, self.constraints
        prunable, source = self.analysis.record.structure.prunable, self.pins.source
        if self.target.strategy == "layerwise":
            share = constraints.attention_share
            return select_by_layer(
                self.table,
                self.eligibility,
                self._parameters_to_remove(),
                DEFAULT_SHARE if share is None else share,
                prunable=prunable,
                source=source,
            )
        select_for = partial(
            select, self.table, self.eligibility, constraints, prunable=prunable, source=source
        )
        budget = self._latency_budget()
        if budget is None:
            return select_for(requirements)
        most = self.eligibility.required | self.eligibility.allowed
        return select_within_latency(budget, most, lambda one: select_for((*requirements, one)))

    def statuses(self, removed: Mask) -> tuple[BudgetStatus, ...]:
        """Return how far each budget is met where these rows go."""
        kinds = self.table.group_type
        statuses = [
            BudgetStatus(one, int(one.costs_of(self.table.layer_idx, kinds)[removed].sum()))
            for one in self._requirements
        ]
        budget = self._latency_budget()
        return (*statuses, *([] if budget is None else [budget.status(removed)]))

    def obstacles(self) -> Iterator[str]:
        """Yield the option of every constraint without which the target is met, and the pins."""
        constraints = self.target.constraints
        for name in constraints.explicit():
            lifted = self.target.model_copy(update={"constraints": constraints.without(name)})
            if replace(self, target=lifted).can_be_met():
                yield option_name(name)
        if self.pins.layers and replace(self, pins=Pins()).can_be_met():
            yield "the pins"

    def can_be_met(self) -> bool:
        """Return whether some selection meets every budget."""
        try:
            problem, selection = self.solve()
        except (PlanInvalid, UsageError):
            return False
        return all(status.is_met for status in problem.statuses(selection.removed))

    @cached_property
    def constraints(self) -> Constraints:
        """The constraints of the target, and those that its runtime brings."""
        return add_runtime_constraints(self.target.constraints, self.analysis.record)

    @cached_property
    def pinned(self) -> Eligibility:
        """The rows that the pins require and allow."""
        return apply_pins(self.analysis, self.table, self.pins)

    @cached_property
    def eligibility(self) -> Eligibility:
        """The rows that pins, smaller plans and constraints require and allow."""
        inner = self._inner
        eligibility = Eligibility(self.pinned.required | inner, self.pinned.allowed & ~inner)
        source = self.pins.source
        if self.attention_groups is not None:
            eligibility = fix_attention_groups(
                self.table, eligibility, self.attention_groups, source
            )
        return apply_constraints(self.table, eligibility, self.constraints, source)

    @cached_property
    def _requirements(self) -> tuple[BudgetRequirement, ...]:
        """What every budget but the latency requires."""
        record = self.analysis.record
        return requirements_of(self.target, record.structure, record.model.storage)

    @cached_property
    def _inner(self) -> Mask:
        """The rows that the plan of the next smaller ratio removes, of nested plans."""
        if self.nested_in is not None:
            return self.nested_in
        if not self.target.within:
            return np.zeros(len(self.table), bool)
        *smaller, last = self.target.within
        inner = Target(ratio=last, within=tuple(smaller), constraints=self.target.constraints)
        _, selection = replace(self, target=inner).solve()
        return selection.removed

    def _solve_widths(self, widths: list[int]) -> "tuple[PlanningProblem, Selection]":
        """The best of the selections for each width: the best of all, since widths are few."""
        solved: list[tuple[PlanningProblem, Selection]] = []
        refusals: list[PlanInvalid] = []
        for width in widths:
            problem = replace(self, attention_groups=width, nested_in=self._inner)
            try:
                solved.append((problem, problem.select()))
            except PlanInvalid as error:
                refusals.append(error)
        if not solved:
            raise refusals[-1]
        missing = [self._missing(selection) for _, selection in solved]
        lost = [self._lost(selection) for _, selection in solved]
        best = min(range(len(solved)), key=lambda at: (missing[at], lost[at]))
        problem, selection = solved[best]
        least = min(
            lost[at] * (1 - one.gap)
            for at, (_, one) in enumerate(solved)
            if not missing[at] or at == best
        )
        return problem, replace(selection, lost=lost[best], bound=least, proven=False)

    def _missing(self, selection: Selection) -> int:
        """What is missing of the budgets."""
        statuses = self.statuses(selection.removed)
        return sum(max(0, one.requirement.to_save - one.saved) for one in statuses)

    def _lost(self, selection: Selection) -> float:
        """The importance of all rows that go."""
        return float(self.table.importance[selection.removed].sum())

    def _latency_budget(self) -> LatencyBudget | None:
        """The latency of the target, by the machine that it names."""
        milliseconds, structure = self.target.latency, self.analysis.record.structure
        if milliseconds is None:
            return None
        if self.latencies is None:
            raise UsageError(
                "target.latency: is told by what gp measure wrote, and no such record is at hand; "
                "name it with --machine."
            )
        return LatencyBudget(self.latencies, milliseconds, self.table, structure)

    def _parameters_to_remove(self) -> int:
        """The fewest parameters that save enough of parameters and bytes, whatever groups go."""
        (parameters,) = requirements_of(Budgets(ratio=0), self.analysis.record.structure, None)
        fewest = []
        for requirement in self._requirements:
            saves = requirement.cost > 0
            pairs = zip(parameters.cost[saves], requirement.cost[saves], strict=True)
            worst = max((Fraction(int(a), int(b)) for a, b in pairs), default=Fraction(0))
            fewest.append(math.ceil(requirement.to_save * worst))
        return max(fewest)


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
    for kind in record.structure.fixed:
        yield f"{unprunable_reason(kind)}; only other groups go."
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
            more = f"more than the {status.requirement.describe(to_save)} asked"
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
    """The rows that go, layer by layer, as sets of indices."""
    cuts: dict[int, dict[str, IndexSet]] = {}
    for (layer, kind), rows in table.sublayers.items():
        indices = np.flatnonzero(removed[rows])
        if len(indices):
            whole = len(indices) == len(rows)
            cut = IndexSet(everything=True) if whole else IndexSet.of(indices)
            cuts.setdefault(layer, {})[kind] = cut
    return {layer: LayerCuts.model_validate(sublayers) for layer, sublayers in cuts.items()}


def _model_reference(analysis: Analysis) -> ModelReference:
    """The measured model, as a plan names it."""
    model = analysis.record.model
    return ModelReference(
        source=model.source,
        structure=model.structure_fingerprint,
        weights=model.weights_fingerprint,
        revision=model.revision,
    )


def _analysis_reference(analysis: Analysis, scoring: Scoring, folder: str) -> AnalysisReference:
    """The analysis, as a plan names it that reaches it by that path."""
    return AnalysisReference(
        path=folder,
        table=analysis.record.table,
        importance=scoring.importance,
        normaliser=None if scoring.normaliser == "none" else scoring.normaliser,
        assumes=assumption_of(analysis.record, scoring.importance),
    )
