"""What goes together: one group, a block of channels, a group of every layer, or a whole layer."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.plans.plan import Constraints
from globalprune.artifacts.structure import GROUP_TYPES, GroupType
from globalprune.errors import PlanInvalid
from globalprune.planning.knapsack.problem import Floats, Ints, Mask
from globalprune.planning.pins import Wishes

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


def units_of(table: GroupTable, wishes: Wishes, constraints: Constraints, where: str) -> Units:
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


def _single(table: GroupTable, wishes: Wishes) -> Units:
    """Every row by itself; a table stands in the order of its scores."""
    free = np.flatnonzero(wishes.free)
    of_row = np.full(len(table), NONE, np.int64)
    of_row[free] = np.arange(len(free))
    kind, layer = (column[free].astype(np.int64) for column in (table.group_type, table.layer_idx))
    cost = table.cost[free].astype(np.int64)
    return Units(of_row, table.importance[free], cost, kind, layer)


def _blocks(table: GroupTable, wishes: Wishes, constraints: Constraints) -> Ints:
    """MLP channels in blocks, worst first; what fills no block stays. Attention groups by one."""
    of_row = np.full(len(table), NONE, np.int64)
    done = 0
    for (_, kind), rows in _free_halves(table, wishes):
        size = constraints.round_mlp if kind == "mlp" else 1
        whole = len(rows) // size * size
        of_row[rows[:whole]] = done + np.arange(whole) // size
        done += whole // size
    return of_row


def _across_layers(table: GroupTable, wishes: Wishes, constraints: Constraints, where: str) -> Ints:
    """The same number from every layer at each step; widths that differ are refused."""
    of_row = np.full(len(table), NONE, np.int64)
    done = 0
    for kind in GROUP_TYPES:
        halves = [rows for (_, found), rows in _free_halves(table, wishes) if found == kind]
        if constraints.only not in (None, kind):
            continue
        _refuse_uneven(table, wishes, kind, where)
        size = constraints.round_mlp if kind == "mlp" else 1
        steps = min(map(len, halves), default=0) // size
        for rows in halves:
            of_row[rows[: steps * size]] = done + np.arange(steps * size) // size
        done += steps
    return of_row


def _refuse_uneven(table: GroupTable, wishes: Wishes, kind: GroupType, where: str) -> None:
    """Raise `PlanInvalid` where layers would differ in width whatever goes from all of them."""
    standing = {
        layer: int((~wishes.must_go[rows]).sum())
        for (layer, found), rows in table.halves.items()
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


def _whole_layers(table: GroupTable, wishes: Wishes, where: str) -> Ints:
    """All groups of a layer; a layer of which something is pinned to stay, stays."""
    of_row = np.full(len(table), NONE, np.int64)
    done = 0
    broken = []
    for layer in np.unique(table.layer_idx).tolist():
        rows = table.layer_idx == layer
        gone = int(wishes.must_go[rows].sum())
        if gone not in (0, int(rows.sum())):
            broken.append(f"pin.{layer}: collides with whole_layers; pin all of it, or nothing.")
        elif wishes.free[rows].all():
            of_row[rows] = done
            done += 1
    if broken:
        raise PlanInvalid(where, broken)
    return of_row


def _free_halves(
    table: GroupTable, wishes: Wishes
) -> Iterator[tuple[tuple[int, GroupType], NDArray[np.intp]]]:
    """Yield every half's rows that may go, the worst first."""
    for half, by_index in table.halves.items():
        rows = np.sort(by_index)
        yield half, rows[wishes.free[rows]]


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
