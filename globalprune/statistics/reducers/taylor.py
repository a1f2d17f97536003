"""First-order and second-order Taylor statistics of groups."""

from collections.abc import Mapping, Sequence

import torch

from globalprune.statistics.interface import (
    Batch,
    Counts,
    GradientAt,
    GroupSums,
    Reducer,
    Site,
    Split,
    Statistic,
    widened,
)
from globalprune.statistics.reducers.group_sums import (
    BlockSums,
    HalvedSums,
    add_to_block,
    join_blocks,
    sum_to_groups,
)

_TOTAL, _FIRST = "gradients", "gradients of the first half"  # in the names of saved tensors
_Parameter = tuple[Site, str]


class FirstOrder(Reducer):
    """Σ_{θ∈u} |θ·ḡ| with ḡ = (1/N) Σ_s g_s, accumulated in a tensor of the size of each weight.

    The sums over the first half of the windows lie on the CPU, so a GPU holds no second copy.
    """

    gradient_at: GradientAt | None = "output"

    def __init__(self) -> None:
        self._totals: dict[_Parameter, torch.Tensor] = {}
        self._firsts: dict[_Parameter, torch.Tensor] = {}  # on the CPU

    def on_gradient(
        self, site: Site, inputs: torch.Tensor, delta: torch.Tensor, batch: Batch
    ) -> None:
        """Add the gradients of all windows of the batch in one product."""
        delta = batch.unscaled(delta).flatten(0, 1)
        self.add(site, "weight", delta.T @ widened(inputs).flatten(0, 1))
        if "bias" in site.axes:
            self.add(site, "bias", delta.sum(dim=0))

    def add(self, site: Site, parameter: str, gradient: torch.Tensor) -> None:
        """Add a gradient; the caller may change it afterwards."""
        total = self._totals.get((site, parameter))
        if total is None:
            self._totals[site, parameter] = gradient.clone()
        else:
            total += gradient

    def end_first_half(self) -> None:
        """Copy the accumulators to the CPU."""
        self._firsts = {key: total.to("cpu", copy=True) for key, total in self._totals.items()}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the accumulators over all windows and the first half, by site and parameter."""
        kinds = {_TOTAL: self._totals, _FIRST: self._firsts}
        return {
            f"{kind}.{site.name}.{parameter}": values
            for kind, sums in kinds.items()
            for (site, parameter), values in sums.items()
        }

    def load_state_dict(self, state: Mapping[str, torch.Tensor], sites: Sequence[Site]) -> None:
        """Restore the accumulators; those of the first half stay on the CPU."""
        for site in sites:
            for parameter in site.axes:
                name = f"{site.name}.{parameter}"
                if (total := state.get(f"{_TOTAL}.{name}")) is not None:
                    self._totals[site, parameter] = total.to(site.device)
                if (first := state.get(f"{_FIRST}.{name}")) is not None:
                    self._firsts[site, parameter] = first

    def finish(self, counts: Split[Counts]) -> dict[Statistic, Split[GroupSums]]:
        """Multiply with the parameters and sum by group; each accumulator is freed after use."""
        whole: BlockSums = {}
        halves: tuple[BlockSums, BlockSums] = ({}, {})
        for key in sorted(self._totals, key=_by_name):  # one order, so that sums are the same
            total = self._totals.pop(key)
            if counts.halves is not None:
                first = self._firsts.pop(key).to(total.device)
                split = zip(halves, (first, total - first), counts.halves, strict=True)
                for sums, part, text in split:
                    _add_products(sums, key, part, text.windows)
            _add_products(whole, key, total, counts.whole.windows)
        if counts.halves is None:
            return {"first_order": Split(join_blocks(whole))}
        in_halves = (join_blocks(halves[0]), join_blocks(halves[1]))
        return {"first_order": Split(join_blocks(whole), in_halves)}


def _by_name(key: _Parameter) -> tuple[str, str]:
    site, parameter = key
    return site.name, parameter


def _add_products(sums: BlockSums, key: _Parameter, total: torch.Tensor, windows: int) -> None:
    """Add Σ |θ·ḡ| of one parameter to its groups' sums; `total` is changed in place."""
    site, parameter = key
    products = total.div_(windows).mul_(site.parameter(parameter)).abs_()
    add_to_block(sums, site, sum_to_groups(products, site.axes[parameter], site.groups))


class Curvature(Reducer):
    """Σ_{θ∈u} ½ |θ²·h| with h = (1/N) Σ_s T_s g_s²: summed by group at once.

    It squares the gradient of each window, not that of a batch. The first-order statistic comes
    from the same products where it is collected too.
    """

    gradient_at: GradientAt | None = "output"

    def __init__(self, first_order: FirstOrder | None = None) -> None:
        self._first_order = first_order
        self._sums = HalvedSums()

    def on_gradient(
        self, site: Site, inputs: torch.Tensor, delta: torch.Tensor, batch: Batch
    ) -> None:
        """Form the gradient of one window after the other, and square each on its own."""
        delta = batch.unscaled(delta)  # [B, T, O]
        inputs = widened(inputs)  # [B, T, D]
        for row in range(batch.windows):
            self._add(site, "weight", delta[row].T @ inputs[row], batch)
            if "bias" in site.axes:
                self._add(site, "bias", delta[row].sum(dim=0), batch)

    def _add(self, site: Site, parameter: str, gradient: torch.Tensor, batch: Batch) -> None:
        """Add ½ T_s (θ·g_s)² to the groups' sums; `gradient` is changed in place."""
        if self._first_order is not None:
            self._first_order.add(site, parameter, gradient)
        terms = gradient.mul_(site.parameter(parameter)).square_()
        sums = sum_to_groups(terms, site.axes[parameter], site.groups)
        self._sums.add(site, sums * (0.5 * batch.predicted))

    def end_first_half(self) -> None:
        """Remember the sums, and those of the first order."""
        self._sums.end_first_half()
        if self._first_order is not None:
            self._first_order.end_first_half()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the sums, with those of the first order."""
        first_order = {} if self._first_order is None else self._first_order.state_dict()
        return self._sums.state_dict() | first_order

    def load_state_dict(self, state: Mapping[str, torch.Tensor], sites: Sequence[Site]) -> None:
        """Restore both; each knows its own tensors by their names."""
        self._sums.load_state_dict(state, sites)
        if self._first_order is not None:
            self._first_order.load_state_dict(state, sites)

    def finish(self, counts: Split[Counts]) -> dict[Statistic, Split[GroupSums]]:
        """Return the mean over windows, with the first order where it is collected too."""
        first_order = {} if self._first_order is None else self._first_order.finish(counts)
        return {**first_order, "curvature": self._sums.divided(counts, lambda text: text.windows)}
