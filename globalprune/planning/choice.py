"""From a scored table, wishes and needs to the rows that go: a knapsack, set up and solved."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.plans.budgets import Need
from globalprune.artifacts.plans.plan import Constraints
from globalprune.errors import PlanInvalid
from globalprune.planning.knapsack.problem import Ceilings, Ints, Knapsack, Mask
from globalprune.planning.knapsack.solver import nearest, solve
from globalprune.planning.pins import Wishes
from globalprune.planning.units import NONE, Units, units_of

PINS_TAKE_ALL: Final = "the pins remove every group of the model; keep some of them."


@dataclass(frozen=True, eq=False)
class Choice:
    """Which rows go, and how much less another choice under the same wishes may lose.

    The gap is a part of what the chosen units lose; 0 where no other one loses less.
    """

    taken: Mask
    gap: float


def choose(
    table: GroupTable,
    wishes: Wishes,
    constraints: Constraints,
    needs: Sequence[Need],
    *,
    prunable: int,
    where: str,
) -> Choice:
    """Take what must go, and of what may go the least worth, until every need is met.

    Where that can't be, as much as may go, but never all `prunable` parameters. `where` names the
    file of the wishes; raise `PlanInvalid` where they and the constraints contradict each other.
    """
    units = units_of(table, wishes, constraints, where)
    costs, amounts = _rows(table, wishes, units, constraints, needs)
    ceilings = _ceilings(table, wishes, units, constraints, where)
    loose = [column for column, need in enumerate(needs) if need.loose]
    problem = Knapsack(units.importance, costs, amounts, ceilings, loose)
    solution = solve(problem)
    if solution is None:
        solution = nearest(problem)
    if solution is None:
        raise PlanInvalid(where, [f"{', '.join(constraints.said())}: no plan keeps all of these."])
    taken = solution.taken
    if int(table.cost[wishes.must_go].sum()) + int(units.cost[taken].sum()) == prunable:
        if not len(taken):
            raise PlanInvalid(where, [PINS_TAKE_ALL])
        taken = spare_one(units.cost, taken)
    lost = problem.lost(taken)
    gap = 0.0 if solution.proven or not lost else max(0.0, 1 - solution.least / lost)
    return Choice(wishes.must_go | units.rows_of(taken), gap)


def _rows(
    table: GroupTable,
    wishes: Wishes,
    units: Units,
    constraints: Constraints,
    needs: Sequence[Need],
) -> tuple[Ints, list[int]]:
    """What each unit saves, and what is to be saved beside what must go: a column a need.

    A share of the attention makes two needs of the parameters, or of their bytes.
    """
    columns: list[Ints] = []
    amounts: list[int] = []
    for need in needs:
        cost = need.of_rows(table.layer_idx, table.group_type)
        parts = [(cost, need.amount)]
        if constraints.attention_share is not None and need.of_weights:
            attention = math.ceil(Fraction(repr(constraints.attention_share)) * need.amount)
            kinds = [np.where(table.group_type == kind, cost, 0) for kind in (0, 1)]
            parts = list(zip(kinds, (attention, need.amount - attention), strict=True))
        for saved, amount in parts:
            columns.append(units.sum_of(saved))
            amounts.append(amount - int(saved[wishes.must_go].sum()))
    return np.stack(columns, axis=1), amounts


def _ceilings(
    table: GroupTable, wishes: Wishes, units: Units, constraints: Constraints, where: str
) -> Ceilings | None:
    """How much may go of each layer, beside what must."""
    if constraints.max_layer_ratio == 1:
        return None
    layers = np.flatnonzero(np.bincount(table.layer_idx))
    total, gone = (
        np.bincount(table.layer_idx, cost)[layers].astype(np.int64)
        for cost in (table.cost, table.cost * wishes.must_go)
    )
    ratio = Fraction(repr(constraints.max_layer_ratio))
    left = [
        math.floor(ratio * whole) - pinned
        for whole, pinned in zip(total.tolist(), gone.tolist(), strict=True)
    ]
    over = [str(layer) for layer, rest in zip(layers.tolist(), left, strict=True) if rest < 0]
    if over:
        what = (
            f"max_layer_ratio: more than {constraints.max_layer_ratio} of layer {', '.join(over)} "
            "has to go by pins or by other constraints; allow more, or take those out."
        )
        raise PlanInvalid(where, [what])
    if (units.layer == NONE).all():  # a unit takes the same from every layer
        part, left = np.zeros(len(units.layer), np.int16), [min(left) * len(left)]
    else:
        places = np.zeros(int(layers.max()) + 1, np.int16)
        places[layers] = np.arange(len(layers))
        part = places[units.layer]
    return Ceilings(part, units.cost, left)


def spare_one(costs: Ints, taken: Mask) -> Mask:
    """Keep one unit where everything would go: the cheapest, and of those the one worth most.

    Sparing the cheapest removes as much as any plan can that leaves something standing.
    """
    spared = taken.copy()
    spared[np.flatnonzero(costs == costs.min())[-1]] = False
    return spared
