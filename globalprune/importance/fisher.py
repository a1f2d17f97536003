"""Gate Fisher: what the loss would curve up by if all that a group feeds forward were shut off.

Fisher pruning, Theis et al. 2018, arXiv:1801.05787; with a gate for every group of a Transformer,
Kwon et al. 2022, arXiv:2204.09656. Their gates are those of heads and channels, ours of groups. The
half is that of the second order of a Taylor expansion, and the mean is one over predicted tokens.
"""

from collections.abc import Mapping

import torch

from globalprune.artifacts.analyses.normalisers import NormaliserName
from globalprune.passes.interface import Statistic


class Fisher:
    """I_u = ½ · (1/predicted tokens) · Σ_s J_su², J_su = Σ_{t, j∈u} a_tj · ∂(Σ nll_s)/∂a_tj."""

    name = "fisher"
    needs: tuple[Statistic, ...] = ("gate_fisher",)
    normaliser: NormaliserName = "none"
    counts_on_compensation = False
    in_nats = True

    def combine(self, statistics: Mapping[Statistic, torch.Tensor]) -> torch.Tensor:
        """The mean as it stands."""
        return statistics["gate_fisher"]
