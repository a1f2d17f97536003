"""The knapsack under ceilings: a search over blocks bounded by Lagrangian relaxation."""

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
    Solution,
    fractional_bound,
    kinds_of,
    least_worth_first,
)


@dataclass(frozen=True, eq=False)
class Fillers:
    """The units of the commonest cost, worth least first."""

    units: Ints  # [F]
    importance: Floats  # [F]
    block: Numbers  # [F]
    rank: NDArray[np.int32]  # [F], how many fillers of its block go before
    cost: Ints  # [B]
    worth: Sequence[Floats]  # of each block: the importance of its fillers, ascending
    sums: Floats  # of each block, one behind the other: what is lost with its first 0, 1, … of them
    offsets: Ints  # of each block, where its sums begin

    def lost(self, count: int, room: Ints) -> float:
        """What the `count` worth least cost, at most `room` of each block: they must fit.

        Which ones they are follows from the greatest importance among them, which is sought.
        """
        if not count:
            return 0.0
        sought = range(len(self.importance))
        last = bisect_left(sought, count, key=lambda place: int(self._to(place, room).sum()))
        below = self._to(last, room, side="left")
        level = float(self.importance[last]) * (count - int(below.sum()))
        return float(self.sums[self.offsets + below].sum()) + level

    def _to(self, place: int, room: Ints, side: Literal["left", "right"] = "right") -> Ints:
        """How many of each block come before and with that filler and its equals, or before it."""
        value = self.importance[place]
        counts = [worth.searchsorted(value, side) for worth in self.worth]
        reached: Ints = np.minimum(np.asarray(counts), room)
        return reached

    def places(self, count: int, room: Ints) -> Ints:
        """Those fillers, of equals the ones that stand first: their places."""
        return np.flatnonzero(self.rank < room.astype(np.int32)[self.block])[:count]


@dataclass(frozen=True, eq=False)
class Options:
    """The ways to take the other units of each block; those of a block stand together."""

    block: Ints  # [O], ascending
    counts: Sequence[tuple[int, ...]]  # [O], how many of each chain of the block go
    saved: Ints  # [O, B]
    lost: Floats  # [O]
    room: Ints  # [O], fillers that may go besides

    @property
    def starts(self) -> Ints:
        """Where the options of each block begin."""
        return np.flatnonzero(np.diff(self.block, prepend=-1))


@dataclass(frozen=True, eq=False)
class Blocks:
    """A knapsack, taken apart."""

    chains: Sequence[Sequence[Ints]]  # of each block: its other units by cost, worth least first
    fillers: Fillers
    options: Options


def blocks_of(problem: Knapsack) -> Blocks:
    """Take a knapsack apart, every block whole."""
    _, kind = kinds_of(np.column_stack([problem.costs, problem.weight]))
    common = kind == np.bincount(kind).argmax()
    block = kind if problem.ceilings is None else problem.ceilings.part
    others = np.flatnonzero(~common)
    chains: list[list[Ints]] = []
    for number in range(int(block.max()) + 1):
        inside = others[block[others] == number]
        kinds = [inside[kind[inside] == one] for one in np.unique(kind[inside])]
        chains.append([least_worth_first(problem.importance, units) for units in kinds])
    units = least_worth_first(problem.importance, np.flatnonzero(common))
    fillers = _fillers(problem, units, block[units], len(chains))
    return Blocks(chains, fillers, _options(problem, chains, fillers))


def _fillers(problem: Knapsack, units: Ints, block: Numbers, blocks: int) -> Fillers:
    """Those units, in their order, of which each belongs to one of so many blocks."""
    importance = problem.importance[units]
    rank = np.empty(len(units), np.int32)
    worth = []
    by_block = np.argsort(block, kind="stable")
    for inside in np.split(by_block, np.cumsum(np.bincount(block, minlength=blocks))[:-1]):
        rank[inside] = np.arange(len(inside))
        worth.append(importance[inside])
    sums = [np.concatenate([[0.0], np.cumsum(part)]) for part in worth]
    offsets = np.cumsum([0] + [len(part) for part in sums[:-1]])
    cost = problem.costs[units[0]]
    return Fillers(units, importance, block, rank, cost, worth, np.concatenate(sums), offsets)


