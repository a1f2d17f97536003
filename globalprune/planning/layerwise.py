"""The founding scripts' older way, to compare with: a ratio for each layer, each cut by itself.

A layer's ratio is inverse to its importance, the sum over its groups; of what goes, a fixed share
is attention. Nothing is compared between layers or between attention and MLP; nothing is optimal.
"""

from typing import Final

import numpy as np

from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.errors import PlanInvalid
from globalprune.planning.eligibility import Eligibility
from globalprune.planning.knapsack import Floats, Mask
from globalprune.planning.selection import PINS_TAKE_ALL, keep_cheapest

DEFAULT_SHARE: Final = 0.2  # attention's part of what goes, where none is asked
_ATTENTION, _MLP = 0, 1  # positions in GROUP_TYPES
_STEPS: Final = 100


def select_by_layer(
    table: GroupTable, wishes: Eligibility, amount: int, share: float, *, prunable: int, where: str
) -> Mask:
    """The rows that go: `amount` parameters, or as many as may, but never all `prunable` ones.

    Raise `PlanInvalid` where the pins, which stand in `where`, leave nothing.
    """
    taken = wishes.required.copy()
    layers, layer = np.unique(table.layer_idx, return_inverse=True)
    worth = np.bincount(layer, table.importance, len(layers)).astype(np.float64)
    may_go = table.cost * (wishes.free | wishes.required)
    most = np.bincount(layer, may_go, len(layers)).astype(np.float64)
    whole = np.bincount(layer, table.cost, len(layers)).astype(np.float64)
    for number, wanted in enumerate(_amounts(worth, whole, most, amount)):
        inside = layer == number
        _take(table, wishes, taken, inside & (table.group_type == _ATTENTION), share * wanted)
        left = wanted - float(table.cost[inside & taken].sum())
        mlp = inside & (table.group_type == _MLP)
        _take(table, wishes, taken, mlp, left + float(table.cost[mlp & taken].sum()))
    _settle(table, wishes, taken, amount)
    if int(table.cost[taken].sum()) == prunable:
        free = np.flatnonzero(wishes.free)
        if not len(free):
            raise PlanInvalid(where, [PINS_TAKE_ALL])
        taken[free] = keep_cheapest(table.cost[free].astype(np.int64), taken[free])
    return taken


def _amounts(worth: Floats, whole: Floats, most: Floats, amount: int) -> Floats:
    """What goes of each layer, `[layers]`: in proportion to its size and inverse to its worth."""
    inverse = whole / np.maximum(worth, np.finfo(float).tiny)
    inverse /= inverse.max()
    low, high = 0.0, float(whole.max()) / float(inverse.min())
    for _ in range(_STEPS):
        middle = (low + high) / 2
        enough = np.minimum(middle * inverse, most).sum() >= amount
        low, high = (low, middle) if enough else (middle, high)
    amounts: Floats = np.minimum(high * inverse, most)
    return amounts


def _take(
    table: GroupTable, wishes: Eligibility, taken: Mask, sublayer: Mask, wanted: float
) -> None:
    """Take the worst free rows of a sublayer, to the nearest group."""
    rows = np.flatnonzero(sublayer & wishes.free)
    if not len(rows):
        return
    cost = int(table.cost[rows[0]])
    missing = wanted - float(table.cost[sublayer & taken].sum())
    taken[rows[: max(0, round(missing / cost))]] = True


def _settle(table: GroupTable, wishes: Eligibility, taken: Mask, amount: int) -> None:
    """Mend what rounding left, by the scores: too little goes, or more than the cheapest group."""
    over = int(table.cost[taken].sum()) - amount
    for row in np.flatnonzero(taken & wishes.free)[::-1].tolist():
        if over >= table.cost[row]:
            taken[row] = False
            over -= int(table.cost[row])
    cheapest_first = np.lexsort((np.arange(len(table)), table.cost))
    for row in cheapest_first.tolist():
        if over >= 0:
            break
        if wishes.free[row] and not taken[row]:
            taken[row] = True
            over += int(table.cost[row])
