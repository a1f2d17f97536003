"""What may go under each ceiling, block by block: counts of every cost but the commonest.

A block holds the units of one ceiling; without ceilings, those of one cost. Of units of one cost in
a block the ones worth least go first. The units of the commonest cost of all are fillers: how many
of them go is left open, up to what a ceiling allows beside the counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from globalprune.planning.knapsack.problem import (
    Floats,
    Ints,
    Knapsack,
    kinds_of,
    least_worth_first,
)


@dataclass(frozen=True, eq=False)
class Fillers:
    """The units of the commonest cost, worth least first."""

    units: Ints  # [F]
    importance: Floats  # [F]
    block: Ints  # [F]
    rank: Ints  # [F], how many fillers of its block go before
    cost: Ints  # [B]


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
    fillers = _fillers(problem, units, block)
    return Blocks(chains, fillers, _options(problem, chains, fillers))


def _fillers(problem: Knapsack, units: Ints, block: Ints) -> Fillers:
    """Those units, in their order."""
    blocks = block[units]
    rank = np.empty(len(units), np.int64)
    by_block = np.argsort(blocks, kind="stable")
    sizes = np.bincount(blocks)
    rank[by_block] = np.arange(len(units)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return Fillers(units, problem.importance[units], blocks, rank, problem.costs[units[0]])


def _options(problem: Knapsack, chains: Sequence[Sequence[Ints]], fillers: Fillers) -> Options:
    """Every combination of counts that its ceiling allows."""
    weight = int(problem.weight[fillers.units[0]])
    sizes = np.bincount(fillers.block, minlength=len(chains))
    parts = []
    for number, found in enumerate(chains):
        limit = 0 if problem.ceilings is None else problem.ceilings.most[number]
        counts, saved, lost, heavy = _combinations(problem, found)
        room = np.full(len(lost), sizes[number])
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
