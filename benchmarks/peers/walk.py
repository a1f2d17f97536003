"""Which groups go: lowest score first until enough parameters are gone, and hardly more.

The plain walk would overshoot by almost an attention group where an MLP channel would have done.
So near the end it skips a group that would overshoot by the cheapest standing cost or more. It
always ends with less overshoot than the cheapest group still standing; and with two distinct
costs, which is what a model of equal layers has, a larger need never removes less.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Costs = NDArray[np.int64]
Mask = NDArray[np.bool_]


def select(costs: Costs, need: int) -> Mask:
    """Mark what goes of rows that stand in the order of their scores; all if need can't be met."""
    taken = np.zeros(len(costs), bool)
    if need <= 0:
        return taken
    if need >= int(costs.sum()):
        return ~taken
    start = _endgame(costs, need)
    taken[:start] = True
    rest = _finish(costs[start:].tolist(), need - int(costs[:start].sum()))
    taken[start + np.asarray(rest, np.intp)] = True
    return taken


def _endgame(costs: Costs, need: int) -> int:
    """The first row at which anything but taking it may be right."""
    needs = need - (np.cumsum(costs) - costs)
    cheapest = np.minimum.accumulate(costs[::-1])[::-1]
    cheaper = np.zeros(len(costs), np.int64)  # sum of the standing groups that cost less
    for value in np.unique(costs)[1:]:
        below = np.where(costs < value, costs, 0)
        standing = np.cumsum(below[::-1])[::-1]
        cheaper = np.where(costs == value, standing, cheaper)
    one_is_enough = needs <= costs
    all_are_enough = (cheaper + cheapest < costs) & (needs <= costs + cheaper)
    return int(np.argmax(one_is_enough | all_are_enough))


def _finish(costs: Sequence[int], need: int) -> list[int]:
    """Walk the rest one by one; what was skipped is offered again while something is needed."""
    standing = Counter(costs)
    rows = list(range(len(costs)))
    taken: list[int] = []
    while need > 0:
        skipped = []
        for row in rows:
            cost = costs[row]
            cheapest = min(standing)
            cheaper = sum(value * count for value, count in standing.items() if value < cost)
            if need <= 0:
                skipped.append(row)
            elif need <= cost - cheapest and need <= cheaper:
                skipped.append(row)  # the cheaper ones do it with less overshoot
            elif cheaper + cheapest < cost and cheaper < need <= cost + cheaper:
                # either choice between them would overshoot by a group that still stands
                below = [other for other in (*skipped, *rows) if costs[other] < cost]
                return [*taken, row, *(set(below) - set(taken))]
            else:
                taken.append(row)
                need -= cost
                _take_one(standing, cost)
        rows = skipped
    return taken


def _take_one(standing: Counter[int], cost: int) -> None:
    """Count one group of that cost less."""
    standing[cost] -= 1
    if not standing[cost]:
        del standing[cost]
