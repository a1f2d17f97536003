"""The statistics that need no gradient: what enters a group's output, and the weights themselves.

Norms of activations as an importance: Sun et al. 2023 (Wanda), arXiv:2306.11695.
"""

from collections.abc import Sequence

import torch

from globalprune.passes.group_sums import add_to_half, sum_to_groups
from globalprune.passes.interface import (
    Batch,
    GradientPlace,
    GroupSums,
    Half,
    Site,
    Statistic,
    widened,
)


class InputRms:
    """Root mean square, over all tokens and a group's inputs, of what enters o_proj / down_proj.

    That is after the gate: a hook on the MLP's own input would see what no channel made.
    """

    gradient_at: GradientPlace | None = None

    def __init__(self) -> None:
        self._squares: GroupSums = {}
        self._counts: dict[Half, int] = {}  # of terms in each group's sum

    def watches(self, site: Site) -> bool:
        """Only what the groups feed."""
        return site.is_output

    def take_input(self, site: Site, inputs: torch.Tensor) -> None:
        """Add up the squares; a window's last token counts too, although it predicts nothing."""
        axis = site.axes["weight"]
        squares = widened(inputs).square().sum(dim=(0, 1), dtype=torch.float64)  # [D]
        add_to_half(self._squares, site, squares.reshape(site.groups, axis.width).sum(dim=1))
        tokens = inputs.shape[0] * inputs.shape[1]
        self._counts[site.half] = self._counts.get(site.half, 0) + tokens * axis.width

    def take_gradient(
        self, site: Site, inputs: torch.Tensor, delta: torch.Tensor, batch: Batch
    ) -> None:
        """No gradient is asked for."""

    def finish(self, windows: int) -> dict[Statistic, GroupSums]:
        """The root of the mean."""
        del windows
        counts = self._counts
        rms = {half: (sums / counts[half]).sqrt() for half, sums in self._squares.items()}
        return {"input_rms": rms}


def magnitudes(sites: Sequence[Site]) -> GroupSums:
    """Σ_{θ∈u} |θ| for every group: no window needs to run."""
    sums: GroupSums = {}
    for site in sites:
        for parameter, axis in site.axes.items():
            values = site.parameter(parameter).abs()
            add_to_half(sums, site, sum_to_groups(values, axis, site.groups))
    return sums
