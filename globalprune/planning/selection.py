"""Rows of a table as removal units, solved as a knapsack, and turned back into rows."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.plans.budgets import BudgetRequirement
from globalprune.artifacts.plans.plan import Constraints
from globalprune.artifacts.structure import GROUP_TYPES, GroupType
from globalprune.errors import PlanInvalid
from globalprune.planning.eligibility import Eligibility
from globalprune.planning.knapsack import Ceilings, Floats, Ints, Knapsack, Mask
from globalprune.planning.solver import nearest, solve

NONE = -1  # the unit of rows that don't go


@dataclass(frozen=True, eq=False)
class Units:
    """Units in the order of their scores, and the rows of the table that each stands for."""

    of_row: Ints  # [rows], the unit, or NONE
    importance: Floats  # [U]
    cost: Ints  # [U], parameters
    kind: Ints  # [U], the position in GROUP_TYPES; of a whole layer, the number of kinds
    layer: Ints  # [U], NONE where several layers take part

    def sum_of(self, values: Ints) -> Ints:
        """What the rows of each unit come to together, `[U]`."""
        inside = self.of_row != NONE
        sums = np.bincount(self.of_row[inside], values[inside], len(self.importance))
        return sums.astype(np.int64)

    def rows_of(self, taken: Mask) -> Mask:
        """The rows of the units that go."""
        return np.append(taken, False)[self.of_row]  # NONE is the last place


def build_units(
    table: GroupTable, wishes: Eligibility, constraints: Constraints, where: str
) -> Units:
    """Put the free rows together as the constraints ask; raise `PlanInvalid` where it can't be."""
    if constraints.whole_layers:
        of_row = _whole_layers(table, wishes, where)
    elif constraints.uniform:
        of_row = _across_layers(table, wishes, constraints, where)
    elif constraints.round_mlp > 1:
        of_row = _blocks(table, wishes, constraints)
    else:
        return _single(table, wishes)
    return _summed(table, of_row, constraints)


def _single(table: GroupTable, wishes: Eligibility) -> Units:
    """Every row by itself; a table stands in the order of its scores."""
    free = np.flatnonzero(wishes.free)
    of_row = np.full(len(table), NONE, np.int64)
    of_row[free] = np.arange(len(free))
    kind, layer = (column[free].astype(np.int64) for column in (table.group_type, table.layer_idx))
    cost = table.cost[free].astype(np.int64)
    return Units(of_row, table.importance[free], cost, kind, layer)


def _blocks(table: GroupTable, wishes: Eligibility, constraints: Constraints) -> Ints:
    """MLP channels in blocks, worst first; what fills no block stays. Attention groups by one."""
    of_row = np.full(len(table), NONE, np.int64)
    done = 0
    for (_, kind), rows in _free_sublayers(table, wishes):
        size = constraints.round_mlp if kind == "mlp" else 1
        whole = len(rows) // size * size
        of_row[rows[:whole]] = done + np.arange(whole) // size
        done += whole // size
    return of_row


def _across_layers(
    table: GroupTable, wishes: Eligibility, constraints: Constraints, where: str
) -> Ints:
    """The same number from every layer at each step; widths that differ are refused."""
    of_row = np.full(len(table), NONE, np.int64)
    done = 0
    for kind in GROUP_TYPES:
        sublayers = [rows for (_, found), rows in _free_sublayers(table, wishes) if found == kind]
        if constraints.only not in (None, kind):
            continue
        _refuse_uneven(table, wishes, kind, where)
        size = constraints.round_mlp if kind == "mlp" else 1
        steps = min(map(len, sublayers), default=0) // size
        for rows in sublayers:
            of_row[rows[: steps * size]] = done + np.arange(steps * size) // size
        done += steps
    return of_row


def _refuse_uneven(table: GroupTable, wishes: Eligibility, kind: GroupType, where: str) -> None:
    """Raise `PlanInvalid` where layers would differ in width whatever goes from all of them."""
    standing = {
        layer: int((~wishes.required[rows]).sum())
        for (layer, found), rows in table.sublayers.items()
        if found == kind
    }
    widths = sorted(set(standing.values()))
    if len(widths) > 1:
        first = min(standing)
        odd = next(layer for layer, width in standing.items() if width != standing[first])
        what = (
            f"uniform: the {kind} of layer {odd} has {standing[odd]} groups where the first layer "
            f"has {standing[first]}; take the pins of single layers out, or plan without uniform."
        )
        raise PlanInvalid(where, [what])


