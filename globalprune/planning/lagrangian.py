"""The knapsack under ceilings: a search over blocks, bounded by Lagrangian relaxation.

A block holds the units of one ceiling. An option of a block says how many of its units of each cost
go; units of the commonest cost then fill up what is missing. The relaxation gives every budget a
multiplier, the price of one unit of it, so that each block chooses its option by itself; the best
multipliers bound what any removal loses.

Source: Geoffrion 1974, https://doi.org/10.1007/BFb0120690.
"""

import heapq
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from globalprune.planning.knapsack import (
    Floats,
    Ints,
    Knapsack,
    Mask,
    Numbers,
    Selection,
    by_importance,
    distinct_costs,
    fractional_bound,
)

PRECISION: Final = 1e-9  # relative: a removal that close to the bound is the best
_EFFORT: Final = 200_000  # looks into a block, in all
_MOST_TRIED: Final = 5_000  # combinations of options
_HALVINGS: Final = 60
_SECTIONS: Final = 24  # to a hundred-thousandth; any multiplier bounds what is lost
_ABOVE: Final = 2.0  # times the multiplier at which a budget alone is met
_GOLDEN: Final = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, eq=False)
class CommonUnits:
    """The units of the commonest cost, the least important first."""

    units: Ints  # [F]
    importance: Floats  # [F]
    block: Numbers  # [F]
    rank: NDArray[np.int32]  # [F], how many of its block are before it
    cost: Ints  # [B]
    by_block: Sequence[Floats]  # of each block: the importance of its units, ascending
    sums: Floats  # of each block, one after the other: the importance of its first 0, 1, … units
    offsets: Ints  # of each block, where its sums begin

    def lost(self, count: int, room: Ints) -> float:
        """Return the importance of the `count` least important ones, at most `room` of each block.

        They must fit. The greatest importance among them says which ones they are.
        """
        if not count:
            return 0.0
        places = range(len(self.importance))
        last = bisect_left(places, count, key=lambda place: int(self._up_to(place, room).sum()))
        below = self._up_to(last, room, side="left")
        level = float(self.importance[last]) * (count - int(below.sum()))
        return float(self.sums[self.offsets + below].sum()) + level

    def places(self, count: int, room: Ints) -> Ints:
        """Return the places of those units; of equals the first ones."""
        return np.flatnonzero(self.rank < room.astype(np.int32)[self.block])[:count]

    def _up_to(self, place: int, room: Ints, side: Literal["left", "right"] = "right") -> Ints:
        """How many of each block are less important than the unit there, or also as important."""
        value = self.importance[place]
        counts = [importance.searchsorted(value, side) for importance in self.by_block]
        within: Ints = np.minimum(np.asarray(counts), room)
        return within


@dataclass(frozen=True, eq=False)
class BlockOptions:
    """The ways to take the other units of each block; those of a block are neighbours."""

    block: Ints  # [O], ascending
    counts: Sequence[tuple[int, ...]]  # [O], how many of each class of the block go
    saved: Ints  # [O, B]
    lost: Floats  # [O]
    room: Ints  # [O], common units that may go besides

    @property
    def starts(self) -> Ints:
        """Where the options of each block begin."""
        return np.flatnonzero(np.diff(self.block, prepend=-1))


@dataclass(frozen=True, eq=False)
class Blocks:
    """A knapsack, split into blocks."""

    classes: Sequence[Sequence[Ints]]  # of each block: its other units by cost, least first
    common: CommonUnits
    options: BlockOptions


@dataclass(frozen=True, eq=False)
class Relaxation:
    """The relaxed knapsack, solved at some multipliers."""

    bound: float  # no removal that meets the needs loses less
    value: Floats  # [O], the importance of each option less what its savings are worth
    saved: Ints  # [B], by the best option of every block


