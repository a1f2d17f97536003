"""From a target and a table to a plan, with the notes that a reader needs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np

from globalprune.artifacts.analyses.analysis import (
    Analysis,
    AnalysisRecord,
    Scoring,
    scored_table,
    scoring_of,
)
from globalprune.artifacts.analyses.group_table import GroupTable
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
from globalprune.artifacts.plans.plan_effect import PlanEffect, effect_of
from globalprune.artifacts.structure import unprunable_reason
from globalprune.errors import PlanInvalid, UsageError
from globalprune.planning.eligibility import (
    Eligibility,
    Pins,
    add_runtime_constraints,
    apply_constraints,
    apply_pins,
    fix_attention_groups,
    refuse_impossible,
    stock_widths,
)
from globalprune.planning.knapsack import Mask
from globalprune.planning.latency import LatencyBudget, select_within_latency
from globalprune.planning.layerwise import DEFAULT_SHARE, select_by_layer
from globalprune.planning.options import option_name
from globalprune.planning.selection import Choice, choose
from globalprune.planning.summary import Resources, resources_of


@dataclass(frozen=True, eq=False)
class Answer:
    """What goes, and how far every need is met."""

    choice: Choice
    met: tuple[BudgetStatus, ...]
    pinned: tuple[BudgetStatus, ...]  # the same by the pins alone
    bound: tuple[BudgetStatus, ...]  # the same by all that must go, before anything is chosen

    @property
    def reached(self) -> bool:
        """Whether at least what was asked is saved."""
        return all(one.reached for one in self.met)


@dataclass(frozen=True, eq=False)
class Question:
    """A target and a person's pins, for the groups of a table."""

    analysis: Analysis
    table: GroupTable  # scored as the plan is to be
    target: Target
    pins: Pins
    pins_of: str  # the file that they stand in
    latencies: Latencies | None = None  # of the machine that the target names

    @cached_property
    def constraints(self) -> Constraints:
        """What binds the answer: what was asked, and what the runtime needs."""
        return add_runtime_constraints(self.target.constraints, self.analysis.record)

    def answer(self) -> Answer:
        """Choose what goes; raise `PlanInvalid` where pins or constraints can't be kept."""
        record = self.analysis.record
        refuse_impossible(self.constraints, record.structure)
        if self.constraints.uniform and len(record.measured) < len(record.structure.layers):
            raise UsageError(
                "layers that are alike: only layers "
                f"{record.layers[0]}:{record.layers[1]} were measured, and the others stay as they "
                "are; analyze all of them, or plan without --uniform (and without --for)."
            )
        widths = stock_widths(record) if self.constraints.uniform else []
        if not widths:
            return self._answer()
        answers, refusals = [], []
        for width in widths:  # few; the best of the choices for each is the best choice
            try:
                answers.append(self._answer(width))
            except PlanInvalid as error:
                refusals.append(error)
        if not answers:
            raise refusals[-1]
        best = min(answers, key=self._shortfall_and_loss)
        lost = self._lost(best)
        least = min(
            self._lost(one) * (1 - one.choice.gap) for one in answers if one.reached or one is best
        )
        gap = max(0.0, 1 - least / lost) if lost else 0.0
        return replace(best, choice=replace(best.choice, gap=gap))

    def _shortfall_and_loss(self, answer: Answer) -> tuple[int, float]:
        """What is missing of the needs, and the importance that goes."""
        missing = sum(max(0, one.need.amount - one.saved) for one in answer.met)
        return missing, self._lost(answer)

    def _lost(self, answer: Answer) -> float:
        """The importance that goes."""
        return float(self.table.importance[answer.choice.taken].sum())

    def _answer(self, attention: int | None = None) -> Answer:
        """Choose what goes, where so many attention groups of every layer stay, if that is said."""
        record = self.analysis.record
        needs = requirements_of(self.target, record.structure, record.model.storage)
        pinned = apply_pins(self.analysis, self.table, self.pins, self.pins_of)
        bounded = self._bounded(pinned, attention)
        choice = self._choice(bounded, needs)
        masks = (choice.taken, pinned.required, bounded.required)
        return Answer(choice, *(self._met(needs, mask) for mask in masks))

    def _bounded(self, wishes: Eligibility, attention: int | None) -> Eligibility:
        """What must and may go by all that binds single sublayers."""
        inner = self._taken_within
        wishes = Eligibility(wishes.required | inner, wishes.free & ~inner)
        if attention is not None:
            wishes = fix_attention_groups(self.table, wishes, attention, self.pins_of)
        return apply_constraints(self.table, wishes, self.constraints, self.pins_of)

    def _choice(self, wishes: Eligibility, needs: tuple[BudgetRequirement, ...]) -> Choice:
        """What goes of that, by the strategy that was asked for."""
        constraints = self.constraints
        bounds: Any = {
            "prunable": self.analysis.record.structure.prunable,
            "where": self.pins_of,
        }
        if self.target.strategy == "layerwise":
            share = constraints.attention_share
            share = DEFAULT_SHARE if share is None else share
            amount = self._parameters_to_go(needs)
            taken = select_by_layer(self.table, wishes, amount, share, **bounds)
            return Choice(taken, 0.0)
        choose_for = partial(choose, self.table, wishes, constraints, **bounds)
        goal = self._goal()
        if goal is None:
            return choose_for(needs=needs)
        most = wishes.required | wishes.free
        return select_within_latency(goal, most, lambda need: choose_for(needs=(*needs, need)))

    def _goal(self) -> LatencyBudget | None:
        """The latency that is asked for."""
        milliseconds, structure = self.target.latency, self.analysis.record.structure
        if milliseconds is None:
            return None
        if self.latencies is None:
            raise UsageError(
                "target.latency: is told by what gp measure wrote, and no such record is at hand; "
                "name it with --machine."
            )
        return LatencyBudget(self.latencies, milliseconds, self.table, structure)

    def in_the_way(self) -> Iterator[str]:
        """Yield every constraint without which a budget could be kept, and the pins if so."""
        constraints = self.target.constraints
        for name in constraints.said():
            lifted = self.target.model_copy(update={"constraints": constraints.without(name)})
            if replace(self, target=lifted).can_be_reached():
                yield option_name(name)
        if self.pins and replace(self, pins={}).can_be_reached():
            yield "the pins"

    def can_be_reached(self) -> bool:
        """Whether it can be answered, and the answer is enough."""
        try:
            return self.answer().reached
        except (PlanInvalid, UsageError):
            return False

    @cached_property
    def _taken_within(self) -> Mask:
        """What the plans of smaller ratios remove, each all of the one before."""
        if not self.target.within:
            return np.zeros(len(self.table), bool)
        *smaller, last = self.target.within
        inner = Target(ratio=last, within=tuple(smaller), constraints=self.target.constraints)
        return replace(self, target=inner).answer().choice.taken

    def _met(self, needs: tuple[BudgetRequirement, ...], taken: Mask) -> tuple[BudgetStatus, ...]:
        """How far each need is met."""
        kinds = self.table.group_type
        met = [
            BudgetStatus(need, int(need.of_rows(self.table.layer_idx, kinds)[taken].sum()))
            for need in needs
        ]
        goal = self._goal()
        return (*met, *([] if goal is None else [goal.met_by(taken)]))

    def _parameters_to_go(self, needs: tuple[BudgetRequirement, ...]) -> int:
        """The fewest parameters that save enough of parameters and bytes, whatever groups go."""
        (parameters,) = requirements_of(Budgets(ratio=0), self.analysis.record.structure, None)
        cost = parameters.cost
        fewest = []
        for need in needs:
            may_go = need.cost > 0
            worst = max(
                (
                    Fraction(int(a), int(b))
                    for a, b in zip(cost[may_go], need.cost[may_go], strict=True)
                ),
                default=Fraction(0),
            )
            fewest.append(math.ceil(need.amount * worst))
        return max(fewest)


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
        yield f"{unprunable_reason(kind)}; only other groups go."
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