def _whole_layers(table: GroupTable, wishes: Eligibility, where: str) -> Ints:
    """All groups of a layer; a layer of which something is pinned to stay, stays."""
    of_row = np.full(len(table), NONE, np.int64)
    done = 0
    broken = []
    for layer in np.unique(table.layer_idx).tolist():
        rows = table.layer_idx == layer
        gone = int(wishes.required[rows].sum())
        if gone not in (0, int(rows.sum())):
            broken.append(f"pin.{layer}: collides with whole_layers; pin all of it, or nothing.")
        elif wishes.free[rows].all():
            of_row[rows] = done
            done += 1
    if broken:
        raise PlanInvalid(where, broken)
    return of_row


def _free_sublayers(
    table: GroupTable, wishes: Eligibility
) -> Iterator[tuple[tuple[int, GroupType], NDArray[np.intp]]]:
    """Yield every sublayer's rows that may go, the worst first."""
    for sublayer, by_index in table.sublayers.items():
        rows = np.sort(by_index)
        yield sublayer, rows[wishes.free[rows]]


def _summed(table: GroupTable, of_row: Ints, constraints: Constraints) -> Units:
    """What each unit is worth and costs, in the order of the scores; ties as their first rows."""
    rows = np.flatnonzero(of_row != NONE)
    unit = of_row[rows]
    count = int(unit.max(initial=NONE)) + 1
    first = np.zeros(count, np.int64)
    first[unit[::-1]] = rows[::-1]  # of several rows the last one written, which is the first
    importance = np.bincount(unit, table.importance[rows], count).astype(np.float64)
    cost = np.bincount(unit, table.cost[rows], count).astype(np.int64)
    order = np.lexsort((first, importance / cost))
    place = np.empty(count, np.int64)
    place[order] = np.arange(count)
    placed = np.full(len(table), NONE, np.int64)
    placed[rows] = place[unit]
    kind, layer = table.group_type[first].astype(np.int64), table.layer_idx[first].astype(np.int64)
    if constraints.whole_layers:
        kind[:] = len(GROUP_TYPES)
    if constraints.uniform:
        layer[:] = NONE
    return Units(placed, importance[order], cost[order], kind[order], layer[order])


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
    wishes: Eligibility,
    constraints: Constraints,
    needs: Sequence[BudgetRequirement],
    *,
    prunable: int,
    where: str,
) -> Choice:
    """Take what must go, and of what may go the least worth, until every need is met.

    Where that can't be, as much as may go, but never all `prunable` parameters. `where` names the
    file of the wishes; raise `PlanInvalid` where they and the constraints contradict each other.
    """
    units = build_units(table, wishes, constraints, where)
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
    if int(table.cost[wishes.required].sum()) + int(units.cost[taken].sum()) == prunable:
        if not len(taken):
            raise PlanInvalid(where, [PINS_TAKE_ALL])
        taken = keep_cheapest(units.cost, taken)
    lost = problem.lost(taken)
    gap = 0.0 if solution.proven or not lost else max(0.0, 1 - solution.least / lost)
    return Choice(wishes.required | units.rows_of(taken), gap)


def _rows(
    table: GroupTable,
    wishes: Eligibility,
    units: Units,
    constraints: Constraints,
    needs: Sequence[BudgetRequirement],
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
            amounts.append(amount - int(saved[wishes.required].sum()))
    return np.stack(columns, axis=1), amounts


def _ceilings(
    table: GroupTable, wishes: Eligibility, units: Units, constraints: Constraints, where: str
) -> Ceilings | None:
    """How much may go of each layer, beside what must."""
    if constraints.max_layer_ratio == 1:
        return None
    layers = np.flatnonzero(np.bincount(table.layer_idx))
    total, gone = (
        np.bincount(table.layer_idx, cost)[layers].astype(np.int64)
        for cost in (table.cost, table.cost * wishes.required)
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


def keep_cheapest(costs: Ints, taken: Mask) -> Mask:
    """Keep one unit where everything would go: the cheapest, and of those the one worth most.

    Sparing the cheapest removes as much as any plan can that leaves something standing.
    """
    spared = taken.copy()
    spared[np.flatnonzero(costs == costs.min())[-1]] = False
    return spared
