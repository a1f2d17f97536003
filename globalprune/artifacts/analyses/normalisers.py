"""Normalisers: they make scores that aren't in units of loss comparable between sublayers.

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
    """Return the name as a `NormaliserName`; raise `UsageError` for an unknown one."""
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
    """Describe what scores are by: `taylor`, or `wanda, normalised by mean`."""
    return importance if normaliser == "none" else f"{importance}, normalised by {normaliser}"


def average_ranks(values: Floats) -> Floats:
    """Return the ranks from 1 on; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks


def _by_mean(sublayers: SublayerScores) -> SublayerScores:
    """Divide every score by the mean absolute score of its sublayer."""
    return [scores / (np.abs(scores).mean() or 1.0) for scores in sublayers]


def _by_rank(sublayers: SublayerScores) -> SublayerScores:
    """Replace scores by their relative rank in the sublayer, in (0, 1): all lose the same part."""
    return [(average_ranks(scores) - 0.5) / len(scores) for scores in sublayers]


def _by_spread(sublayers: SublayerScores) -> SublayerScores:
    """Return standard deviations from the sublayer's mean, all raised so that the least is 0.

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
