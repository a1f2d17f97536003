"""First-order Taylor: what the loss would change by, parameter by parameter, if each were zero.

Molchanov et al. 2019, arXiv:1906.10771; for language models: LLM-Pruner, Ma et al. 2023,
arXiv:2305.11627 ("element, first order").
"""

from collections.abc import Mapping

import torch

from globalprune.artifacts.analyses.normalisers import NormaliserName
from globalprune.passes.interface import Statistic


class Taylor:
    """I_u = Σ_{θ∈u} |θ·ḡ|."""

    name = "taylor"
    needs: tuple[Statistic, ...] = ("first_order",)
    normaliser: NormaliserName = "none"
    counts_on_compensation = False
    in_nats = True

    def combine(self, statistics: Mapping[Statistic, torch.Tensor]) -> torch.Tensor:
        """The sum as it stands."""
        return statistics["first_order"]
