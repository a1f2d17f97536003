"""What a trial holds a plan against: cuts of the same size, by the same importance or at random.

All of them contain what was decided before, which is worth nothing by now.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from globalprune.artifacts.analyses.analysis import Analysis
from globalprune.artifacts.analyses.group_table import GroupTable, Ints
from globalprune.artifacts.analyses.trial import Candidate, CandidateName
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_effect import removed_groups
from globalprune.artifacts.structure import GROUP_TYPES, RemovedGroups
from globalprune.planning.knapsack import Mask

_SEED: Final = 0


def trial_candidates(
    analysis: Analysis, plan: PrunePlan, decided: RemovedGroups | None = None
) -> tuple[Candidate, ...]:
    """The plan, then as many parameters of one kind alone, and of groups drawn at random.

    A kind that doesn't hold as many, and a cut that is the plan's own, are left out. Empty where
    the plan removes no group that was measured.
    """
    table = analysis.table
    planned = _rows(table, removed_groups(plan, analysis.record.structure))
    before = _rows(table, decided or {})
    need = int(table.cost[planned].sum())
    if not table.cost[planned & ~before].any():
        return ()
    cuts: dict[CandidateName, Mask] = {"plan": planned}
    for name, order in _orders(table):
        taken = _least(table, order, before, need)
        if taken is not None and not any(np.array_equal(taken, cut) for cut in cuts.values()):
            cuts[name] = taken
    return tuple(_candidate(analysis, name, taken) for name, taken in cuts.items())


def _orders(table: GroupTable) -> Iterator[tuple[CandidateName, Ints]]:
    """Yield the rows that each other cut may take, those that go first in front."""
    for kind, name in enumerate(GROUP_TYPES):
        yield name, np.flatnonzero(table.group_type == kind)  # the table is sorted by score
    by_group = np.lexsort((table.group_idx, table.group_type, table.layer_idx))
    yield "random", np.random.default_rng(_SEED).permutation(by_group)


def _least(table: GroupTable, order: Ints, before: Mask, need: int) -> Mask | None:
    """Take rows in this order until as much goes, passing over those that are too large by then."""
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


def _candidate(analysis: Analysis, name: CandidateName, taken: Mask) -> Candidate:
    """The groups of these rows, and what they cost."""
    table, record = analysis.table, analysis.record
    importance = record.default_importance
    in_nats = importance not in (*record.incomparable, *record.compensated)
    groups = {
        half: table.group_idx[rows[taken[rows]]].astype(np.int64)
        for half, rows in table.halves.items()
        if taken[rows].any()
    }
    predicted = float(table.importances[importance][taken].sum()) if in_nats else None
    return Candidate(name, groups, int(table.cost[taken].sum()), predicted)


def _rows(table: GroupTable, groups: RemovedGroups) -> Mask:
    """The rows of these groups, as far as they were measured."""
    mask = np.zeros(len(table), bool)
    for half, rows in table.halves.items():
        if half in groups:
            mask[rows[groups[half]]] = True
    return mask
