"""The curvature of the loss at the outputs of o_proj and down_proj: mean squared gradients.

The diagonal of K-FAC's second factor (Martens and Grosse 2015, arXiv:1503.05671), by the
labels that the pass has: those of the text give the empirical Fisher information. A full matrix cut
no better than its diagonal here.
"""

import torch

from globalprune.passes.interface import (
    Batch,
    Counts,
    GradientPlace,
    GroupSums,
    Site,
    Split,
    Statistic,
    widened,
)
from globalprune.passes.reducers.output_squares import OutputSquares


class OutputCurvature(OutputSquares):
    """Σ_t δ_t² / predicted tokens for every output `[O]`, δ_t = ∂(Σ nll)/∂output of token t."""

    gradient_at: GradientPlace | None = "output"

    def take_gradient(
        self, site: Site, inputs: torch.Tensor, delta: torch.Tensor, batch: Batch
    ) -> None:
        """Square every token's gradient of its window's summed loss."""
        del inputs
        deltas = widened(delta) * (batch.predicted / batch.scale)
        self._squares.add(site, deltas.square().sum(dim=(0, 1), dtype=torch.float64))

    def finish(self, counts: Split[Counts]) -> dict[Statistic, Split[GroupSums]]:
        """The mean over predicted tokens."""
        return {"output_curvature": self._squares.divided(counts, lambda text: text.predicted)}