class LagrangianDual:
    """The bound of the relaxation as a function of the multipliers; it is concave."""

    def __init__(self, problem: Knapsack, blocks: Blocks) -> None:
        common = blocks.common
        self._options, self._cost = blocks.options, common.cost
        self._needs = np.asarray(problem.needs, np.int64)
        self._by_block, self._sums = common.by_block, common.sums
        self._offset = common.offsets[self._options.block]
        # high enough for any unit to go: no multiplier of a solution exceeds all importance
        self._highest = float(np.abs(problem.importance).sum()) or 1.0
        self._tops = [self._highest] * len(problem.needs)

    def solve(self, multipliers: Floats) -> Relaxation:
        """Return the best option of every block at these multipliers, `[B]`."""
        options = self._options
        price = float(multipliers @ self._cost)
        cheaper = np.asarray([np.searchsorted(values, price) for values in self._by_block])
        filled = np.minimum(cheaper[options.block], options.room)
        value = options.lost - options.saved @ multipliers
        value += self._sums[self._offset + filled] - filled * price
        best = self._best(value)
        saved = options.saved[best].sum(axis=0) + int(filled[best].sum()) * self._cost
        return Relaxation(float(value[best].sum() + multipliers @ self._needs), value, saved)

    def best_multipliers(self) -> Floats:
        """Return where the bound is highest, as far as the searches go, `[B]`."""
        number = len(self._needs)
        if number > 1:  # beside other multipliers, none needs to exceed its value by itself
            alone = [self._halve(column, np.zeros(number)) for column in range(number)]
            self._tops = [min(_ABOVE * value, self._highest) for value in alone]
        return self._search(())

    def _best(self, value: Floats) -> Ints:
        """Return the option of each block whose value is least."""
        order = np.lexsort((value, self._options.block))
        return order[self._options.starts]

    def _search(self, fixed: Sequence[float]) -> Floats:
        """Return the best multipliers that begin with those."""
        column = len(fixed)
        if column == len(self._needs) - 1:
            multipliers = np.asarray([*fixed, 0.0])
            multipliers[column] = self._halve(column, multipliers)
            return multipliers
        found: dict[float, Floats] = {}

        def bound(value: float) -> float:
            found[value] = self._search((*fixed, value))
            return self.solve(found[value]).bound

        return found[_golden_section(bound, 0.0, self._tops[column])]

    def _halve(self, column: int, multipliers: Floats) -> float:
        """The lowest multiplier of one budget at which enough of it is saved, others fixed."""
        tried = multipliers.copy()
        low, high = 0.0, self._highest
        for _ in range(_HALVINGS):
            tried[column] = middle = (low + high) / 2
            enough = self.solve(tried).saved[column] >= self._needs[column]
            low, high = (low, middle) if enough else (middle, high)
        return high


@dataclass(frozen=True, eq=False)
class _Combination:
    """An option of every block, filled up with common units; the least rank is the best."""

    lost: float
    over: int  # least overshoot of any need, or 0 where it is below the cheapest unit's
    saved: int
    options: Ints  # [blocks]
    filled: int  # common units

    @property
    def rank(self) -> tuple[int, float, int]:
        return self.over, self.lost, self.saved


