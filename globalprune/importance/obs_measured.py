"""`obs`, each half's losses scaled to what removals from it were measured to cost.

Curvature ranks the groups of a half well and compares halves within a factor of two or so. A few
removals of every half are tried, behind compensation, and KL(model || cut model) is measured on
held-out windows; between those trials the prediction is scaled to them. That a second-order
prediction is best corrected by measuring is LeCun et al. 1990 (OBD), section 3; that the layers of
a language model need scales of their own is ours. It counts on `gp apply --compensate`.
"""

from collections.abc import Mapping

import torch

from globalprune.artifacts.analyses.normalisers import NormaliserName
from globalprune.passes.interface import Statistic


class ObsMeasured:
    """I_u of `obs`, times measured / predicted nats of the stretch of its half's order."""

    name = "obs_measured"
    needs: tuple[Statistic, ...] = ("measured_removal_loss",)
    normaliser: NormaliserName = "none"
    counts_on_compensation = True
    in_nats = True

    def combine(self, statistics: Mapping[Statistic, torch.Tensor]) -> torch.Tensor:
        """The losses as they stand."""
        return statistics["measured_removal_loss"]
