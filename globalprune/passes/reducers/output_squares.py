"""What statistics have in common that add up squares at o_proj and down_proj.

What is squared, and what becomes of the sums, each of them says.
"""

from collections.abc import Mapping, Sequence

import torch

from globalprune.passes.interface import Site, StatisticReducer
from globalprune.passes.reducers.group_sums import HalvedSums


class OutputSquares(StatisticReducer):
    """A reducer's ways with its sums of squares; subclasses take what they need, and finish."""

    def __init__(self) -> None:
        self._squares = HalvedSums()

    def watches(self, site: Site) -> bool:
        """Only what the groups feed."""
        return site.is_output

    def halve(self) -> None:
        """Remember the squares."""
        self._squares.halve()

    def state(self) -> dict[str, torch.Tensor]:
        """The squares."""
        return self._squares.state()

    def restore(self, state: Mapping[str, torch.Tensor], sites: Sequence[Site]) -> None:
        """Take the squares back."""
        self._squares.restore(state, sites)
