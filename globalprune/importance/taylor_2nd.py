"""Second-order Taylor with the empirical Fisher information as curvature, window by window.

LLM-Pruner, Ma et al. 2023, arXiv:2305.11627 ("element, second order"). Its scripts square the
gradient of a whole batch; here every window's own gradient is squared.
"""

from collections.abc import Mapping

import torch

from globalprune.artifacts.analyses.normalisers import NormaliserName
from globalprune.passes.interface import Statistic


class TaylorSecondOrder:
    """I_u = Σ_{θ∈u} |θ·ḡ| + ½ |θ²·h|."""

    name = "taylor_2nd"
    needs: tuple[Statistic, ...] = ("first_order", "curvature")
    normaliser: NormaliserName = "none"
    counts_on_compensation = False
    in_nats = True

    def combine(self, statistics: Mapping[Statistic, torch.Tensor]) -> torch.Tensor:
        """Both terms."""
        return statistics["first_order"] + statistics["curvature"]
