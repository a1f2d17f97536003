"""Sums over parameters or inputs, added up by group and by half of the windows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch

from globalprune.models.architecture import GroupAxis
from globalprune.statistics.interface import (
    Counts,
    GroupBlock,
    GroupSums,
    Reducer,
    Site,
    Split,
    SublayerKey,
)

BlockSums = dict[GroupBlock, torch.Tensor]  # float64 [groups] of every block
_ALL: Final = "now"  # in the names of saved tensors: of all windows so far
_FIRST: Final = "first"  # of the first half of the windows


def sum_to_groups(values: torch.Tensor, axis: GroupAxis, groups: int) -> torch.Tensor:
    """Sum the slices of `values` that each group owns along the axis: float64 `[groups]`."""
    others = [dim for dim in range(values.dim()) if dim != axis.dim]
    lines = values.sum(dim=others, dtype=torch.float64) if others else values.double()
    blocks = torch.split(lines, [groups * width for width in axis.widths])
    return torch.stack([block.reshape(groups, -1).sum(dim=1) for block in blocks]).sum(dim=0)


def add_to_block(sums: BlockSums, site: Site, values: torch.Tensor) -> None:
    """Add a site's values `[groups]` to the sums of its groups, as a new tensor."""
    before = sums.get(site.block)
    sums[site.block] = values if before is None else before + values


def join_blocks(sums: BlockSums) -> GroupSums:
    """Concatenate the blocks of every sublayer in the order of their groups."""
    blocks: dict[SublayerKey, list[torch.Tensor]] = {}
    for sublayer, first in sorted(sums):
        blocks.setdefault(sublayer, []).append(sums[sublayer, first])
    return {sublayer: torch.cat(values) for sublayer, values in blocks.items()}


def block_name(block: GroupBlock) -> str:
    """Return `3.mlp.0`: layer, kind, and the number of the first group."""
    (layer, group_type), first = block
    return f"{layer}.{group_type}.{first}"


class HalvedSums:
    """Group sums over all windows, and what they were after the first half of them."""

    def __init__(self) -> None:
        self._sums: BlockSums = {}
        self._firsts: BlockSums = {}

    def add(self, site: Site, values: torch.Tensor) -> None:
        """Add a site's values `[groups]`."""
        add_to_block(self._sums, site, values)

    def end_first_half(self) -> None:
        """Remember the sums so far; adding makes new tensors and leaves these alone."""
        self._firsts = dict(self._sums)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the sums over all windows and over the first half, by block."""
        kinds = {_ALL: self._sums, _FIRST: self._firsts}
        return {
            f"{kind}.{block_name(block)}": values
            for kind, sums in kinds.items()
            for block, values in sums.items()
        }

    def load_state_dict(self, state: Mapping[str, torch.Tensor], sites: Sequence[Site]) -> None:
        """Restore the sums onto the devices of the sites."""
        kinds = {_ALL: self._sums, _FIRST: self._firsts}
        for site in sites:
            for kind, sums in kinds.items():
                values = state.get(f"{kind}.{block_name(site.block)}")
                if values is not None:
                    sums[site.block] = values.to(site.device)

    def divided(self, counts: Split[Counts], divisor: Callable[[Counts], int]) -> Split[GroupSums]:
        """Return the sums over all windows and each half, each divided by `divisor` of its text."""
        whole = _divided(self._sums, divisor(counts.whole))
        if counts.halves is None:
            return Split(whole)
        first, second = map(divisor, counts.halves)
        rest = {block: sums - self._firsts[block] for block, sums in self._sums.items()}
        return Split(whole, (_divided(self._firsts, first), _divided(rest, second)))


def _divided(sums: BlockSums, divisor: int) -> GroupSums:
    return {sublayer: values / divisor for sublayer, values in join_blocks(sums).items()}


class OutputSquares(Reducer):
    """The base of reducers that sum squares at the output projections."""

    def __init__(self) -> None:
        self._squares = HalvedSums()

    def uses(self, site: Site) -> bool:
        """Return whether the groups feed the site."""
        return site.is_output

    def end_first_half(self) -> None:
        """Remember the squares so far."""
        self._squares.end_first_half()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the squares."""
        return self._squares.state_dict()

    def load_state_dict(self, state: Mapping[str, torch.Tensor], sites: Sequence[Site]) -> None:
        """Restore the squares."""
        self._squares.load_state_dict(state, sites)
