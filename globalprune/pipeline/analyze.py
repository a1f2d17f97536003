"""gp analyze: measures a model, tries its first plan, and writes it beside the analysis.

The trial compares the plan with other cuts of its size, which are chosen here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from globalprune.artifacts.analyses.analysis import Analysis, read_analysis
from globalprune.artifacts.analyses.group_table import GroupTable, Ints
from globalprune.artifacts.analyses.reliability import TrialCut, TrialCutName
from globalprune.artifacts.disk import refuse_occupied
from globalprune.artifacts.own_files import ANALYSIS_MARKERS
from globalprune.artifacts.plans.budgets import refuse_bad_ratio
from globalprune.artifacts.plans.plan import PrunePlan, Target
from globalprune.artifacts.plans.plan_effect import removed_groups
from globalprune.artifacts.plans.plan_file import PLAN_FILE, existing_plan
from globalprune.artifacts.run_folder import RunFolder
from globalprune.artifacts.structure import GROUP_TYPES, RemovedGroups
from globalprune.errors import ArtifactError, UsageError
from globalprune.options import AnalyzeOptions, PlanOptions
from globalprune.planning.knapsack import Mask
from globalprune.planning.options import plan_paths
from globalprune.planning.planner import PlanResult, make_plan
from globalprune.planning.review import inherited_pins
from globalprune.planning.write import write_plans
from globalprune.progress import SILENT, Reporter

if TYPE_CHECKING:
    from globalprune.analysis.analyzer import Candidates
    from globalprune.models.prepared_model import PreparedModel

_SEED: Final = 0  # of the cut that is drawn at random
_MODEST: Final = 0.1  # of all parameters, the most that is tried without a first plan
_SHARE: Final = 0.25  # of what may go, the most that is tried then


@dataclass(frozen=True)
class AnalyzeResult:
    """An analysis and its first plan, which is written if its ratio can be reached."""

    analysis: Analysis
    plan: PlanResult


def analyze_and_plan(
    model: "PreparedModel", out: Path, options: AnalyzeOptions, *, reporter: Reporter = SILENT
) -> AnalyzeResult:
    """Write the analysis, with a trial of its first plan, and then the plan.

    If the plan fails, the analysis stays. A ratio that can't be reached leaves no plan unless
    `options.largest`.
    """
    refuse_bad_ratio(options.ratio)
    refuse_occupied(out, ours=ANALYSIS_MARKERS, overwrite=options.overwrite)
    RunFolder.beside(out).refuse_unfinished(resume=options.resume, overwrite=options.overwrite)
    for place in plan_paths(out, [options.ratio], None).values():
        existing_plan(place, overwrite=options.overwrite)
    from globalprune.analysis.analyzer import analyze_model  # loads torch

    analyze_model(model, out, options, candidates=candidates_at(options.ratio), reporter=reporter)
    analysis = read_analysis(out)
    plan_options = PlanOptions(
        (options.ratio,), overwrite=options.overwrite, largest=options.largest
    )
    (written,) = write_plans(analysis, plan_options)
    return AnalyzeResult(analysis, written)


def candidates_at(ratio: float) -> "Candidates":
    """Return what chooses the cuts to try, for a first plan of this ratio."""

    def candidates(analysis: Analysis, decided: RemovedGroups) -> Sequence[TrialCut]:
        try:
            planned = _planned(analysis, ratio)
            if planned.is_met and (tried := trial_candidates(analysis, planned.plan, decided)):
                return tried
            modest = _planned(analysis, _modest_ratio(analysis, decided))
            return trial_candidates(analysis, modest.plan, decided)
        except (
            ArtifactError,
            UsageError,
        ):  # raised again where the plan is written; the analysis stays
            return ()

    return candidates


def trial_candidates(
    analysis: Analysis, plan: PrunePlan, decided: RemovedGroups | None = None
) -> tuple[TrialCut, ...]:
    """Return the plan, then cuts of as many parameters: of one kind alone, and at random.

    A kind that doesn't hold as many, and a cut that equals the plan, are left out. Empty if the
    plan removes no group that was measured.
    """
    table = analysis.table
    planned = _rows(table, removed_groups(plan, analysis.record.structure))
    before = _rows(table, decided or {})
    need = int(table.cost[planned].sum())
    if not table.cost[planned & ~before].any():
        return ()
    cuts: dict[TrialCutName, Mask] = {"plan": planned}
    for name, order in _orders(table):
        taken = _least(table, order, before, need)
        if taken is not None and not any(np.array_equal(taken, cut) for cut in cuts.values()):
            cuts[name] = taken
    return tuple(_candidate(analysis, name, taken) for name, taken in cuts.items())


def _orders(table: GroupTable) -> Iterator[tuple[TrialCutName, Ints]]:
    """Yield for each other cut the rows that it may take, in the order in which they go."""
    for kind, name in enumerate(GROUP_TYPES):
        yield name, np.flatnonzero(table.group_type == kind)  # the table is sorted by score
    by_group = np.lexsort((table.group_idx, table.group_type, table.layer_idx))
    yield "random", np.random.default_rng(_SEED).permutation(by_group)


def _least(table: GroupTable, order: Ints, before: Mask, need: int) -> Mask | None:
    """Take rows in this order until `need` parameters go; skip rows too large for the rest."""
    order = order[~before[order]]
    costs = table.cost[order]
    missing = need - int(table.cost[before].sum())
    taken = before.copy()
    if missing <= 0 or int(costs.sum()) < missing:
        return None
    cheapest = int(costs.min())
    first = int(np.searchsorted(np.cumsum(costs), missing))
    taken[order[:first]] = True
    missing -= int(costs[:first].sum())
    for row, cost in zip(order[first:], costs[first:], strict=True):
        if missing <= 0:
            break
        if cost - missing < cheapest:
            taken[row] = True
            missing -= int(cost)
    return taken


def _candidate(analysis: Analysis, name: TrialCutName, taken: Mask) -> TrialCut:
    """Return the cut that takes these rows."""
    table, record = analysis.table, analysis.record
    importance = record.default_importance
    in_nats = importance not in (*record.incomparable, *record.compensated)
    groups = {
        sublayer: table.group_idx[rows[taken[rows]]].astype(np.int64)
        for sublayer, rows in table.sublayers.items()
        if taken[rows].any()
    }
    predicted = float(table.importances[importance][taken].sum()) if in_nats else None
    return TrialCut(name, groups, int(table.cost[taken].sum()), predicted)


def _rows(table: GroupTable, groups: RemovedGroups) -> Mask:
    """Return the mask of the rows of these groups, as far as they were measured."""
    mask = np.zeros(len(table), bool)
    for sublayer, rows in table.sublayers.items():
        if sublayer in groups:
            mask[rows[groups[sublayer]]] = True
    return mask


def _planned(analysis: Analysis, ratio: float) -> PlanResult:
    """Return the plan that would be written beside the analysis, with an earlier plan's pins."""
    path = analysis.folder / PLAN_FILE
    pins = inherited_pins(analysis, path, {path: existing_plan(path, overwrite=True)})
    return make_plan(analysis, Target(ratio=ratio), pins=pins)


def _modest_ratio(analysis: Analysis, decided: RemovedGroups) -> float:
    """Return a ratio that the measured groups surely allow."""
    record = analysis.record
    layers = record.structure.layers
    gone = sum(
        len(groups) * layers[layer].sublayer(kind).cost for (layer, kind), groups in decided.items()
    )
    allowed = max(0, record.removable - gone)
    return gone / record.structure.parameters + min(
        _MODEST, _SHARE * allowed / record.structure.parameters
    )
