"""From an analysis and a target to a plan. Nothing is read or written here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.analyses.analysis import (
    Analysis,
    AnalysisRecord,
    Scoring,
    scored_table,
    scoring_of,
)
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.evaluations.latency import Latencies
from globalprune.artifacts.plans.budgets import Met
from globalprune.artifacts.plans.index_set import IndexRanges
from globalprune.artifacts.plans.plan import (
    AnalysisReference,
    LayerCuts,
    ModelReference,
    PrunePlan,
    Target,
)
from globalprune.artifacts.plans.plan_compliance import broken_bounds
from globalprune.artifacts.plans.plan_effect import PlanEffect, effect_of
from globalprune.planning.asked import option_of
from globalprune.planning.knapsack.problem import Mask
from globalprune.planning.notes import plan_notes
from globalprune.planning.pins import Pins
from globalprune.planning.question import Answer, Question
from globalprune.planning.resources import Resources, resources_of


@dataclass(frozen=True)
class Planned:
    """A plan, and how far it does what was asked."""

    plan: PrunePlan
    effect: PlanEffect
    met: tuple[Met, ...]  # what was asked, and how far it is kept
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

    def asked_text(self, met: Met) -> str:
        """The budgets of a need, as they were asked."""
        said = self.plan.target.said() if self.plan.target else {}
        return " and ".join(f"{option_of(name)} {said[name]}" for name in met.need.asked)

    def reachable_text(self, met: Met) -> str:
        """What they could ask for."""
        return met.need.reachable(met.saved)

    @property
    def limits_text(self) -> str:
        """What bounds the plan, in words."""
        said = self.plan.target.constraints.said() if self.plan.target else {}
        bound = [option_of(name) for name in said]
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
) -> Planned:
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
    broken = tuple(broken_bounds(plan, effect, structure, analysis.record.model.traits))
    in_the_way = () if answer.reached else tuple(question.in_the_way())
    resources = resources_of(plan, effect, structure, analysis.record.model.storage)
    doubts = plan_notes(analysis.record, scoring, question.target, effect.ratio)
    notes = (*resources.notes, *doubts, *_notes(answer, effect))
    all_measured = analysis.record.layers == (0, len(structure.layers))
    return Planned(
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
    cuts: dict[int, dict[str, IndexRanges]] = {}
    for (layer, kind), rows in table.halves.items():
        gone = np.flatnonzero(taken[rows])
        if len(gone):
            whole = len(gone) == len(rows)
            ranges = IndexRanges(everything=True) if whole else _ranges(gone)
            cuts.setdefault(layer, {})[kind] = ranges
    return {layer: LayerCuts.model_validate(halves) for layer, halves in cuts.items()}


def _ranges(indices: NDArray[np.intp]) -> IndexRanges:
    """Ascending indices as ranges."""
    breaks = np.flatnonzero(np.diff(indices) > 1)
    firsts = indices[np.concatenate([[0], breaks + 1])].tolist()
    lasts = indices[np.concatenate([breaks, [len(indices) - 1]])].tolist()
    return IndexRanges(tuple(zip(firsts, lasts, strict=True)))


def _model_of(analysis: Analysis) -> ModelReference:
    """The measured model, as a plan names it."""
    model = analysis.record.model
    return ModelReference(
        source=model.source,
        structure=model.structure_fingerprint,
        weights=model.weights_fingerprint,
        revision=model.revision,
    )
