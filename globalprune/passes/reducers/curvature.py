"""The second-order term of what a group is worth, from the squared gradients of single windows.

A linear layer's weight gradient is δᵀx. Forming it here and not in autograd is what makes it
possible to see the gradient of one window, and to keep no more than one of them at a time.

A diagonal Hessian of squared gradients: LLM-Pruner, Ma et al. 2023, arXiv:2305.11627.
"""

from collections.abc import Mapping, Sequence

import torch

from globalprune.passes.interface import (
    Batch,
    Counts,
    GradientPlace,
    GroupSums,
    Site,
    Split,
    Statistic,
    StatisticReducer,
    widened,
)
from globalprune.passes.reducers.first_order import FirstOrder
from globalprune.passes.reducers.group_sums import HalvedSums, sum_to_groups


class Curvature(StatisticReducer):
    """Σ_{θ∈u} ½ |θ²·h| with h = (1/N) Σ_s T_s g_s²: reduced at once, so no accumulator.

    It is additive over windows, not over batches: the square of a batch's gradient is another
    thing. What first order needs falls out of the same product, if someone takes it.
    """

    gradient_at: GradientPlace | None = "output"

    def __init__(self, first_order: FirstOrder | None = None) -> None:
        self._first_order = first_order
        self._sums = HalvedSums()

    def take_gradient(
        self, site: Site, inputs: torch.Tensor, delta: torch.Tensor, batch: Batch
    ) -> None:
        """Form one window's gradient after the other, and square each on its own."""
        delta = batch.unscaled(delta)  # [B, T, O]
        inputs = widened(inputs)  # [B, T, D]
        for row in range(batch.windows):
            self._add(site, "weight", delta[row].T @ inputs[row], batch)
            if "bias" in site.axes:
                self._add(site, "bias", delta[row].sum(dim=0), batch)

    def _add(self, site: Site, parameter: str, gradient: torch.Tensor, batch: Batch) -> None:
        """Add ½ T_s (θ·g_s)² to the groups' sums; `gradient` is used up."""
        if self._first_order is not None:
            self._first_order.add(site, parameter, gradient)
        terms = gradient.mul_(site.parameter(parameter)).square_()
        sums = sum_to_groups(terms, site.axes[parameter], site.groups)
        self._sums.add(site, sums * (0.5 * batch.predicted))

    def halve(self) -> None:
        """Remember the sums, and what first order came to."""
        self._sums.halve()
        if self._first_order is not None:
            self._first_order.halve()

    def state(self) -> dict[str, torch.Tensor]:
        """The sums, and beside them what first order has."""
        along = {} if self._first_order is None else self._first_order.state()
        return self._sums.state() | along

    def restore(self, state: Mapping[str, torch.Tensor], sites: Sequence[Site]) -> None:
        """Take both back; each knows its own by their names."""
        self._sums.restore(state, sites)
        if self._first_order is not None:
            self._first_order.restore(state, sites)

    def finish(self, counts: Split[Counts]) -> dict[Statistic, Split[GroupSums]]:
        """The mean over windows; with first order where it was taken along."""
        along = {} if self._first_order is None else self._first_order.finish(counts)
        return {**along, "curvature": self._sums.divided(counts, lambda text: text.windows)}
