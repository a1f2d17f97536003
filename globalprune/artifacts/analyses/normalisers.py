"""How scores that aren't in units of loss are made comparable between sublayers: numpy, no torch.

A normaliser takes the scores of every sublayer, raw importance / cost, and gives each group another
score; its importance is then that times its cost. Inside a sublayer no order changes.
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
SublayerScores = Sequence[Floats]  # the scores of each sublayer's groups


def normaliser_named(name: str) -> NormaliserName:
    """The name, if there is such a normaliser."""
    for known in NORMALISER_NAMES:
        if name == known:
            return known
    raise UsageError(f"--normaliser: {name} is not known; there are {', '.join(NORMALISER_NAMES)}.")


def normalised(
    name: NormaliserName, importance: Floats, cost: Rows, sublayers: Iterable[Rows]
) -> Floats:
    """Return the importance of every row on its sublayer's scale; `sublayers` holds their rows."""
    if name == "none":
        return importance  # to the last bit
    rows = list(sublayers)
    scores = _NORMALISERS[name]([importance[sublayer] / cost[sublayer] for sublayer in rows])
    result = np.empty_like(importance)
    for sublayer, values in zip(rows, scores, strict=True):
        result[sublayer] = values * cost[sublayer]
    return result


def scored_by(importance: str, normaliser: str) -> str:
    """`taylor`, or `wanda, normalised by mean`."""
    return importance if normaliser == "none" else f"{importance}, normalised by {normaliser}"


def average_ranks(values: Floats) -> Floats:
    """The ranks from 1 on; what ties shares the mean of its ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks


def _by_mean(sublayers: SublayerScores) -> SublayerScores:
    """How many times its sublayer's mean score a group is worth."""
    return [scores / (np.abs(scores).mean() or 1.0) for scores in sublayers]


def _by_rank(sublayers: SublayerScores) -> SublayerScores:
    """Where in its half a group stands, in (0, 1): all sublayers then lose the same part."""
    return [(average_ranks(scores) - 0.5) / len(scores) for scores in sublayers]


def _by_spread(sublayers: SublayerScores) -> SublayerScores:
    """How many standard deviations off its sublayer's mean a group is, all raised to 0 or more.

    FLAP, An et al. 2023, arXiv:2312.11983, standardises its metric in each layer likewise.
    """
    centred = [(scores - scores.mean()) / (scores.std() or 1.0) for scores in sublayers]
    lowest = min(float(scores.min()) for scores in centred)
    return [scores - lowest for scores in centred]


_NORMALISERS: dict[NormaliserName, Callable[[SublayerScores], SublayerScores]] = {
    "mean": _by_mean,
    "rank": _by_rank,
    "standard": _by_spread,
}
