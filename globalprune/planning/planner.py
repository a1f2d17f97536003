"""From an analysis and a ratio to a plan. Nothing is read or written here."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.analysis_folder import Analysis
from globalprune.artifacts.group_table import GroupTable
from globalprune.artifacts.groups import GROUP_TYPES, ModelStructure
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
from globalprune.planning.pins import Mask, Pins, wishes_of
from globalprune.planning.selection import select, spare_one


@dataclass(frozen=True)
class Planned:
    """A plan, and how far it does what was asked."""

    plan: PrunePlan
    effect: PlanEffect
    asked: int  # parameters
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
    pins: Pins | None = None,
    pins_of: str = "the pins",
) -> Planned:
    """Remove the lowest scores first until `ratio` of all parameters is gone.

    A ratio that can't be reached gives the largest plan. `pins_of` names where `pins` stand; raise
    `PlanInvalid` where they can't be honoured, `TableInvalid` where the importance is not there.
    """
    structure = analysis.record.structure
    asked = asked_parameters(ratio, structure.parameters)
    table = scored_table(analysis, importance)
    taken = _taken(analysis, table, asked, pins or {}, pins_of)
    plan = PrunePlan(
        model=_model_of(analysis),
        analysis=AnalysisReference(
            path=".",
            table=analysis.record.table,
            importance=importance or analysis.record.default_importance,
        ),
        target=Target(ratio=ratio),
        pin=dict(pins or {}),
        layers=_cuts(table, taken, structure),
    )
    plan = plan.model_copy(update={"generated": plan.decisions_digest()})
    effect = effect_of(plan, structure)
    return Planned(plan, effect, asked, tuple(_notes(analysis, plan, effect, asked)))


def scored_table(analysis: Analysis, importance: str | None) -> GroupTable:
    """The analysis's table, scored by its own or by another importance column."""
    if importance in (None, analysis.record.default_importance):
        return analysis.table
    return analysis.table.rescored(str(importance))


def _taken(
    analysis: Analysis, table: GroupTable, asked: int, pins: Pins, pins_of: str
) -> NDArray[np.bool_]:
    """Mark the rows that go: what is pinned, then the lowest scores among the free."""
    wishes = wishes_of(analysis, table, pins, pins_of)
    costs = np.asarray(table.cost, np.int64)
    chosen = select(costs[wishes.free], asked - int(costs[wishes.must_go].sum()))
    taken = wishes.must_go.copy()
    taken[wishes.free] = chosen
    if int(costs[taken].sum()) < analysis.record.structure.prunable:
        return taken
    if not wishes.free.any():
        raise PlanInvalid(pins_of, ["the pins remove every group of the model; keep some of them."])
    taken[wishes.free] = spare_one(costs[wishes.free], chosen)
    return taken


def _cuts(table: GroupTable, taken: Mask, structure: ModelStructure) -> dict[int, LayerCuts]:
    """The taken rows, layer by layer, as ranges of indices."""
    if not taken.any():
        return {}
    layers, kinds = table.layer_idx[taken], table.group_type[taken]
    order = np.lexsort((table.group_idx[taken], kinds, layers))
    keys = (layers.astype(np.int64) * len(GROUP_TYPES) + kinds)[order]
    halves, starts = np.unique(keys, return_index=True)
    cuts: dict[int, dict[str, IndexRanges]] = {}
    for key, indices in zip(
        halves.tolist(), np.split(table.group_idx[taken][order], starts[1:]), strict=True
    ):
        layer, code = divmod(key, len(GROUP_TYPES))
        whole = len(indices) == structure.layers[layer].half(GROUP_TYPES[code]).groups
        ranges = IndexRanges(everything=True) if whole else _ranges(indices)
        cuts.setdefault(layer, {})[GROUP_TYPES[code]] = ranges
    return {layer: LayerCuts.model_validate(halves) for layer, halves in cuts.items()}


def _ranges(indices: NDArray[np.integer]) -> IndexRanges:
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


def _notes(analysis: Analysis, plan: PrunePlan, effect: PlanEffect, asked: int) -> Iterator[str]:
    """Yield what a person should know about the plan beyond its figures."""
    record = analysis.record
    name = plan.analysis.importance if plan.analysis else record.default_importance
    if name in record.incomparable and len(range(*record.layers)) > 1:
        yield (
            f"{name} is not comparable between layers: one ranking over all of them destroys a "
            "model; plan with another importance, or measure few layers (gp analyze --layers)."
        )
    highest = max(
        layer.half(kind).cost for layer in record.structure.layers for kind in GROUP_TYPES
    )
    if plan.pin and effect.removed >= asked + highest:
        yield f"the pins alone remove {effect.removed:,} parameters, more than the {asked:,} asked."
