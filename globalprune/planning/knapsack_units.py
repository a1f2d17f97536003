"""The groups that go: rows of a table become units of a knapsack, and its solution rows again."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from globalprune.planning.knapsack import (
    Ceilings,
    Floats,
    Ints,
    Knapsack,
    Mask,
    Selection,
    can_enumerate,
    cost_classes,
    enumerate_counts,
)
from globalprune.planning.lagrangian import largest_saving, solve_by_relaxation

NONE: Final = -1  # the unit of rows that stay, or have to go
PINS_TAKE_ALL: Final = "the pins remove every group of the model; keep some of them."


@dataclass(frozen=True, eq=False)
class Units:
    """Units in the order of their scores, and the rows of the table that each stands for."""

    of_row: Ints  # [rows], the unit, or NONE
    importance: Floats  # [U]
    cost: Ints  # [U], parameters
    kind: Ints  # [U], the position in GROUP_TYPES; of a whole layer, the number of kinds
    layer: Ints  # [U], NONE where several layers take part

    def sum_of(self, values: Ints) -> Ints:
        """Return the sum of row values for each unit, `[U]`."""
        inside = self.of_row != NONE
        sums = np.bincount(self.of_row[inside], values[inside], len(self.importance))
        return sums.astype(np.int64)

    def rows_of(self, removed: Mask) -> Mask:
        """Return the rows of the units that go."""
        return np.append(removed, False)[self.of_row]  # NONE is the last place


def select(
    table: GroupTable,
    eligibility: Eligibility,
    constraints: Constraints,
    requirements: Sequence[BudgetRequirement],
    *,
    prunable: int,
    source: str,
) -> Selection:
    """Remove the required rows, and of the allowed ones those that meet the requirements best.

    Requirements that can't be met are met as far as may be, but never do all `prunable` parameters
    go. `source` names the file of the pins; raise `PlanInvalid` where they and the constraints
    contradict each other.
    """
    units = build_units(table, eligibility, constraints, source)
    costs, needs = _savings(table, eligibility, units, constraints, requirements)
    ceilings = _ceilings(table, eligibility, units, constraints, source)
    loose = [column for column, requirement in enumerate(requirements) if requirement.loose]
    problem = Knapsack(units.importance, costs, needs, ceilings, loose)
    selection = solve(problem)
    if selection is None:
        selection = nearest(problem)
    if selection is None:
        names = ", ".join(constraints.explicit())
        raise PlanInvalid(source, [f"{names}: no plan keeps all of these."])
    removed = selection.removed
    if int(table.cost[eligibility.required].sum()) + int(units.cost[removed].sum()) == prunable:
        if not len(removed):
            raise PlanInvalid(source, [PINS_TAKE_ALL])
        removed = keep_cheapest(units.cost, removed)
        selection = replace(selection, lost=problem.lost(removed))
    return replace(selection, removed=eligibility.required | units.rows_of(removed))


def solve(problem: Knapsack) -> Selection | None:
    """Return the removal that loses least; None where none meets the needs and the ceilings.

    Costs of few kinds are counted exactly; others, and ceilings, need the Lagrangian search.
    """
    if all(need <= 0 for need in problem.needs):
        nothing = np.zeros(len(problem.importance), bool)
        return Selection(nothing, 0.0, 0.0, proven=True)
    if not len(problem.importance):
        return None
    classes = cost_classes(problem)
    if problem.ceilings is None and can_enumerate(classes):
        return enumerate_counts(problem, classes)
    return solve_by_relaxation(problem)


def nearest(problem: Knapsack) -> Selection | None:
    """Return what loses least and comes near to needs that can't be met.

    No need is more than can be saved of its budget by itself. Where all of those together are still
    too much, as much is saved as goes together when each budget counts by its need.
    """
    alone = [_most(problem, one)[column] for column, one in enumerate(np.eye(len(problem.needs)))]
    needs = np.minimum(alone, problem.needs)
    found = solve(replace(problem, needs=needs.tolist()))
    if found is not None:
        return found
    together = _most(problem, 1 / np.maximum(needs, 1))
    return solve(replace(problem, needs=np.minimum(together, needs).tolist()))


def build_units(
    table: GroupTable, eligibility: Eligibility, constraints: Constraints, source: str
) -> Units:
    """Put allowed rows together as the constraints demand; raise `PlanInvalid` where that fails."""
    if constraints.whole_layers:
        of_row = _whole_layers(table, eligibility, source)
    elif constraints.uniform:
        of_row = _across_layers(table, eligibility, constraints, source)
    elif constraints.round_mlp > 1:
        of_row = _blocks(table, eligibility, constraints)
    else:
        return _single(table, eligibility)
    return _sum_up(table, of_row, constraints)


def keep_cheapest(costs: Ints, removed: Mask) -> Mask:
    """Keep one unit where everything would go: the cheapest, and of those the one worth most.

    That removes as much as any plan can that leaves something.
    """
    spared = removed.copy()
    spared[np.flatnonzero(costs == costs.min())[-1]] = False
    return spared


def _most(problem: Knapsack, weights: Floats) -> Ints:
    """Return what is saved of each budget, `[B]`, where most is saved by these weights of them."""
    if problem.ceilings is None or not len(problem.importance):
        everything: Ints = problem.costs.sum(axis=0)
        return everything
    saved: Ints = problem.costs[largest_saving(problem, weights)].sum(axis=0)
    return saved


def _single(table: GroupTable, eligibility: Eligibility) -> Units:
    """Return every row by itself; the rows of a table are in the order of their scores."""
    rows = np.flatnonzero(eligibility.allowed)
    of_row = np.full(len(table), NONE, np.int64)
    of_row[rows] = np.arange(len(rows))
    kind, layer = (column[rows].astype(np.int64) for column in (table.group_type, table.layer_idx))
    cost = table.cost[rows].astype(np.int64)
    return Units(of_row, table.importance[rows], cost, kind, layer)


def _blocks(table: GroupTable, eligibility: Eligibility, constraints: Constraints) -> Ints:
    """MLP channels in whole blocks, worst first, and attention groups one by one."""
    of_row = np.full(len(table), NONE, np.int64)
    count = 0
    for (_, kind), rows in _allowed_sublayers(table, eligibility):
        size = constraints.round_mlp if kind == "mlp" else 1
        whole = len(rows) // size * size
        of_row[rows[:whole]] = count + np.arange(whole) // size
        count += whole // size
    return of_row


def _across_layers(
    table: GroupTable, eligibility: Eligibility, constraints: Constraints, source: str
) -> Ints:
    """Return the same number from every layer at each step; widths that differ are refused."""
    of_row = np.full(len(table), NONE, np.int64)
    count = 0
    for kind in GROUP_TYPES:
        sublayers = [
            rows for (_, one), rows in _allowed_sublayers(table, eligibility) if one == kind
        ]
        if constraints.only not in (None, kind):
            continue
        _refuse_uneven(table, eligibility, kind, source)
        size = constraints.round_mlp if kind == "mlp" else 1
        steps = min(map(len, sublayers), default=0) // size
        for rows in sublayers:
            of_row[rows[: steps * size]] = count + np.arange(steps * size) // size
        count += steps
    return of_row


def _refuse_uneven(
    table: GroupTable, eligibility: Eligibility, kind: GroupType, source: str
) -> None:
    """Raise `PlanInvalid` where layers would differ in width whatever goes from all of them."""
    widths = {
        layer: int((~eligibility.required[rows]).sum())
        for (layer, one), rows in table.sublayers.items()
        if one == kind
    }
    if len(set(widths.values())) > 1:
        first = min(widths)
        odd = next(layer for layer, width in widths.items() if width != widths[first])
        what = (
            f"uniform: the {kind} of layer {odd} has {widths[odd]} groups where the first layer "
            f"has {widths[first]}; take the pins of single layers out, or plan without uniform."
        )
        raise PlanInvalid(source, [what])


def _whole_layers(table: GroupTable, eligibility: Eligibility, source: str) -> Ints:
    """Return all groups of a layer; a layer of which something is pinned to stay, stays."""
    of_row = np.full(len(table), NONE, np.int64)
    count = 0
    problems = []
    for layer in np.unique(table.layer_idx).tolist():
        rows = table.layer_idx == layer
        required = int(eligibility.required[rows].sum())
        if required not in (0, int(rows.sum())):
            problems.append(f"pin.{layer}: collides with whole_layers; pin all of it, or nothing.")
        elif eligibility.allowed[rows].all():
            of_row[rows] = count
            count += 1
    if problems:
        raise PlanInvalid(source, problems)
    return of_row


def _allowed_sublayers(
    table: GroupTable, eligibility: Eligibility
) -> Iterator[tuple[tuple[int, GroupType], NDArray[np.intp]]]:
    """Yield every sublayer's rows that may go, the worst first."""
    for sublayer, by_index in table.sublayers.items():
        rows = np.sort(by_index)
        yield sublayer, rows[eligibility.allowed[rows]]