@dataclass(frozen=True)
class PlanResult:
    """A plan, and how far it does what was asked."""

    plan: PrunePlan
    effect: PlanEffect
    met: tuple[BudgetStatus, ...]  # what was asked, and how far it is kept
    resources: Resources
    in_the_way: tuple[str, ...]  # each alone keeps a budget from being reached
    broken: tuple[str, ...]  # constraints that are not kept, whether the budgets are or not
    all_measured: bool  # no layer was left out of the analysis
    outside: int  # parameters in no measured group: no plan removes them
    scoring: Scoring
    notes: tuple[str, ...]

    @property
    def reached(self) -> bool:
        """Whether at least what was asked is saved, and all else is kept."""
        return all(one.reached for one in self.met) and not self.broken

    def asked_text(self, met: BudgetStatus) -> str:
        """The budgets of a need, as they were asked."""
        said = self.plan.target.said() if self.plan.target else {}
        return " and ".join(f"{option_name(name)} {said[name]}" for name in met.need.asked)

    def reachable_text(self, met: BudgetStatus) -> str:
        """What they could ask for."""
        return met.need.reachable(met.saved)

    @property
    def limits_text(self) -> str:
        """What bounds the plan, in words."""
        said = self.plan.target.constraints.said() if self.plan.target else {}
        bound = [option_name(name) for name in said]
        pins = ["the pins"] if self.plan.pin else []
        return " and ".join([*bound, *pins, "the measured groups"])


