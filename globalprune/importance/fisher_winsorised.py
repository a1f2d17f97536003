"""Gate Fisher in which no single window decides: each group's largest |J_su| are clipped.

Sums of squares have heavy tails: a group that one odd window needs outranks one that all need a
little. Winsorising, Dixon 1960 (doi:10.1214/aoms/1177705900), sets what lies beyond a quantile to
that quantile. Here it is the upper 5 % of the windows: 7 of 128 end up at the cap, so that none
makes up more than a seventh of an importance. At 99.5 %, a usual level, the cap would lie between
the two largest of 128 and clip next to nothing. What is clipped understates nats.
"""

from collections.abc import Mapping

import torch

from globalprune.artifacts.analyses.normalisers import NormaliserName
from globalprune.passes.interface import Statistic


class FisherWinsorised:
    """I_u as `fisher`'s, with |J_su| / √T_s of every group clipped at its upper 5 % over s."""

    name = "fisher_winsorised"
    needs: tuple[Statistic, ...] = ("gate_fisher_winsorised",)
    normaliser: NormaliserName = "none"
    counts_on_compensation = False
    in_nats = True

    def combine(self, statistics: Mapping[Statistic, torch.Tensor]) -> torch.Tensor:
        """The mean as it stands."""
        return statistics["gate_fisher_winsorised"]
