"""The knapsack below ceilings against HiGHS: the same value, and how long each takes.

    python benchmarks/knapsack.py 1000

Instances are drawn as small models: two to six layers of equal groups, log-normal importances, a
ceiling for every layer, one budget or two. HiGHS is called through scipy and proves its optimum.
"""

import sys
import time
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from globalprune.planning.knapsack import Ceilings, Ints, Knapsack, Mask
from globalprune.planning.lagrangian import solve_by_relaxation

EQUAL: Final = 1e-6  # of the value, to which HiGHS proves it


def drawn(seed: int) -> Knapsack:
    """A small model's knapsack; of three seeds one asks for attention and MLP by themselves."""
    draw = np.random.default_rng(seed)
    layers, groups, channels = (int(draw.integers(*ends)) for ends in ((2, 7), (1, 5), (5, 40)))
    layer = np.repeat(np.arange(layers), groups + channels)
    of_layer = np.asarray([int(draw.integers(3, 40))] * groups + [1] * channels, np.int64)
    cost = np.tile(of_layer, layers)
    level = np.repeat(draw.lognormal(sigma=0.7, size=layers), groups + channels)
    scatter = draw.lognormal(sigma=draw.uniform(0.2, 1.5), size=len(cost))
    below = [int(draw.uniform(0.2, 0.8) * cost[layer == one].sum()) for one in range(layers)]
    apart = np.stack([np.where(cost > 1, cost, 0), np.where(cost > 1, 0, cost)], axis=1)
    costs = apart if seed % 3 == 0 else cost[:, None]
    needs = (draw.uniform(0.1, 0.5) * costs.sum(axis=0)).astype(int).tolist()
    return Knapsack(scatter * cost * level, costs, needs, Ceilings(layer, cost, below))


def by_highs(problem: Knapsack) -> Mask | None:
    """The units whose loss is least; None where the needs can't be met below the ceilings."""
    ceilings = problem.ceilings
    rows: list[Ints | NDArray[np.float64]] = list(-problem.costs.T)
    most = [-need for need in problem.needs]
    if ceilings is not None:
        rows += [
            np.where(ceilings.part == one, ceilings.weight, 0) for one in range(len(ceilings.most))
        ]
        most += ceilings.most
    found = optimize.milp(
        problem.importance,
        integrality=np.ones(len(problem.importance)),
        bounds=optimize.Bounds(0, 1),
        constraints=optimize.LinearConstraint(np.asarray(rows, float), -np.inf, most),
        options={"mip_rel_gap": 1e-9},
    )
    return None if found.x is None else np.asarray(found.x > 0.5)  # noqa: PLR2004


def difference(problem: Knapsack, ours: Mask | None, theirs: Mask | None) -> float:
    """How far apart the losses are, of that of HiGHS; infinite where one finds nothing.

    Where even the best overshoots every need by a unit or more, ours overshoots least instead, and
    the two can't be compared.
    """
    if ours is None or theirs is None:
        return 0.0 if ours is theirs else float("inf")
    over = problem.costs[theirs].sum(axis=0) - problem.needs
    if (over >= problem.cheapest).all():
        return 0.0
    return abs(problem.lost(ours) / problem.lost(theirs) - 1)


def main(count: int) -> None:
    """Compare so many instances, and print what came of it."""
    seconds = {"ours": 0.0, "HiGHS": 0.0}
    equal = proven = 0
    for seed in range(count):
        problem = drawn(seed)
        started = time.perf_counter()
        found = solve_by_relaxation(problem)
        between = time.perf_counter()
        theirs = by_highs(problem)
        seconds["ours"] += between - started
        seconds["HiGHS"] += time.perf_counter() - between
        equal += difference(problem, found.removed if found else None, theirs) < EQUAL
        proven += found is None or found.proven
    print(f"{equal} of {count} equal, {proven} proven by us; seconds: {seconds}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
