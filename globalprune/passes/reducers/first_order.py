"""The first-order term of what a group is worth: gradients of weights, summed over all windows.

A linear layer's weight gradient is δᵀx, formed here and not in autograd, so that it goes to one
accumulator as it comes.

Taylor expansion as an importance: Molchanov et al. 2019, arXiv:1906.10771.
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
from globalprune.passes.reducers.group_sums import (
    PartSums,
    add_to_part,
    of_halves,
    sum_to_groups,
)

_TOTAL, _FIRST = "gradients", "gradients of the first half"


class FirstOrder(StatisticReducer):
    """Σ_{θ∈u} |θ·ḡ| with ḡ = (1/N) Σ_s g_s: one accumulator of the size of every weight.

    What it came to halfway is copied to the host, so that no more is held where the model runs.
    """

    gradient_at: GradientPlace | None = "output"

    def __init__(self) -> None:
        self._totals: dict[tuple[Site, str], torch.Tensor] = {}
        self._firsts: dict[tuple[Site, str], torch.Tensor] = {}  # on the CPU

    def take_gradient(
        self, site: Site, inputs: torch.Tensor, delta: torch.Tensor, batch: Batch
    ) -> None:
        """Add the gradients of all windows of the batch in one product."""
        delta = batch.unscaled(delta).flatten(0, 1)
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

    def halve(self) -> None:
        """Copy the accumulators to the host."""
        self._firsts = {key: total.to("cpu", copy=True) for key, total in self._totals.items()}

    def state(self) -> dict[str, torch.Tensor]:
        """The accumulators, and those of the first half, by site and parameter."""
        kinds = {_TOTAL: self._totals, _FIRST: self._firsts}
        return {
            f"{kind}.{site.name}.{parameter}": values
            for kind, sums in kinds.items()
            for (site, parameter), values in sums.items()
        }

    def restore(self, state: Mapping[str, torch.Tensor], sites: Sequence[Site]) -> None:
        """Take them back, to where the sites compute; those of the first half stay on the host."""
        for site in sites:
            for parameter in site.axes:
                name = f"{site.name}.{parameter}"
                if (total := state.get(f"{_TOTAL}.{name}")) is not None:
                    self._totals[site, parameter] = total.to(site.device)
                if (first := state.get(f"{_FIRST}.{name}")) is not None:
                    self._firsts[site, parameter] = first

    def finish(self, counts: Split[Counts]) -> dict[Statistic, Split[GroupSums]]:
        """Multiply with the parameters and reduce to groups; the accumulators go one by one."""
        whole: PartSums = {}
        halves: tuple[PartSums, PartSums] = ({}, {})
        for key in sorted(self._totals, key=_sorting):  # whatever came first, sums are the same
            total = self._totals.pop(key)
            if counts.halves is not None:
                first = self._firsts.pop(key).to(total.device)
                for sums, part, text in zip(
                    halves, (first, total - first), counts.halves, strict=True
                ):
                    _add_products(sums, *key, part, text.windows)
            _add_products(whole, *key, total, counts.whole.windows)
        if counts.halves is None:
            return {"first_order": Split(of_halves(whole))}
        in_halves = (of_halves(halves[0]), of_halves(halves[1]))
        return {"first_order": Split(of_halves(whole), in_halves)}


def _sorting(key: tuple[Site, str]) -> tuple[str, str]:
    """A parameter's place among all."""
    site, parameter = key
    return site.name, parameter


def _add_products(
    sums: PartSums, site: Site, parameter: str, total: torch.Tensor, windows: int
) -> None:
    """Add Σ |θ·ḡ| of one parameter to the groups' sums; `total` is used up."""
    products = total.div_(windows).mul_(site.parameter(parameter)).abs_()
    add_to_part(sums, site, sum_to_groups(products, site.axes[parameter], site.groups))
