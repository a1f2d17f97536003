"""How scores that aren't in units of loss are made comparable between halves: numpy, no torch.

A normaliser sees the scores of every half (layer and kind), raw importance / cost, and gives each
group another score; its importance is then that times its cost. Inside a half no order changes.
It acts on the columns `importance` and `score`, never on a raw `importance_<name>`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from globalprune.errors import UsageError

NormaliserName = Literal["none", "mean", "rank", "standard"]
NORMALISER_NAMES: tuple[NormaliserName, ...] = get_args(NormaliserName)
Floats = NDArray[np.float64]
Rows = NDArray[np.integer[Any]]
Halves = Sequence[Floats]  # the scores of each half's groups


def normaliser_named(name: str) -> NormaliserName:
    """The name, if there is such a normaliser."""
    for known in NORMALISER_NAMES:
        if name == known:
            return known
    raise UsageError(f"--normaliser: {name} is not known; there are {', '.join(NORMALISER_NAMES)}.")


def normalised(
    name: NormaliserName, importance: Floats, cost: Rows, halves: Iterable[Rows]
) -> Floats:
    """The importance of every row by its half's scale; `halves` are the rows of each half."""
    if name == "none":
        return importance  # to the last bit
    rows = list(halves)
    scores = _NORMALISERS[name]([importance[half] / cost[half] for half in rows])
    result = np.empty_like(importance)
    for half, values in zip(rows, scores, strict=True):
        result[half] = values * cost[half]
    return result


def scored_by(importance: str, normaliser: str) -> str:
    """`taylor`, or `wanda, normalised by mean`."""
    return importance if normaliser == "none" else f"{importance}, normalised by {normaliser}"


def average_ranks(values: Floats) -> Floats:
    """The ranks from 1 on; what ties shares the mean of its ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks


def _by_mean(halves: Halves) -> Halves:
    """How many times its half's mean score a group is worth."""
    return [scores / (np.abs(scores).mean() or 1.0) for scores in halves]


def _by_rank(halves: Halves) -> Halves:
    """Where in its half a group stands, in (0, 1): all halves then lose the same part."""
    return [(average_ranks(scores) - 0.5) / len(scores) for scores in halves]


def _by_spread(halves: Halves) -> Halves:
    """How many standard deviations off its half's mean a group is, all raised to 0 or more.

    FLAP, An et al. 2023, arXiv:2312.11983, standardises its metric in each layer likewise.
    """
    centred = [(scores - scores.mean()) / (scores.std() or 1.0) for scores in halves]
    lowest = min(float(scores.min()) for scores in centred)
    return [scores - lowest for scores in centred]


_NORMALISERS: dict[NormaliserName, Callable[[Halves], Halves]] = {
    "mean": _by_mean,
    "rank": _by_rank,
    "standard": _by_spread,
}