def _sum_up(table: GroupTable, of_row: Ints, constraints: Constraints) -> Units:
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


def _savings(
    table: GroupTable,
    eligibility: Eligibility,
    units: Units,
    constraints: Constraints,
    requirements: Sequence[BudgetRequirement],
) -> tuple[Ints, list[int]]:
    """Return what each unit saves, `[U, B]`, and what it needs beside the required rows.

    An attention share makes two needs of a requirement on weights, one for each kind.
    """
    columns: list[Ints] = []
    needs: list[int] = []
    for requirement in requirements:
        cost = requirement.costs_of(table.layer_idx, table.group_type)
        parts = [(cost, requirement.to_save)]
        if constraints.attention_share is not None and requirement.counts_weights:
            share = Fraction(repr(constraints.attention_share))
            attention = math.ceil(share * requirement.to_save)
            kinds = [np.where(table.group_type == kind, cost, 0) for kind in (0, 1)]
            amounts = (attention, requirement.to_save - attention)
            parts = list(zip(kinds, amounts, strict=True))
        for saved, amount in parts:
            columns.append(units.sum_of(saved))
            needs.append(amount - int(saved[eligibility.required].sum()))
    return np.stack(columns, axis=1), needs


def _ceilings(
    table: GroupTable,
    eligibility: Eligibility,
    units: Units,
    constraints: Constraints,
    source: str,
) -> Ceilings | None:
    """Return how much may go of each layer, beside what must."""
    if constraints.max_layer_ratio == 1:
        return None
    layers = np.flatnonzero(np.bincount(table.layer_idx))
    total, required = (
        np.bincount(table.layer_idx, cost)[layers].astype(np.int64)
        for cost in (table.cost, table.cost * eligibility.required)
    )
    ratio = Fraction(repr(constraints.max_layer_ratio))
    left = [
        math.floor(ratio * whole) - pinned
        for whole, pinned in zip(total.tolist(), required.tolist(), strict=True)
    ]
    over = [str(layer) for layer, rest in zip(layers.tolist(), left, strict=True) if rest < 0]
    if over:
        what = (
            f"max_layer_ratio: more than {constraints.max_layer_ratio} of layer {', '.join(over)} "
            "has to go by pins or by other constraints; allow more, or take those out."
        )
        raise PlanInvalid(source, [what])
    if (units.layer == NONE).all():  # a unit takes the same from every layer
        part, left = np.zeros(len(units.layer), np.int16), [min(left) * len(left)]
    else:
        places = np.zeros(int(layers.max()) + 1, np.int16)
        places[layers] = np.arange(len(layers))
        part = places[units.layer]
    return Ceilings(part, units.cost, left)
