"""From a tensor to one number a group."""

import torch

from globalprune.models.interface import GroupAxis
from globalprune.passes.interface import GroupSums, Site


def sum_to_groups(values: torch.Tensor, axis: GroupAxis, groups: int) -> torch.Tensor:
    """Add up, in float64, the part of `values` that each group owns along the axis: `[groups]`."""
    others = [dim for dim in range(values.dim()) if dim != axis.dim]
    lines = values.sum(dim=others, dtype=torch.float64) if others else values.double()
    return lines.reshape(groups, axis.width).sum(dim=1)


def add_to_half(sums: GroupSums, site: Site, values: torch.Tensor) -> None:
    """Add a site's share to what its half has so far."""
    so_far = sums.get(site.half)
    sums[site.half] = values if so_far is None else so_far + values
