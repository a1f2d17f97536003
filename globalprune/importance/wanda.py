"""Weights times activations, for structures: no backward pass.

Wanda, Sun et al. 2023, arXiv:2306.11695. Good inside a half; as a ranking over all of them it
has a normaliser, because nothing in it knows what a layer does to the loss.
"""

from collections.abc import Mapping

import torch

from globalprune.artifacts.analyses.normalisers import NormaliserName
from globalprune.passes.interface import Statistic


class Wanda:
    """I_u = A_u · Σ_{θ∈u} |θ|, A_u the root mean square of what the group feeds forward."""

    name = "wanda"
    needs: tuple[Statistic, ...] = ("magnitude", "input_rms")
    normaliser: NormaliserName = "mean"
    counts_on_compensation = False
    in_nats = False

    def combine(self, statistics: Mapping[Statistic, torch.Tensor]) -> torch.Tensor:
        """The product."""
        return statistics["magnitude"] * statistics["input_rms"]
