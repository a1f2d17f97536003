"""Solves a knapsack whose units are coupled by ceilings, or have many costs.

Prices give a bound, and for every option how much more it loses than the best one of its block.
Combinations of options are tried in the order of what they can't but lose, each filled up with the
fillers worth least. Once that order has passed the best one found, nothing is better; if the search
ends before, the bound says how far from the best that can be.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from globalprune.planning.knapsack.blocks import Blocks, blocks_of
from globalprune.planning.knapsack.prices import Market
from globalprune.planning.knapsack.problem import (
    Floats,
    Ints,
    Knapsack,
    Mask,
    Solution,
    fractional_bound,
)

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


def solve_searching(problem: Knapsack) -> Solution | None:
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


def most_below(problem: Knapsack, weights: Floats) -> Mask:
    """Units below their ceilings that save the most, by the `weights` of the budgets `[B]`."""
    blocks = blocks_of(problem)
    options = blocks.options
    heavy = options.saved @ weights + options.room * float(blocks.fillers.cost @ weights)
    order = np.lexsort((-heavy, options.block))
    chosen = order[options.starts]
    filled = _Filled(0.0, 0, 0, chosen, int(options.room[chosen].sum()))
    return _solution(problem, blocks, filled, 0.0).taken