def _options(problem: Knapsack, chains: Sequence[Sequence[Ints]], fillers: Fillers) -> Options:
    """Every combination of counts that its ceiling allows."""
    weight = int(problem.weight[fillers.units[0]])
    parts = []
    for number, found in enumerate(chains):
        limit = 0 if problem.ceilings is None else problem.ceilings.most[number]
        counts, saved, lost, heavy = _combinations(problem, found)
        room = np.full(len(lost), len(fillers.worth[number]))
        if weight:
            room = np.minimum(room, (limit - heavy) // weight)
        fits = heavy <= limit
        block = np.full(int(fits.sum()), number)
        parts.append((block, counts[fits], saved[fits], lost[fits], room[fits]))
    block, counts, saved, lost, room = zip(*parts, strict=True)
    return Options(
        np.concatenate(block),
        [tuple(row) for rows in counts for row in rows.tolist()],
        np.concatenate(saved),
        np.concatenate(lost),
        np.concatenate(room),
    )


def _combinations(problem: Knapsack, chains: Sequence[Ints]) -> tuple[Ints, Ints, Floats, Ints]:
    """How many of each chain go, what that saves and loses, and what it weighs: all of them."""
    sizes = [len(chain) + 1 for chain in chains]
    counts = np.indices([*sizes, 1]).reshape(len(sizes) + 1, -1)[:-1].T
    saved = np.zeros((len(counts), problem.costs.shape[1]), np.int64)
    lost, heavy = np.zeros(len(counts)), np.zeros(len(counts), np.int64)
    for column, chain in zip(counts.T, chains, strict=True):
        saved += column[:, None] * problem.costs[chain[0]]
        lost += np.concatenate([[0.0], np.cumsum(problem.importance[chain])])[column]
        heavy += column * problem.weight[chain[0]]
    return counts, saved, lost, heavy


_HALVINGS: Final = 60
_SECTIONS: Final = 24  # to a hundred-thousandth; any price bounds what is lost
_ABOVE: Final = 2.0  # times the price at which a budget alone is kept
_GOLDEN: Final = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, eq=False)
class Offer:
    """What each option comes to at some prices, with the fillers that are worth their price."""

    bound: float  # no removal that meets the needs loses less
    value: Floats  # [O], lost less what the saved is worth
    saved: Ints  # [B], by the best option of every block


class Market:
    """A knapsack at prices."""

    def __init__(self, problem: Knapsack, blocks: Blocks) -> None:
        fillers = blocks.fillers
        self._options, self._cost = blocks.options, fillers.cost
        self._needs = np.asarray(problem.needs, np.int64)
        self._worth, self._sums = fillers.worth, fillers.sums
        self._offset = fillers.offsets[self._options.block]
        # dear enough for any unit to go: no price of a solution is above that of all there is
        self._highest = float(np.abs(problem.importance).sum()) or 1.0
        self._tops = [self._highest] * len(problem.needs)

    def at(self, prices: Floats) -> Offer:
        """Let every block decide; prices per parameter, `[B]`."""
        options = self._options
        price = float(prices @ self._cost)
        wanted = np.asarray([np.searchsorted(worth, price) for worth in self._worth])
        filled = np.minimum(wanted[options.block], options.room)
        value = options.lost - options.saved @ prices
        value += self._sums[self._offset + filled] - filled * price
        best = self._best(value)
        saved = options.saved[best].sum(axis=0) + int(filled[best].sum()) * self._cost
        return Offer(float(value[best].sum() + prices @ self._needs), value, saved)

    def _best(self, value: Floats) -> Ints:
        """The option of each block that is worth least."""
        order = np.lexsort((value, self._options.block))
        return order[self._options.starts]

    def best_prices(self) -> Floats:
        """Where the bound is highest, as far as the searches go."""
        number = len(self._needs)
        if number > 1:  # where others have a price, none needs to be dearer than by itself
            alone = [self._halve(column, np.zeros(number)) for column in range(number)]
            self._tops = [min(_ABOVE * price, self._highest) for price in alone]
        return self._search(())

    def _search(self, fixed: Sequence[float]) -> Floats:
        """The best prices that begin with those."""
        column = len(fixed)
        if column == len(self._needs) - 1:
            prices = np.asarray([*fixed, 0.0])
            prices[column] = self._halve(column, prices)
            return prices
        found: dict[float, Floats] = {}

        def bound(price: float) -> float:
            found[price] = self._search((*fixed, price))
            return self.at(found[price]).bound

        return found[_golden_section(bound, 0.0, self._tops[column])]

    def _halve(self, column: int, prices: Floats) -> float:
        """The lowest price of one budget at which enough of it is saved, others as they are."""
        tried = prices.copy()
        low, high = 0.0, self._highest
        for _ in range(_HALVINGS):
            tried[column] = middle = (low + high) / 2
            enough = self.at(tried).saved[column] >= self._needs[column]
            low, high = (low, middle) if enough else (middle, high)
        return high


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


