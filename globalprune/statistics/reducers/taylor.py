"""First-order and second-order Taylor statistics of groups."""

from collections.abc import Mapping, Sequence

import torch

from globalprune.statistics.interface import (
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
from globalprune.statistics.reducers.group_sums import (
    HalvedSums,
    PartSums,
    add_to_part,
    join_parts,
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
            return {"first_order": Split(join_parts(whole))}
        in_halves = (join_parts(halves[0]), join_parts(halves[1]))
        return {"first_order": Split(join_parts(whole), in_halves)}


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
