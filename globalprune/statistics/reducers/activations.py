"""The statistics that need no gradient: what enters a group's output, and the weights themselves.

Norms of activations as an importance: Sun et al. 2023 (Wanda), https://arxiv.org/abs/2306.11695.
"""

from collections.abc import Sequence

import torch

from globalprune.statistics.interface import (
    Counts,
    GradientAt,
    GroupSums,
    Site,
    Split,
    Statistic,
    widened,
)
from globalprune.statistics.reducers.group_sums import (
    BlockSums,
    OutputSquares,
    add_to_block,
    join_blocks,
    sum_to_groups,
)


class InputRms(OutputSquares):
    """Root mean square, over all tokens and a group's inputs, of what enters o_proj / down_proj.

    That is after the gate: the MLP's own input is the same for all channels.
    """

    gradient_at: GradientAt | None = None

    def on_input(self, site: Site, inputs: torch.Tensor) -> None:
        """Add each token's squares, as a mean over a group's inputs.

        A window's last token counts too, although it predicts nothing.
        """
        axis = site.axes["weight"]
        squares = widened(inputs).square().sum(dim=(0, 1), dtype=torch.float64)  # [D]
        self._squares.add(site, squares.reshape(site.groups, axis.width).mean(dim=1))

    def finish(self, counts: Split[Counts]) -> dict[Statistic, Split[GroupSums]]:
        """Return the root of the mean over tokens."""
        means = self._squares.divided(counts, lambda text: text.tokens)
        halves = means.halves and (_rooted(means.halves[0]), _rooted(means.halves[1]))
        return {"input_rms": Split(_rooted(means.whole), halves)}


def _rooted(means: GroupSums) -> GroupSums:
    return {sublayer: values.sqrt() for sublayer, values in means.items()}


def magnitudes(sites: Sequence[Site]) -> GroupSums:
    """Return Σ_{θ∈u} |θ| for every group; no window needs to run."""
    sums: BlockSums = {}
    for site in sites:
        for parameter, axis in site.axes.items():
            values = site.parameter(parameter).abs()
            add_to_block(sums, site, sum_to_groups(values, axis, site.groups))
    return join_blocks(sums)
