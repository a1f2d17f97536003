"""From an analysis and a ratio to a plan. Nothing is read or written here."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.analysis_folder import Analysis
from globalprune.artifacts.analysis_record import AnalysisRecord
from globalprune.artifacts.group_table import GroupTable
from globalprune.artifacts.groups import ModelStructure
from globalprune.artifacts.index_ranges import IndexRanges
from globalprune.artifacts.plan_effect import PlanEffect, effect_of
from globalprune.artifacts.prune_plan import (
    AnalysisReference,
    LayerCuts,
    ModelReference,
    PrunePlan,
    Target,
)
from globalprune.errors import PlanInvalid
from globalprune.planning.budget import asked_parameters
from globalprune.planning.notes import plan_notes
from globalprune.planning.pins import Mask, Pins, Wishes, wishes_of
from globalprune.planning.scoring import scored_table, scoring_of
from globalprune.planning.selection import select, spare_one


@dataclass(frozen=True)
class Planned:
    """A plan, and how far it does what was asked."""

    plan: PrunePlan
    effect: PlanEffect
    ratio: float  # as it was asked
    asked: int  # parameters
    all_measured: bool  # no layer was left out of the analysis
    notes: tuple[str, ...]

    @property
    def reached(self) -> bool:
        """Whether at least what was asked is removed."""
        return self.effect.removed >= self.asked


def make_plan(
    analysis: Analysis,
    ratio: float,
    *,
    importance: str | None = None,
    normaliser: str | None = None,
    pins: Pins | None = None,
    pins_of: str = "the pins",
) -> Planned:
    """Remove the lowest scores first until `ratio` of all parameters is gone.

    A ratio that can't be reached gives the largest plan. `pins_of` names where `pins` stand; raise
    `PlanInvalid` where they can't be honoured, `TableInvalid` where the importance is not there,
    `UsageError` for a normaliser that there is not.
    """
    scoring = scoring_of(analysis.record, importance, normaliser)
    structure = analysis.record.structure
    asked = asked_parameters(ratio, structure.parameters)
    table = scored_table(analysis, scoring)
    wishes = wishes_of(analysis, table, pins or {}, pins_of)
    taken = _taken(table, wishes, asked, structure, pins_of)
    plan = PrunePlan(
        model=_model_of(analysis),
        analysis=AnalysisReference(
            path=".",
            table=analysis.record.table,
            importance=scoring.importance,
            normaliser=None if scoring.normaliser == "none" else scoring.normaliser,
            assumes=assumption_of(analysis.record, scoring.importance),
        ),
        target=Target(ratio=ratio),
        pin=dict(pins or {}),
        layers=_cuts(table, taken),
    )
    plan = plan.model_copy(update={"generated": plan.decisions_digest()})
    pinned = int(table.cost[wishes.must_go].sum())
    notes = tuple(plan_notes(analysis.record, scoring, ratio, pinned=pinned, asked=asked))
    all_measured = analysis.record.layers == (0, len(structure.layers))
    return Planned(plan, effect_of(plan, structure), ratio, asked, all_measured, notes)


def _taken(
    table: GroupTable, wishes: Wishes, asked: int, structure: ModelStructure, pins_of: str
) -> Mask:
    """Mark the rows that go: what is pinned, then the lowest scores among the free."""
    costs = np.asarray(table.cost, np.int64)
    chosen = select(costs[wishes.free], asked - int(costs[wishes.must_go].sum()))
    taken = wishes.must_go.copy()
    taken[wishes.free] = chosen
    if int(costs[taken].sum()) < structure.prunable:
        return taken
    if not wishes.free.any():
        raise PlanInvalid(pins_of, ["the pins remove every group of the model; keep some of them."])
    taken[wishes.free] = spare_one(costs[wishes.free], chosen)
    return taken


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
