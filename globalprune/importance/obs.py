"""Optimal brain surgeon: what is lost when a group goes and what stays is solved anew.

LLM Surgeon, arXiv:2312.17244 (curvature factored as K-FAC has it), for whole groups as in ZipLM,
arXiv:2302.04089. Each half has an order of its own in which its groups go; a group's importance is
what it adds to the loss when its turn comes, never less than those before it. So the lowest scores
of a half are always the beginning of its order. It counts on `gp apply --compensate`.
"""

from collections.abc import Mapping

import torch

from globalprune.artifacts.analyses.normalisers import NormaliserName
from globalprune.passes.interface import Statistic


class Obs:
    """I_u = ½ tr(W_uᵀ G W_u [(A⁻¹)_uu]⁻¹), W and A those of what still stands when u goes."""

    name = "obs"
    needs: tuple[Statistic, ...] = ("removal_loss",)
    normaliser: NormaliserName = "none"
    counts_on_compensation = True
    in_nats = True

    def combine(self, statistics: Mapping[Statistic, torch.Tensor]) -> torch.Tensor:
        """The losses as they stand."""
        return statistics["removal_loss"]
