"""Prices of the budgets: what a saved parameter must be worth for the needs to be met.

At given prices every block decides for itself, and what comes out can be beaten by no removal that
meets the needs: Lagrange's bound. The best prices are where it is highest. It is concave, so they
are found by halving in one budget, and by golden sections in each further one.

Sources: Everett 1963, https://doi.org/10.1287/opre.11.3.399; Kiefer 1953 (golden sections).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from globalprune.planning.knapsack.blocks import Blocks
from globalprune.planning.knapsack.problem import Floats, Ints, Knapsack

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
