"""How sure importances are: what two halves of the calibration windows say of the same groups.

Each half scores every group for itself. Their ranks are correlated (Spearman 1904), and the cuts
that each would make are laid over each other: lowest scores first, until a ratio of all parameters
is gone. Half the windows say less than all of them, so the figures are on the careful side.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from globalprune.artifacts.analyses.normalisers import average_ranks
from globalprune.artifacts.records import Record

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5)
ENOUGH = 0.9  # below it, a plan says that its importances are unsure
_DIGITS = 4
Scores = NDArray[np.float64]
Costs = NDArray[np.integer[Any]]


class SharedCut(Record):
    """What two cuts of the same ratio have in common."""

    ratio: float = Field(gt=0, lt=1)  # of all parameters of the model
    shared: float = Field(ge=0, le=1)  # of the parameters that one removes, those that both remove


class Reliability(Record):
    """How far the halves of the windows agree on one importance."""

    rank_correlation: float = Field(ge=-1, le=1)  # Spearman's, over the scores of all groups
    cuts: tuple[SharedCut, ...]  # at the ratios that the measured groups allow

    def nearest_cut(self, ratio: float) -> SharedCut | None:
        """The cut that is the most like one of `ratio`."""
        return min(self.cuts, key=lambda cut: abs(cut.ratio - ratio), default=None)

    def doubts(self, ratio: float) -> Iterator[str]:
        """Yield what is below `ENOUGH`, in words."""
        if self.rank_correlation < ENOUGH:
            yield f"their ranks correlate by {self.rank_correlation:.2f}"
        cut = self.nearest_cut(ratio)
        if cut is not None and cut.shared < ENOUGH:
            yield (
                f"their cuts of {100 * cut.ratio:.0f} % share {100 * cut.shared:.0f} % of what "
                "each removes"
            )


def agreement(found: Reliability) -> str:
    """`ranks correlate by 0.950; shared of a cut of 10 %: 0.93, 20 %: 0.95`."""
    cuts = ", ".join(f"{100 * cut.ratio:.0f} %: {cut.shared:.2f}" for cut in found.cuts)
    return f"ranks correlate by {found.rank_correlation:.3f}" + (
        f"; shared of a cut of {cuts}" if cuts else ""
    )


def reliability_of(first: Scores, second: Scores, costs: Costs, parameters: int) -> Reliability:
    """Compare the scores that two halves of the windows give the same groups, in the same order."""
    total = int(costs.sum())
    reachable = [ratio for ratio in RATIOS if _need(ratio, parameters) <= total]
    return Reliability(
        rank_correlation=_rank_correlation(first, second),
        cuts=tuple(
            SharedCut(ratio=ratio, shared=_shared(first, second, costs, _need(ratio, parameters)))
            for ratio in reachable
        ),
    )


def _rank_correlation(first: Scores, second: Scores) -> float:
    """Pearson's correlation of the ranks; 1 where all ranks are the same, also if they all tie."""
    one, other = (average_ranks(scores) - (len(scores) + 1) / 2 for scores in (first, second))
    if np.array_equal(one, other):
        return 1.0
    size = math.sqrt(float(one @ one) * float(other @ other))
    return round(float(one @ other) / size, _DIGITS) if size else 0.0


def _need(ratio: float, parameters: int) -> int:
    """Of so many parameters, at least the ratio: in per cent, since 0.1 * 30 is more than 3."""
    return -(-round(100 * ratio) * parameters // 100)


def _shared(first: Scores, second: Scores, costs: Costs, need: int) -> float:
    """The parameters that both cuts remove, of the mean of what each removes."""
    one, other = _cut(first, costs, need), _cut(second, costs, need)
    removed = int(costs[one].sum()) + int(costs[other].sum())
    return round(2 * int(costs[one & other].sum()) / removed, _DIGITS)


def _cut(scores: Scores, costs: Costs, need: int) -> NDArray[np.bool_]:
    """Mark the lowest scores until `need` parameters are gone: a plan's but for the last few."""
    order = np.argsort(scores, kind="stable")
    count = int(np.searchsorted(np.cumsum(costs[order]), need)) + 1
    gone = np.zeros(len(scores), bool)
    gone[order[:count]] = True
    return gone
