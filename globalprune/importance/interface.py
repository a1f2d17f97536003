"""What an importance is: a name, the statistics it needs, and how they become a number a group."""

from collections.abc import Mapping
from typing import Protocol

import torch

from globalprune.artifacts.analyses.normalisers import NormaliserName
from globalprune.passes.interface import Statistic


class Importance(Protocol):
    """How much a model would lose without a group, by one method."""

    name: str
    needs: tuple[Statistic, ...]
    normaliser: NormaliserName  # of its scores, unless a person says otherwise
    counts_on_compensation: bool  # what is lost behind it, so that a plan must be applied with it
    in_nats: bool  # an estimate of loss; anything else is not comparable between layers

    def combine(self, statistics: Mapping[Statistic, torch.Tensor]) -> torch.Tensor:
        """Make the importance of one half's groups, `[groups]`, from their statistics."""
        ...
