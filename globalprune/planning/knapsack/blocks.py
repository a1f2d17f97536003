"""What may go under each ceiling, block by block: counts of every cost but the commonest.

A block holds the units of one ceiling; without ceilings, those of one cost. Of units of one cost in
a block the ones worth least go first. The units of the commonest cost of all are fillers: how many
of them go is left open, up to what a ceiling allows beside the counts.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from globalprune.planning.knapsack.problem import (
    Floats,
    Ints,
    Knapsack,
    Numbers,
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