def solve_by_relaxation(problem: Knapsack) -> Selection | None:
    """Return the best removal, or one with a bound; None where none is found to meet the needs."""
    blocks = blocks_of(problem)
    dual = LagrangianDual(problem, blocks)
    relaxation = dual.solve(dual.best_multipliers())
    looks = len(blocks.classes) * len(blocks.common.units).bit_length()
    most = min(_MOST_TRIED, 1 + _EFFORT // looks)
    best: _Combination | None = None
    bound = np.inf
    for number, (extra, chosen) in enumerate(_best_first(blocks, relaxation.value)):
        bound = relaxation.bound + extra
        passed = best is not None and not best.over and bound >= best.lost * (1 - PRECISION)
        if passed or number == most:
            break
        found = _fill(problem, blocks, chosen)
        if found is not None and (best is None or found.rank < best.rank):
            best = found
        bound = np.inf  # of the combinations that are left, if there are none
    return None if best is None else _selection(problem, blocks, best, bound)


def largest_saving(problem: Knapsack, weights: Floats) -> Mask:
    """Return the units below their ceilings that save most, by the `weights` of the budgets."""
    blocks = blocks_of(problem)
    options = blocks.options
    value = options.saved @ weights + options.room * float(blocks.common.cost @ weights)
    order = np.lexsort((-value, options.block))
    chosen = order[options.starts]
    everything = _Combination(0.0, 0, 0, chosen, int(options.room[chosen].sum()))
    return _selection(problem, blocks, everything, 0.0).removed


def blocks_of(problem: Knapsack) -> Blocks:
    """Split a knapsack into blocks: one for each ceiling, or without ceilings one for each cost."""
    _, kind = distinct_costs(np.column_stack([problem.costs, problem.weight]))
    is_common = kind == np.bincount(kind).argmax()
    block = kind if problem.ceilings is None else problem.ceilings.part
    others = np.flatnonzero(~is_common)
    classes: list[list[Ints]] = []
    for number in range(int(block.max()) + 1):
        inside = others[block[others] == number]
        kinds = [inside[kind[inside] == one] for one in np.unique(kind[inside])]
        classes.append([by_importance(problem.importance, units) for units in kinds])
    units = by_importance(problem.importance, np.flatnonzero(is_common))
    common = _common_units(problem, units, block[units], len(classes))
    return Blocks(classes, common, _block_options(problem, classes, common))


def _common_units(problem: Knapsack, units: Ints, block: Numbers, blocks: int) -> CommonUnits:
    """Those units, in their order, each of which belongs to one of so many blocks."""
    importance = problem.importance[units]
    rank = np.empty(len(units), np.int32)
    values = []
    by_block = np.argsort(block, kind="stable")
    for inside in np.split(by_block, np.cumsum(np.bincount(block, minlength=blocks))[:-1]):
        rank[inside] = np.arange(len(inside))
        values.append(importance[inside])
    sums = [np.concatenate([[0.0], np.cumsum(part)]) for part in values]
    offsets = np.cumsum([0] + [len(part) for part in sums[:-1]])
    cost = problem.costs[units[0]]
    return CommonUnits(units, importance, block, rank, cost, values, np.concatenate(sums), offsets)


def _block_options(
    problem: Knapsack, classes: Sequence[Sequence[Ints]], common: CommonUnits
) -> BlockOptions:
    """Return every combination of counts that the ceiling of its block allows."""
    weight = int(problem.weight[common.units[0]])
    parts = []
    for number, found in enumerate(classes):
        limit = 0 if problem.ceilings is None else problem.ceilings.most[number]
        counts, saved, lost, heavy = _combinations(problem, found)
        room = np.full(len(lost), len(common.by_block[number]))
        if weight:
            room = np.minimum(room, (limit - heavy) // weight)
        fits = heavy <= limit
        block = np.full(int(fits.sum()), number)
        parts.append((block, counts[fits], saved[fits], lost[fits], room[fits]))
    block, counts, saved, lost, room = zip(*parts, strict=True)
    return BlockOptions(
        np.concatenate(block),
        [tuple(row) for rows in counts for row in rows.tolist()],
        np.concatenate(saved),
        np.concatenate(lost),
        np.concatenate(room),
    )


def _combinations(problem: Knapsack, classes: Sequence[Ints]) -> tuple[Ints, Ints, Floats, Ints]:
    """Return all counts of how many of each class go, and what each saves, loses and weighs."""
    sizes = [len(units) + 1 for units in classes]
    counts = np.indices([*sizes, 1]).reshape(len(sizes) + 1, -1)[:-1].T
    saved = np.zeros((len(counts), problem.costs.shape[1]), np.int64)
    lost, heavy = np.zeros(len(counts)), np.zeros(len(counts), np.int64)
    for column, units in zip(counts.T, classes, strict=True):
        saved += column[:, None] * problem.costs[units[0]]
        lost += np.concatenate([[0.0], np.cumsum(problem.importance[units])])[column]
        heavy += column * problem.weight[units[0]]
    return counts, saved, lost, heavy


def _golden_section(height: Callable[[float], float], low: float, high: float) -> float:
    """Where a concave function is highest, of all places that were looked at."""
    seen: dict[float, float] = {}
    places = [high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)]
    for place in (low, *places):
        seen[place] = height(place)
    for _ in range(_SECTIONS):
        first, second = places
        if seen[first] >= seen[second]:
            high = second
            places = [high - _GOLDEN * (high - low), first]
        else:
            low = first
            places = [second, low + _GOLDEN * (high - low)]
        for place in places:
            if place not in seen:
                seen[place] = height(place)
    return max(seen, key=lambda place: seen[place])


def _best_first(blocks: Blocks, value: Floats) -> Iterator[tuple[float, Ints]]:
    """Every combination of an option of each block, and how much worse it is than the best.

    Options of a block are ordered by their value; a combination follows from one in which a single
    block was one option ahead, so that each comes once.
    """
    starts = blocks.options.starts
    ends = np.append(starts[1:], len(value))
    ranked = [
        first + np.argsort(value[first:end], kind="stable")
        for first, end in zip(starts, ends, strict=True)
    ]
    best = np.asarray([order[0] for order in ranked])
    yield 0.0, best
    several = [block for block, order in enumerate(ranked) if len(order) > 1]
    several.sort(key=lambda block: float(value[ranked[block][1]] - value[best[block]]))
    worse = [value[ranked[block]] - value[best[block]] for block in several]
    heap: list[tuple[float, tuple[tuple[int, int], ...]]] = []
    if several:
        heap.append((float(worse[0][1]), ((0, 1),)))
    while heap:
        extra, moves = heapq.heappop(heap)
        chosen = best.copy()
        for place, option in moves:
            chosen[several[place]] = ranked[several[place]][option]
        yield extra, chosen
        *before, (place, option) = moves
        here = float(worse[place][option])
        if option + 1 < len(worse[place]):
            more = float(worse[place][option + 1]) - here
            heapq.heappush(heap, (extra + more, (*before, (place, option + 1))))
        if place + 1 < len(several):
            next_one = float(worse[place + 1][1])
            heapq.heappush(heap, (extra + next_one, (*moves, (place + 1, 1))))
            if option == 1:
                heapq.heappush(heap, (extra + next_one - here, (*before, (place + 1, 1))))


def _fill(problem: Knapsack, blocks: Blocks, chosen: Ints) -> _Combination | None:
    """Those options with as few common units as meet the needs; None where there are too few."""
    options, common = blocks.options, blocks.common
    saved = options.saved[chosen].sum(axis=0)
    missing = np.asarray(problem.needs) - saved
    paid = common.cost > 0
    if (missing[~paid] > 0).any():
        return None
    count = int(np.max(-(-missing[paid] // common.cost[paid]), initial=0))
    room = options.room[chosen]
    if count > room.sum():
        return None
    lost = float(options.lost[chosen].sum()) + common.lost(count, room)
    over = count * common.cost - missing
    near = bool((over < problem.cheapest).any())
    return _Combination(lost, 0 if near else int(over.min()), int(over.sum()), chosen, count)


def _selection(problem: Knapsack, blocks: Blocks, best: _Combination, bound: float) -> Selection:
    """Return the units of a combination, and how good it is."""
    removed = np.zeros(len(problem.importance), bool)
    places = blocks.common.places(best.filled, blocks.options.room[best.options])
    removed[blocks.common.units[places]] = True
    for classes, option in zip(blocks.classes, best.options, strict=True):
        for units, count in zip(classes, blocks.options.counts[option], strict=True):
            removed[units[:count]] = True
    lost = problem.lost(removed)
    proven = bound >= lost - PRECISION * abs(lost)
    return Selection(removed, lost, min(max(bound, fractional_bound(problem)), lost), proven=proven)
