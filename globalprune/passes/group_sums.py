"""From a tensor to one number a group, and from those to means over the text and its halves."""

from collections.abc import Callable

import torch

from globalprune.models.interface import GroupAxis
from globalprune.passes.interface import Counts, GroupSums, Site, Split


def sum_to_groups(values: torch.Tensor, axis: GroupAxis, groups: int) -> torch.Tensor:
    """Add up, in float64, the part of `values` that each group owns along the axis: `[groups]`."""
    others = [dim for dim in range(values.dim()) if dim != axis.dim]
    lines = values.sum(dim=others, dtype=torch.float64) if others else values.double()
    blocks = torch.split(lines, [groups * width for width in axis.widths])
    return torch.stack([block.reshape(groups, -1).sum(dim=1) for block in blocks]).sum(dim=0)


def add_to_half(sums: GroupSums, site: Site, values: torch.Tensor) -> None:
    """Add a site's share to what its half has so far."""
    so_far = sums.get(site.half)
    sums[site.half] = values if so_far is None else so_far + values


class HalvedSums:
    """Group sums that remember what they were when the first half of the windows was through."""

    def __init__(self) -> None:
        self._sums: GroupSums = {}
        self._firsts: GroupSums = {}

    def add(self, site: Site, values: torch.Tensor) -> None:
        """Add a site's share to its half of the model."""
        add_to_half(self._sums, site, values)

    def halve(self) -> None:
        """Remember the sums; adding makes new tensors and leaves these alone."""
        self._firsts = dict(self._sums)

    def divided(self, counts: Split[Counts], divisor: Callable[[Counts], int]) -> Split[GroupSums]:
        """The sums by what `divisor` makes of the text that they are over."""
        whole = _divided(self._sums, divisor(counts.whole))
        if counts.halves is None:
            return Split(whole)
        first, second = map(divisor, counts.halves)
        rest = {half: sums - self._firsts[half] for half, sums in self._sums.items()}
        return Split(whole, (_divided(self._firsts, first), _divided(rest, second)))


def _divided(sums: GroupSums, divisor: int) -> GroupSums:
    return {half: values / divisor for half, values in sums.items()}
