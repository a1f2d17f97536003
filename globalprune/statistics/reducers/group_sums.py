"""Sums of squares or products over parameters, added up to groups and to split halves."""

from collections.abc import Callable, Mapping, Sequence

import torch

from globalprune.models.architecture import GroupAxis
from globalprune.statistics.interface import (
    Counts,
    GroupSums,
    Part,
    Site,
    Split,
    StatisticReducer,
    SublayerKey,
)

PartSums = dict[Part, torch.Tensor]  # float64 [groups] for every part of a sublayer
_NOW, _FIRST = "now", "first"


def sum_to_groups(values: torch.Tensor, axis: GroupAxis, groups: int) -> torch.Tensor:
    """Add up, in float64, the part of `values` that each group owns along the axis: `[groups]`."""
    others = [dim for dim in range(values.dim()) if dim != axis.dim]
    lines = values.sum(dim=others, dtype=torch.float64) if others else values.double()
    blocks = torch.split(lines, [groups * width for width in axis.widths])
    return torch.stack([block.reshape(groups, -1).sum(dim=1) for block in blocks]).sum(dim=0)


def add_to_part(sums: PartSums, site: Site, values: torch.Tensor) -> None:
    """Add a site's share to what its groups have so far."""
    so_far = sums.get(site.part)
    sums[site.part] = values if so_far is None else so_far + values


def join_parts(sums: PartSums) -> GroupSums:
    """Lay the parts of every sublayer one behind the other."""
    parts: dict[SublayerKey, list[torch.Tensor]] = {}
    for sublayer, first in sorted(sums):
        parts.setdefault(sublayer, []).append(sums[sublayer, first])
    return {sublayer: torch.cat(values) for sublayer, values in parts.items()}


class HalvedSums:
    """Group sums that remember what they were when the first half of the windows was through."""

    def __init__(self) -> None:
        self._sums: PartSums = {}
        self._firsts: PartSums = {}

    def add(self, site: Site, values: torch.Tensor) -> None:
        """Add a site's share to its groups."""
        add_to_part(self._sums, site, values)

    def halve(self) -> None:
        """Remember the sums; adding makes new tensors and leaves these alone."""
        self._firsts = dict(self._sums)

    def state(self) -> dict[str, torch.Tensor]:
        """The sums of all windows, and of the first half of them, by part."""
        kinds = {_NOW: self._sums, _FIRST: self._firsts}
        return {
            f"{kind}.{part_name(part)}": values
            for kind, sums in kinds.items()
            for part, values in sums.items()
        }

    def restore(self, state: Mapping[str, torch.Tensor], sites: Sequence[Site]) -> None:
        """Take them back, to where the sites compute."""
        kinds = {_NOW: self._sums, _FIRST: self._firsts}
        for site in sites:
            for kind, sums in kinds.items():
                values = state.get(f"{kind}.{part_name(site.part)}")
                if values is not None:
                    sums[site.part] = values.to(site.device)

    def divided(self, counts: Split[Counts], divisor: Callable[[Counts], int]) -> Split[GroupSums]:
        """The sums by what `divisor` makes of the text that they are over."""
        whole = _divided(self._sums, divisor(counts.whole))
        if counts.halves is None:
            return Split(whole)
        first, second = map(divisor, counts.halves)
        rest = {part: sums - self._firsts[part] for part, sums in self._sums.items()}
        return Split(whole, (_divided(self._firsts, first), _divided(rest, second)))


def part_name(part: Part) -> str:
    """A part in words: layer, kind, and the number of its first group."""
    (layer, group_type), first = part
    return f"{layer}.{group_type}.{first}"


def _divided(sums: PartSums, divisor: int) -> GroupSums:
    return {sublayer: values / divisor for sublayer, values in join_parts(sums).items()}


class OutputSquares(StatisticReducer):
    """A reducer's ways with its sums of squares; subclasses take what they need, and finish."""

    def __init__(self) -> None:
        self._squares = HalvedSums()

    def watches(self, site: Site) -> bool:
        """Only what the groups feed."""
        return site.is_output

    def halve(self) -> None:
        """Remember the squares."""
        self._squares.halve()

    def state(self) -> dict[str, torch.Tensor]:
        """The squares."""
        return self._squares.state()

    def restore(self, state: Mapping[str, torch.Tensor], sites: Sequence[Site]) -> None:
        """Take the squares back."""
        self._squares.restore(state, sites)