PRECISION: Final = 1e-9  # relative: a removal that close to the bound is the best
_EFFORT: Final = 200_000  # looks into a block, in all
_MOST_TRIED: Final = 5_000  # combinations


@dataclass(frozen=True, eq=False)
class _Filled:
    """A combination that was filled up; of those that count the least lost is the best."""

    lost: float
    over: int  # least overshoot of any need, or 0 where it is below the cheapest unit's
    saved: int
    options: Ints  # [blocks]
    fillers: int  # how many

    @property
    def rank(self) -> tuple[int, float, int]:
        return self.over, self.lost, self.saved


def solve_by_relaxation(problem: Knapsack) -> Solution | None:
    """The best removal, or one whose gap is known; None where none is found to meet the needs."""
    blocks = blocks_of(problem)
    market = Market(problem, blocks)
    offer = market.at(market.best_prices())
    looks = len(blocks.chains) * len(blocks.fillers.units).bit_length()
    most = min(_MOST_TRIED, 1 + _EFFORT // looks)
    best: _Filled | None = None
    bound = np.inf
    for number, (extra, chosen) in enumerate(_least_lost_first(blocks, offer.value)):
        bound = offer.bound + extra
        passed = best is not None and not best.over and bound >= best.lost * (1 - PRECISION)
        if passed or number == most:
            break
        found = _filled(problem, blocks, chosen)
        if found is not None and (best is None or found.rank < best.rank):
            best = found
        bound = np.inf  # of those that are left, if there are none
    return None if best is None else _solution(problem, blocks, best, bound)


def _least_lost_first(blocks: Blocks, value: Floats) -> Iterator[tuple[float, Ints]]:
    """Every combination of an option of each block, and how much worse it is than the best.

    Options of a block are gone through in their order; a combination follows from one in which a
    single block was a place ahead, so that each comes once.
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


def _filled(problem: Knapsack, blocks: Blocks, chosen: Ints) -> _Filled | None:
    """A combination with as few fillers as meet the needs; None where there aren't enough."""
    options, fillers = blocks.options, blocks.fillers
    saved = options.saved[chosen].sum(axis=0)
    missing = np.asarray(problem.needs) - saved
    paid = fillers.cost > 0
    if (missing[~paid] > 0).any():
        return None
    count = int(np.max(-(-missing[paid] // fillers.cost[paid]), initial=0))
    room = options.room[chosen]
    if count > room.sum():
        return None
    lost = float(options.lost[chosen].sum()) + fillers.lost(count, room)
    over = count * fillers.cost - missing
    near = bool((over < problem.cheapest).any())
    return _Filled(lost, 0 if near else int(over.min()), int(over.sum()), chosen, count)


def _solution(problem: Knapsack, blocks: Blocks, best: _Filled, bound: float) -> Solution:
    """The units of a combination, and how good it is."""
    taken = np.zeros(len(problem.importance), bool)
    places = blocks.fillers.places(best.fillers, blocks.options.room[best.options])
    taken[blocks.fillers.units[places]] = True
    for chains, option in zip(blocks.chains, best.options, strict=True):
        for chain, count in zip(chains, blocks.options.counts[option], strict=True):
            taken[chain[:count]] = True
    lost = problem.lost(taken)
    proven = bound >= lost - PRECISION * abs(lost)
    return Solution(taken, min(max(bound, fractional_bound(problem)), lost), proven)


def largest_saving(problem: Knapsack, weights: Floats) -> Mask:
    """Units below their ceilings that save the most, by the `weights` of the budgets `[B]`."""
    blocks = blocks_of(problem)
    options = blocks.options
    heavy = options.saved @ weights + options.room * float(blocks.fillers.cost @ weights)
    order = np.lexsort((-heavy, options.block))
    chosen = order[options.starts]
    filled = _Filled(0.0, 0, 0, chosen, int(options.room[chosen].sum()))
    return _solution(problem, blocks, filled, 0.0).taken
