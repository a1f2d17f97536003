"""The layerwise strategy, an older way to compare with: a ratio for each layer.

A layer's ratio is inverse to its importance, the sum over its groups; a fixed share of what goes is
attention. Nothing is compared between layers or between attention and MLP, and nothing is optimal.
"""

from typing import Final

import numpy as np

from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.errors import PlanInvalid
from globalprune.planning.eligibility import Eligibility
from globalprune.planning.knapsack import Floats, Mask, Selection
from globalprune.planning.knapsack_units import PINS_TAKE_ALL, keep_cheapest

DEFAULT_SHARE: Final = 0.2  # attention's part of what goes
_ATTENTION, _MLP = 0, 1  # positions in GROUP_TYPES
_STEPS: Final = 100


def select_by_layer(
    table: GroupTable,
    eligibility: Eligibility,
    amount: int,
    share: float,
    *,
    prunable: int,
    source: str,
) -> Selection:
    """Remove `amount` parameters, or as many as may go, but never all `prunable` ones.

    Raise `PlanInvalid` where the pins, which are in `source`, leave nothing.
    """
    removed = eligibility.required.copy()
    layers, layer = np.unique(table.layer_idx, return_inverse=True)
    importance = np.bincount(layer, table.importance, len(layers)).astype(np.float64)
    may_go = table.cost * (eligibility.allowed | eligibility.required)
    most = np.bincount(layer, may_go, len(layers)).astype(np.float64)
    whole = np.bincount(layer, table.cost, len(layers)).astype(np.float64)
    for number, of_layer in enumerate(_amounts(importance, whole, most, amount)):
        inside = layer == number
        attention = inside & (table.group_type == _ATTENTION)
        _take(table, eligibility, removed, attention, share * of_layer)
        left = of_layer - float(table.cost[inside & removed].sum())
        mlp = inside & (table.group_type == _MLP)
        _take(table, eligibility, removed, mlp, left + float(table.cost[mlp & removed].sum()))
    _settle(table, eligibility, removed, amount)
    if int(table.cost[removed].sum()) == prunable:
        rows = np.flatnonzero(eligibility.allowed)
        if not len(rows):
            raise PlanInvalid(source, [PINS_TAKE_ALL])
        removed[rows] = keep_cheapest(table.cost[rows].astype(np.int64), removed[rows])
    lost = float(table.importance[removed].sum())
    return Selection(removed, lost, lost)


def _amounts(importance: Floats, whole: Floats, most: Floats, amount: int) -> Floats:
    """What goes of each layer, `[layers]`: in proportion to its size, inverse to its importance."""
    inverse = whole / np.maximum(importance, np.finfo(float).tiny)
    inverse /= inverse.max()
    low, high = 0.0, float(whole.max()) / float(inverse.min())
    for _ in range(_STEPS):
        middle = (low + high) / 2
        enough = np.minimum(middle * inverse, most).sum() >= amount
        low, high = (low, middle) if enough else (middle, high)
    amounts: Floats = np.minimum(high * inverse, most)
    return amounts


def _take(
    table: GroupTable, eligibility: Eligibility, removed: Mask, sublayer: Mask, amount: float
) -> None:
    """Remove the worst allowed rows of a sublayer until about `amount` of it goes."""
    rows = np.flatnonzero(sublayer & eligibility.allowed)
    if not len(rows):
        return
    cost = int(table.cost[rows[0]])
    missing = amount - float(table.cost[sublayer & removed].sum())
    removed[rows[: max(0, round(missing / cost))]] = True


def _settle(table: GroupTable, eligibility: Eligibility, removed: Mask, amount: int) -> None:
    """Correct for rounding, by the scores: too little goes, or more than the cheapest group."""
    over = int(table.cost[removed].sum()) - amount
    for row in np.flatnonzero(removed & eligibility.allowed)[::-1].tolist():
        if over >= table.cost[row]:
            removed[row] = False
            over -= int(table.cost[row])
    cheapest_first = np.lexsort((np.arange(len(table)), table.cost))
    for row in cheapest_first.tolist():
        if over >= 0:
            break
        if eligibility.allowed[row] and not removed[row]:
            removed[row] = True
            over += int(table.cost[row])
