"""The statistics that need ∂L/∂θ: first order and curvature, summed to groups.

A linear layer's weight gradient is δᵀx. Forming it here and not in autograd is what makes it
possible to see the gradient of one window, and to keep no more than one of them at a time.

Taylor expansion as an importance: Molchanov et al. 2019, arXiv:1906.10771.
"""

import torch

from globalprune.passes.group_sums import add_to_half, sum_to_groups
from globalprune.passes.interface import (
    Batch,
    GradientPlace,
    GroupSums,
    Site,
    Statistic,
    widened,
)


class FirstOrder:
    """Σ_{θ∈u} |θ·ḡ| with ḡ = (1/N) Σ_s g_s: one accumulator of the size of every weight."""

    gradient_at: GradientPlace | None = "output"

    def __init__(self) -> None:
        self._totals: dict[tuple[Site, str], torch.Tensor] = {}

    def watches(self, site: Site) -> bool:
        """Every parameter of a group counts."""
        del site
        return True

    def take_input(self, site: Site, inputs: torch.Tensor) -> None:
        """Nothing is to be done before the gradient is there."""

    def take_gradient(
        self, site: Site, inputs: torch.Tensor, delta: torch.Tensor, batch: Batch
    ) -> None:
        """Add the gradients of all windows of the batch in one product."""
        delta = _unscaled(delta, batch).flatten(0, 1)
        self.add(site, "weight", delta.T @ widened(inputs).flatten(0, 1))
        if "bias" in site.axes:
            self.add(site, "bias", delta.sum(dim=0))

    def add(self, site: Site, parameter: str, gradient: torch.Tensor) -> None:
        """Add a gradient; it stays the caller's."""
        total = self._totals.get((site, parameter))
        if total is None:
            self._totals[site, parameter] = gradient.clone()
        else:
            total += gradient

    def finish(self, windows: int) -> dict[Statistic, GroupSums]:
        """Multiply with the parameters and reduce to groups; the accumulators go one by one."""
        sums: GroupSums = {}
        while self._totals:
            (site, parameter), total = self._totals.popitem()
            products = total.div_(windows).mul_(site.parameter(parameter)).abs_()
            add_to_half(sums, site, sum_to_groups(products, site.axes[parameter], site.groups))
        return {"first_order": sums}


class Curvature:
    """Σ_{θ∈u} ½ |θ²·h| with h = (1/N) Σ_s T_s g_s²: reduced at once, so no accumulator.

    It is additive over windows, not over batches: the square of a batch's gradient is another
    thing. What first order needs falls out of the same product, if someone takes it.
    """

    gradient_at: GradientPlace | None = "output"

    def __init__(self, first_order: FirstOrder | None = None) -> None:
        self._first_order = first_order
        self._sums: GroupSums = {}

    def watches(self, site: Site) -> bool:
        """Every parameter of a group counts."""
        del site
        return True

    def take_input(self, site: Site, inputs: torch.Tensor) -> None:
        """Nothing is to be done before the gradient is there."""

    def take_gradient(
        self, site: Site, inputs: torch.Tensor, delta: torch.Tensor, batch: Batch
    ) -> None:
        """Form one window's gradient after the other, and square each on its own."""
        delta = _unscaled(delta, batch)  # [B, T, O]
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
        add_to_half(self._sums, site, sums * (0.5 * batch.predicted))

    def finish(self, windows: int) -> dict[Statistic, GroupSums]:
        """The mean over windows; with first order where it was taken along."""
        curvature = {half: sums / windows for half, sums in self._sums.items()}
        along = {} if self._first_order is None else self._first_order.finish(windows)
        return {**along, "curvature": curvature}


def _unscaled(delta: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The gradient as it is, in float32 or wider: only there can float16's scale come off."""
    wide = widened(delta)
    return wide if batch.scale == 1 else wide / batch.scale
