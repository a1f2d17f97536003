"""The size of the weights alone: what pruning began with, and what others are measured against.

Li et al. 2017, arXiv:1608.08710 (filters by the sum of their absolute weights). Nothing is run.
"""

from collections.abc import Mapping

import torch

from globalprune.artifacts.analyses.normalisers import NormaliserName
from globalprune.passes.interface import Statistic


class Magnitude:
    """I_u = Σ_{θ∈u} |θ|."""

    name = "magnitude"
    needs: tuple[Statistic, ...] = ("magnitude",)
    normaliser: NormaliserName = "mean"
    counts_on_compensation = False
    in_nats = False

    def combine(self, statistics: Mapping[Statistic, torch.Tensor]) -> torch.Tensor:
        """The sum as it stands."""
        return statistics["magnitude"]