def make_plan(
    analysis: Analysis,
    target: Target,
    *,
    importance: str | None = None,
    normaliser: str | None = None,
    pins: Pins | None = None,
    pins_of: str = "the pins",
    latencies: Latencies | None = None,
) -> PlanResult:
    """Remove what is worth least, all in all, until every budget of the target is kept.

    A budget that can't be reached gives the largest plan. `pins_of` names where `pins` stand; raise
    `PlanInvalid` where they can't be honoured, `TableInvalid` where the importance is not there,
    `UsageError` for a normaliser that there is not, and for a latency without `latencies`.
    """
    scoring = scoring_of(analysis.record, importance, normaliser)
    structure = analysis.record.structure
    table = scored_table(analysis, scoring)
    question = Question(analysis, table, target, pins or {}, pins_of, latencies)
    answer = question.answer()
    plan = PrunePlan(
        model=_model_of(analysis),
        analysis=AnalysisReference(
            path=".",
            table=analysis.record.table,
            importance=scoring.importance,
            normaliser=None if scoring.normaliser == "none" else scoring.normaliser,
            assumes=assumption_of(analysis.record, scoring.importance),
        ),
        target=target,
        pin=dict(pins or {}),
        layers=_cuts(table, answer.choice.taken),
    )
    plan = plan.model_copy(update={"generated": plan.decisions_digest()})
    effect = effect_of(plan, structure)
    broken = tuple(rule_violations(plan, effect, structure, analysis.record.model.traits))
    in_the_way = () if answer.reached else tuple(question.in_the_way())
    resources = resources_of(plan, effect, structure, analysis.record.model.storage)
    doubts = plan_notes(analysis.record, scoring, question.target, effect.ratio)
    notes = (*resources.notes, *doubts, *_notes(answer, effect))
    all_measured = analysis.record.layers == (0, len(structure.layers))
    return PlanResult(
        plan,
        effect,
        answer.met,
        resources,
        in_the_way,
        broken,
        all_measured,
        structure.parameters - analysis.record.removable,
        scoring,
        notes,
    )


def _notes(answer: Answer, effect: PlanEffect) -> Iterator[str]:
    """Yield what the pins do alone, what is gone wholly, and whether a better choice may exist."""
    for what, forced in (("the pins", answer.pinned), ("pins and bounds", answer.bound)):
        over = [met for met in forced if met.saved > met.need.amount]
        for met in over:
            more = f"more than the {met.need.text(met.need.amount)} asked"
            yield f"{what} alone remove {met.need.text(met.saved)}, {more}."
        if over:
            break
    for kind, groups in effect.removed_groups.items():
        if groups and not any(layer.of(kind) for layer in effect.layers):
            yield f"every layer loses all of its {kind}; ask for less if that isn't meant."
    if answer.choice.gap:
        gap = f"{100 * answer.choice.gap:.2g} %"
        yield f"another plan under the same constraints may lose less importance, by {gap} at most."


def assumption_of(record: AnalysisRecord, importance: str) -> Literal["compensation"] | None:
    """What must happen at apply for the importance to be right."""
    return "compensation" if importance in record.compensated else None


def _cuts(table: GroupTable, taken: Mask) -> dict[int, LayerCuts]:
    """The taken rows, layer by layer, as ranges of indices."""
    cuts: dict[int, dict[str, IndexSet]] = {}
    for (layer, kind), rows in table.sublayers.items():
        gone = np.flatnonzero(taken[rows])
        if len(gone):
            whole = len(gone) == len(rows)
            ranges = IndexSet(everything=True) if whole else IndexSet.of(gone)
            cuts.setdefault(layer, {})[kind] = ranges
    return {layer: LayerCuts.model_validate(sublayers) for layer, sublayers in cuts.items()}


def _model_of(analysis: Analysis) -> ModelReference:
    """The measured model, as a plan names it."""
    model = analysis.record.model
    return ModelReference(
        source=model.source,
        structure=model.structure_fingerprint,
        weights=model.weights_fingerprint,
        revision=model.revision,
    )
